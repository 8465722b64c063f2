// The norm of the gradients: to watch, and to bound.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace slim {

// Returns the Euclidean norm of all gradients together, as if they were one vector. Parameters
// without a gradient count as zero.
double gradient_norm(const std::vector<Tensor>& parameters);

// Scales all gradients by one factor so that their norm is at most max_norm, which must be above 0.
// Returns the norm before. (torch.nn.utils.clip_grad_norm_)
double clip_gradient_norm(const std::vector<Tensor>& parameters, double max_norm);

}  // namespace slim
