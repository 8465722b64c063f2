// A Linear with LoRA's branch beside it, as one op.
#pragma once

#include "nn/frozen_weight.h"

namespace slim {

// y = x W^T + bias + s xa A^T B^T, where xa is what the branch sees: x itself, or dropout(x).
// Equal to linear(x, W, bias) + scale(matmul_nt(matmul_nt(xa, A), B), s) to rounding, and to the
// bit while B is zero. x and xa [batch, in], W [out, in], bias [out] or undefined, A [rank, in],
// B [out, rank] -> y [batch, out]. Gradients go to all of them, to W only if it is not quantised.
// Throws when shapes do not fit.
Tensor lora_linear(const Tensor& x, const FrozenWeight& W, const Tensor& bias, const Tensor& xa,
                   const Tensor& A, const Tensor& B, double s);

// The branch alone: what lora_linear and dora_linear share.
struct LowRankBranch {
    real s;
    Tensor h, B_t;  // A x^T [rank, batch] and B^T, from forward for backward

    // y = s x A^T B^T + beta y
    void forward(const Tensor& x, const Tensor& A, const Tensor& B, real beta, real* y);
    // Given g = dL/dy, adds to the gradients of x, A and B, of those that require one.
    void backward(const real* g, Tensor& x, Tensor& A, Tensor& B) const;
};

// The checks that both ops make. Throws, naming the op.
void check_branch(const char* op, const Tensor& x, const FrozenWeight& W, const Tensor& bias,
                  const Tensor& A, const Tensor& B);

}  // namespace slim
