// DoRA per output in one op. See dora_linear.h.
//
//     raw = x W^T + s x A^T B^T
//     y   = c . raw + bias                           c from product = A W^T, see dora_scale.cpp
//
// Backward, with gc = dy . c:
//
//     dbias  = column sums of dy
//     dc     = column sums of dy . raw               from which dm, Q, shares of dA and dB follow
//     the branch's backward, given gc                dA, dB and dx = dh^T A, see lora_linear.cpp
//     dx    += gc W
//     dA    += Q W
//
// Stacked, the two products with W are one: the rows of A are laid under those of x, and [x; A] W^T
// gives x W^T and product together. Likewise [gc; Q] W backward. A layer with N rows then costs
// what LoRA costs with N + rank rows.
#include "nn/dora_linear.h"

#include <algorithm>  // copy_n

#include "core/autograd.h"
#include "core/ops.h"
#include "nn/lora_linear.h"

namespace slim {

struct DoraLinearNode : Node {
    FrozenWeight W;
    LowRankBranch branch;
    DoraScale scale;
    Tensor c, raw;
    bool stacked = false;

    DoraLinearNode(const Tensor& x, const FrozenWeight& W, const Tensor& bias, const Tensor& A,
                   const Tensor& B, const Tensor& m, double s, NormGradient gradient)
        : Node("dora_linear", {x, W.dense, bias, A, B, m}), W(W), branch{real(s), {}, {}},
          scale(A, B, s, Axis::kOut, gradient) {}

    void backward(const Tensor& y) override {
        for (const size_t i : {0, 1, 3, 4, 5}) saved(i);  // read below; the bias is not
        Tensor &x = inputs[0], &A = inputs[3], &B = inputs[4], &m = inputs[5];
        const int64_t batch = y.size(0), out = W.out(), in = W.in(), rank = A.size(0);
        const real *dy = y.grad_data(), *scale_c = c.data(), *raw_data = raw.data();

        if (needs_grad(2)) add_column_sums(dy, batch, out, inputs[2].mutable_grad());
        Tensor rows({batch + rank, out}), dc = zeros({out});  // gc, with room for Q below it
        real *gc = rows.mutable_data(), *dc_data = dc.mutable_data();
        for (int64_t i = 0; i < batch; i++)
            for (int64_t j = 0; j < out; j++) {
                gc[i * out + j] = dy[i * out + j] * scale_c[j];
                dc_data[j] += dy[i * out + j] * raw_data[i * out + j];
            }
        branch.backward(gc, x, A, B);
        const Tensor Q = scale.backward(dc.data(), A, B, m);

        const bool wants_dx = needs_grad(0), wants_QW = Q.defined() && needs_grad(3);
        if (stacked && wants_dx && wants_QW) {
            std::copy_n(Q.data(), rank * out, gc + batch * out);
            Tensor products({batch + rank, in});
            W.times(batch + rank, gc, 0, products.mutable_data());
            real *dx = x.mutable_grad(), *dA = A.mutable_grad();
            for (int64_t i = 0; i < batch * in; i++) dx[i] += products.data()[i];
            for (int64_t i = 0; i < rank * in; i++) dA[i] += products.data()[batch * in + i];
            return;
        }
        if (wants_dx) {
            const Tensor::GradSlot dx = x.grad_slot();
            W.times(batch, gc, dx.beta, dx.data);
        }
        if (wants_QW) {
            const Tensor::GradSlot dA = A.grad_slot();
            W.times(rank, Q.data(), dA.beta, dA.data);
        }
    }
};

Tensor dora_linear(const Tensor& x, const FrozenWeight& W, const std::vector<double>& weight_norms,
                   const Tensor& bias, const Tensor& A, const Tensor& B, const Tensor& m, double s,
                   NormGradient gradient, bool stacked) {
    check_branch("dora_linear", x, W, bias, A, B);
    check_scale("dora_linear", W, weight_norms, m, Axis::kOut);
    const int64_t batch = x.size(0), out = W.out(), in = W.in(), rank = A.size(0);
    auto node = std::make_shared<DoraLinearNode>(x, W, bias, A, B, m, s, gradient);
    node->stacked = stacked;

    Tensor product({rank, out});
    if (stacked) {
        Tensor rows({batch + rank, in});
        std::copy_n(x.data(), batch * in, rows.mutable_data());
        std::copy_n(A.data(), rank * in, rows.mutable_data() + batch * in);
        node->raw = Tensor({batch + rank, out});
        W.times_transposed(batch + rank, rows.data(), 0, node->raw.mutable_data());
        std::copy_n(node->raw.data() + batch * out, rank * out, product.mutable_data());
        node->branch.forward(x, A, B, 1, node->raw.mutable_data());
    } else {
        node->raw = Tensor({batch, out});
        node->branch.forward(x, A, B, 0, node->raw.mutable_data());
        W.times_transposed(batch, x.data(), 1, node->raw.mutable_data());
        W.times_transposed(rank, A.data(), 0, product.mutable_data());
    }
    node->c = node->scale.forward(W, weight_norms, A, B, m, product);

    Tensor y({batch, out});
    const Tensor addend = bias.defined() ? bias : zeros({out});
    const real *raw = node->raw.data(), *c = node->c.data(), *b = addend.data();
    real* result = y.mutable_data();
    for (int64_t i = 0; i < batch; i++)
        for (int64_t j = 0; j < out; j++) result[i * out + j] = raw[i * out + j] * c[j] + b[j];
    return record(y, node);
}

}  // namespace slim
