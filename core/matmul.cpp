// Matrix products. Forward and backward are both gemm, with different operands transposed; the
// gradients go straight from gemm into the inputs' gradient buffers.
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
        const int64_t m = y.size(0), n = y.size(1), k = inputs[0].size(1);
        const real* dy = y.grad_data();
        if (needs_grad(0)) gemm_to_grad(kNormal, kTransposed, m, k, n, 1, dy, saved(1), inputs[0]);
        if (needs_grad(1)) gemm_to_grad(kTransposed, kNormal, k, n, m, 1, saved(0), dy, inputs[1]);
    }
};

Tensor matmul(const Tensor& a, const Tensor& b) {
    check_matmul("matmul", a, 1, b, 0);
    const int64_t m = a.size(0), n = b.size(1), k = a.size(1);
    Tensor y({m, n});
    gemm(kNormal, kNormal, m, n, k, 1, a.data(), b.data(), 0, y.mutable_data());
    return record(y, std::make_shared<MatmulNode>(a, b));
}

// ---- matmul_nt ----------------------------------------------------------------------------------
// y = a b^T      [m, k] [n, k]^T -> [m, n]
// da = dy b      [m, n] [n, k] -> [m, k]
// db = dy^T a    [m, n]^T [m, k] -> [n, k]

struct MatmulNtNode : Node {
    MatmulNtNode(const Tensor& a, const Tensor& b) : Node("matmul_nt", {a, b}) {}
    void backward(const Tensor& y) override {
        const int64_t m = y.size(0), n = y.size(1), k = inputs[0].size(1);
        const real* dy = y.grad_data();
        if (needs_grad(0)) gemm_to_grad(kNormal, kNormal, m, k, n, 1, dy, saved(1), inputs[0]);
        if (needs_grad(1)) gemm_to_grad(kTransposed, kNormal, n, k, m, 1, dy, saved(0), inputs[1]);
    }
};

Tensor matmul_nt(const Tensor& a, const Tensor& b) {
    check_matmul("matmul_nt", a, 1, b, 1);
    const int64_t m = a.size(0), n = b.size(0), k = a.size(1);
    Tensor y({m, n});
    gemm(kNormal, kTransposed, m, n, k, 1, a.data(), b.data(), 0, y.mutable_data());
    return record(y, std::make_shared<MatmulNtNode>(a, b));
}

// ---- matmul_tn ----------------------------------------------------------------------------------
// y = a^T b      [k, m]^T [k, n] -> [m, n]
// da = b dy^T    [k, n] [m, n]^T -> [k, m]
// db = a dy      [k, m] [m, n] -> [k, n]

struct MatmulTnNode : Node {
    MatmulTnNode(const Tensor& a, const Tensor& b) : Node("matmul_tn", {a, b}) {}
    void backward(const Tensor& y) override {
        const int64_t m = y.size(0), n = y.size(1), k = inputs[0].size(0);
        const real* dy = y.grad_data();
        if (needs_grad(0)) gemm_to_grad(kNormal, kTransposed, k, m, n, 1, saved(1), dy, inputs[0]);
        if (needs_grad(1)) gemm_to_grad(kNormal, kNormal, k, n, m, 1, saved(0), dy, inputs[1]);
    }
};

Tensor matmul_tn(const Tensor& a, const Tensor& b) {
    check_matmul("matmul_tn", a, 0, b, 0);
    const int64_t m = a.size(1), n = b.size(1), k = a.size(0);
    Tensor y({m, n});
    gemm(kTransposed, kNormal, m, n, k, 1, a.data(), b.data(), 0, y.mutable_data());
    return record(y, std::make_shared<MatmulTnNode>(a, b));
}

// ---- linear -------------------------------------------------------------------------------------
// y = x W^T + b        [batch, in] [out, in]^T + [out] -> [batch, out]
// dx = dy W            [batch, out] [out, in] -> [batch, in]
// dW = dy^T x          [batch, out]^T [batch, in] -> [out, in]
// db = sum of dy's rows
//
// The bias is added to the finished product, while that is still in the cache. (Laying the bias
// into y first and letting gemm add to it saves nothing, and rounds otherwise than add_row would.)

struct LinearNode : Node {
    LinearNode(const Tensor& x, const Tensor& weight, const Tensor& bias)
        : Node("linear", {x, weight, bias}) {}
    void backward(const Tensor& y) override {
        const int64_t batch = y.size(0), out = y.size(1), in = inputs[0].size(1);
        const real* dy = y.grad_data();
        if (needs_grad(0))
            gemm_to_grad(kNormal, kNormal, batch, in, out, 1, dy, saved(1), inputs[0]);
        if (needs_grad(1))
            gemm_to_grad(kTransposed, kNormal, out, in, batch, 1, dy, saved(0), inputs[1]);
        if (needs_grad(2)) add_column_sums(dy, batch, out, inputs[2].mutable_grad());
    }
};

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
    check(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1),
          "linear: input of shape ", x.shape(), " and weight of shape ", weight.shape(),
          "; the input must be (batch, in), the weight (out, in), with the same in");
    const int64_t batch = x.size(0), out = weight.size(0), in = x.size(1);
    check(!bias.defined() || bias.shape() == Shape{out}, "linear: bias of shape ",
          bias.defined() ? bias.shape() : Shape{}, " for a weight of shape ", weight.shape(),
          "; it must be ", Shape{out});
    Tensor y({batch, out});
    real* result = y.mutable_data();
    gemm(kNormal, kTransposed, batch, out, in, 1, x.data(), weight.data(), 0, result);
    if (bias.defined()) {
        const real* b = bias.data();
        for (int64_t i = 0; i < batch; i++)
            for (int64_t j = 0; j < out; j++) result[i * out + j] += b[j];
    }
    return record(y, std::make_shared<LinearNode>(x, weight, bias));
}

}  // namespace slim
