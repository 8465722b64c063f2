// A Linear with DoRA around it, one magnitude per output, as one op.
#pragma once

#include "nn/dora_scale.h"

namespace slim {

// y = c . (x W^T + s x A^T B^T) + bias with c = dora_scale(..., Axis::kOut). Equal to
// add_row(mul_row(lora_linear(x, W, {}, x, A, B, s), c), bias) to rounding. `stacked` reads W once
// forward and once backward instead of twice, at the price of copying x; it pays from some size of
// W on. x [batch, in], W [out, in] frozen, bias [out] or undefined, A [rank, in], B [out, rank],
// m [out] -> y [batch, out]. Throws when shapes do not fit.
Tensor dora_linear(const Tensor& x, const FrozenWeight& W, const std::vector<double>& weight_norms,
                   const Tensor& bias, const Tensor& A, const Tensor& B, const Tensor& m, double s,
                   NormGradient gradient, bool stacked);

}  // namespace slim
