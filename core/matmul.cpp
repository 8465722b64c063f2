// The differentiable matrix products. Forward and backward are both gemm, with different operands
// transposed; the gradients go straight from gemm into the inputs' gradient buffers.
#include "core/autograd.h"
#include "core/gemm.h"
#include "core/ops.h"

namespace slim {

static void check_matmul(const char* op, const Tensor& a, int64_t axis_a, const Tensor& b,
                         int64_t axis_b) {
    check(a.dim() == 2 && b.dim() == 2, op, ": got shapes ", a.shape(), " and ", b.shape(),
          "; both must be matrices, with 2 axes. hint: use reshape");
    check(a.size(axis_a) == b.size(axis_b), op, ": inner sizes differ: shapes ", a.shape(), " and ",
          b.shape(), "; axis ", axis_a, " of the first (", a.size(axis_a), ") must equal axis ",
          axis_b, " of the second (", b.size(axis_b), "). hint: matmul is a b, matmul_nt a b^T, ",
          "matmul_tn a^T b");
}

// ---- matmul -------------------------------------------------------------------------------------
// y = a b        [m, k] [k, n] -> [m, n]
// da = dy b^T    [m, n] [k, n]^T -> [m, k]
// db = a^T dy    [m, k]^T [m, n] -> [k, n]

struct MatmulNode : Node {
    MatmulNode(const Tensor& a, const Tensor& b) : Node("matmul", {a, b}) {}
    void backward(const Tensor& y) override {
        const MatrixView dy = grad_view(y);
        if (needs_grad(0)) gemm(dy, view(saved_tensor(1)).t(), add_to_grad(inputs[0]));
        if (needs_grad(1)) gemm(view(saved_tensor(0)).t(), dy, add_to_grad(inputs[1]));
    }
};

Tensor matmul(const Tensor& a, const Tensor& b) {
    check_matmul("matmul", a, 1, b, 0);
    Tensor y({a.size(0), b.size(1)});
    gemm(view(a), view(b), overwrite(y));
    return record(y, std::make_shared<MatmulNode>(a, b));
}

// ---- matmul_nt ----------------------------------------------------------------------------------
// y = a b^T      [m, k] [n, k]^T -> [m, n]
// da = dy b      [m, n] [n, k] -> [m, k]
// db = dy^T a    [m, n]^T [m, k] -> [n, k]

struct MatmulNtNode : Node {
    MatmulNtNode(const Tensor& a, const Tensor& b) : Node("matmul_nt", {a, b}) {}
    void backward(const Tensor& y) override {
        const MatrixView dy = grad_view(y);
        if (needs_grad(0)) gemm(dy, view(saved_tensor(1)), add_to_grad(inputs[0]));
        if (needs_grad(1)) gemm(dy.t(), view(saved_tensor(0)), add_to_grad(inputs[1]));
    }
};

Tensor matmul_nt(const Tensor& a, const Tensor& b) {
    check_matmul("matmul_nt", a, 1, b, 1);
    Tensor y({a.size(0), b.size(0)});
    gemm(view(a), view(b).t(), overwrite(y));
    return record(y, std::make_shared<MatmulNtNode>(a, b));
}

// ---- matmul_tn ----------------------------------------------------------------------------------
// y = a^T b      [k, m]^T [k, n] -> [m, n]
// da = b dy^T    [k, n] [m, n]^T -> [k, m]
// db = a dy      [k, m] [m, n] -> [k, n]

struct MatmulTnNode : Node {
    MatmulTnNode(const Tensor& a, const Tensor& b) : Node("matmul_tn", {a, b}) {}
    void backward(const Tensor& y) override {
        const MatrixView dy = grad_view(y);
        if (needs_grad(0)) gemm(view(saved_tensor(1)), dy.t(), add_to_grad(inputs[0]));
        if (needs_grad(1)) gemm(view(saved_tensor(0)), dy, add_to_grad(inputs[1]));
    }
};

Tensor matmul_tn(const Tensor& a, const Tensor& b) {
    check_matmul("matmul_tn", a, 0, b, 0);
    Tensor y({a.size(1), b.size(1)});
    gemm(view(a).t(), view(b), overwrite(y));
    return record(y, std::make_shared<MatmulTnNode>(a, b));
}

}  // namespace slim
