// LoRA+ (Hayou et al. 2024, arXiv 2402.12354): groups of parameters for Adam or AdamW, in which B
// has a higher learning rate than A.
#pragma once

#include "nn/module.h"
#include "optim/adam.h"

namespace slim {

// Returns three groups for Adam or AdamW:
// 0. all parameters that are in no other group, at options.lr;
// 1. the adapters' B matrices, of Embedding too, at ratio * options.lr;
// 2. DoRA's magnitudes, at options.lr and without weight decay, which would shrink the weights.
std::vector<ParameterGroup<AdamOptions>> lora_plus_groups(Module& model, const AdamOptions& options,
                                                          double ratio = 16);

}  // namespace slim
