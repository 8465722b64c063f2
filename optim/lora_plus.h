// LoRA+ (Hayou et al. 2024, arXiv 2402.12354): B learns faster than A.
#pragma once

#include "nn/module.h"
#include "optim/adam.h"

namespace slim {

// Groups for Adam or AdamW: what is trained in the model, at options.lr, and the adapters' B
// matrices (of Embedding too), at ratio * options.lr. DoRA's magnitudes go with the first, but
// without weight decay, which would shrink the pretrained lengths: a third group.
std::vector<ParameterGroup<AdamOptions>> lora_plus_groups(Module& model, const AdamOptions& options,
                                                          double ratio = 16);

}  // namespace slim
