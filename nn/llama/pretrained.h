// A Llama as a folder of Hugging Face's: config.json says what it is, model.safetensors holds the
// parameters.
//
//     save_pretrained("my_model", model);
//     model = AutoModelForCausalLM.from_pretrained("my_model")     # in Python
//     std::unique_ptr<LlamaForCausalLM> model = load_pretrained("SmolLM-135M");      // and back
#pragma once

#include <memory>

#include "nn/llama/llama.h"

namespace slim {

// Writes both files, or neither. Refuses an adapted or quantised model: merge or save its adapter.
void save_pretrained(const std::string& folder, LlamaForCausalLM& model);

// Reads F32, F16, BF16 and F64. Throws when the folder is of another model type, when a file is
// damaged, when names or shapes of the parameters are not the model's, and when config.json asks
// for what is not done here: rope scaling, biases, another activation.
std::unique_ptr<LlamaForCausalLM> load_pretrained(const std::string& folder);

}  // namespace slim
