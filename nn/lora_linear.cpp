// LoRA in one op. See lora_linear.h.
//
// The composition of linear, matmul_nt, scale and + makes the same numbers. But it writes the
// branch's output [batch, out] once to compute it, once to scale it and once to add it, and as
// often again backward. Here gemm adds to what is there, with s as its factor: no pass is left.
#include "nn/lora_linear.h"

#include "core/autograd.h"
#include "core/gemm.h"
#include "core/ops.h"

namespace slim {

void check_branch(const char* op, const Tensor& x, const FrozenWeight& W, const Tensor& bias,
                  const Tensor& A, const Tensor& B) {
    const Shape weight{W.out(), W.in()};
    check(x.dim() == 2 && x.size(1) == W.in(), op, ": input of shape ", x.shape(),
          " and a weight of shape ", weight, "; the input must be (batch, in)");
    W.check_low_rank(op, A, B);
    check(!bias.defined() || bias.shape() == Shape{W.out()}, op, ": bias of shape ",
          bias.defined() ? bias.shape() : Shape{}, "; it must be ", Shape{W.out()});
}

// ---- the branch ---------------------------------------------------------------------------------
// h    = A x^T              [rank, batch]      Everything thin lies in rows, so that there are long
// y    = s h^T B^T + beta y [batch, out]       loops along them: see core/thin.h.
//
// dB^T = s h g              [rank, out]
// dh   = s B^T g^T          [rank, batch]
// dA   = dh x               [rank, in]
// dx   = dh^T A             [batch, in]

void LowRankBranch::forward(const Tensor& x, const Tensor& A, const Tensor& B, real beta, real* y) {
    const int64_t batch = x.size(0), in = x.size(1), rank = A.size(0), out = B.size(0);
    h = Tensor({rank, batch});
    B_t = transpose(B.detach());
    gemm(kNormal, kTransposed, rank, batch, in, 1, A.data(), x.data(), 0, h.mutable_data());
    gemm(kTransposed, kNormal, batch, out, rank, s, h.data(), B_t.data(), beta, y);
}

void LowRankBranch::backward(const real* g, Tensor& x, Tensor& A, Tensor& B) const {
    const int64_t batch = x.size(0), in = x.size(1), rank = A.size(0), out = B.size(0);
    if (B.requires_grad()) {
        Tensor dB_t({rank, out});
        gemm(kNormal, kNormal, rank, out, batch, s, h.data(), g, 0, dB_t.mutable_data());
        const real* from = dB_t.data();
        real* dB = B.mutable_grad();
        for (int64_t j = 0; j < out; j++)
            for (int64_t k = 0; k < rank; k++) dB[j * rank + k] += from[k * out + j];
    }
    if (!A.requires_grad() && !x.requires_grad()) return;
    Tensor dh({rank, batch});
    gemm(kNormal, kTransposed, rank, batch, out, s, B_t.data(), g, 0, dh.mutable_data());
    if (A.requires_grad())
        gemm_to_grad(kNormal, kNormal, rank, in, batch, 1, dh.data(), x.data(), A);
    if (x.requires_grad())
        gemm_to_grad(kTransposed, kNormal, batch, in, rank, 1, dh.data(), A.data(), x);
}

// ---- lora_linear --------------------------------------------------------------------------------
// The rest is linear's backward (core/matmul.cpp), with W where it may be quantised.

struct LoraLinearNode : Node {
    FrozenWeight W;
    LowRankBranch branch;

    LoraLinearNode(const Tensor& x, const FrozenWeight& W, const Tensor& bias, const Tensor& xa,
                   const Tensor& A, const Tensor& B, const LowRankBranch& branch)
        : Node("lora_linear", {x, W.dense, bias, xa, A, B}), W(W), branch(branch) {}

    void backward(const Tensor& y) override {
        const int64_t batch = y.size(0), out = W.out(), in = W.in();
        const real* dy = y.grad_data();
        for (const size_t i : {0, 1, 3, 4, 5}) saved(i);  // read below; the bias is not
        branch.backward(dy, inputs[3], inputs[4], inputs[5]);
        if (needs_grad(0)) {
            const Tensor::GradSlot dx = inputs[0].grad_slot();
            W.times(batch, dy, dx.beta, dx.data);
        }
        if (needs_grad(1))
            gemm_to_grad(kTransposed, kNormal, out, in, batch, 1, dy, saved(0), inputs[1]);
        if (needs_grad(2)) add_column_sums(dy, batch, out, inputs[2].mutable_grad());
    }
};

Tensor lora_linear(const Tensor& x, const FrozenWeight& W, const Tensor& bias, const Tensor& xa,
                   const Tensor& A, const Tensor& B, double s) {
    check_branch("lora_linear", x, W, bias, A, B);
    check(xa.shape() == x.shape(), "lora_linear: the branch's input has shape ", xa.shape(),
          " and the layer's ", x.shape(), "; they must be equal");
    const int64_t batch = x.size(0), out = W.out();
    Tensor y({batch, out});
    real* result = y.mutable_data();
    LowRankBranch branch{real(s), {}, {}};
    branch.forward(xa, A, B, 0, result);  // first: BLAS adds to y in any case, if need be to zeros
    W.times_transposed(batch, x.data(), 1, result);
    if (bias.defined()) {
        const real* b = bias.data();
        for (int64_t i = 0; i < batch; i++)
            for (int64_t j = 0; j < out; j++) result[i * out + j] += b[j];
    }
    return record(y, std::make_shared<LoraLinearNode>(x, W, bias, xa, A, B, branch));
}

}  // namespace slim
