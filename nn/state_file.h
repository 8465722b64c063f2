// A module's parameters as a safetensors file, which PyTorch reads too:
//
//     save_parameters(model, "model.safetensors");
//     model.load_state_dict(safetensors.torch.load_file("model.safetensors"))    # in Python
#pragma once

#include <string>

#include "nn/module.h"

namespace slim {

// Writes every entry of the state dict, in the precision of this build. Throws if a weight is
// quantised: the state dict lacks it, so the file would not be the whole model.
void save_parameters(Module& module, const std::string& path);

// Returns the widths of the MultilayerPerceptron in the file, from inputs to classes.
std::vector<int64_t> perceptron_widths(const std::string& path);

// Strict: the file must hold exactly the names and shapes of the module's state dict. On an error
// the module is unchanged. Other precisions are converted.
void load_parameters(Module& module, const std::string& path);

}  // namespace slim
