// The tensors of adapter_model.safetensors: their names, the tensor of the model that each belongs
// to, copying them there; and texts for messages about them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nn/adapters/adapt.h"
#include "nn/peft/peft.h"

namespace slim {

inline const std::string kConfigFile = "adapter_config.json";
inline const std::string kTensorFile = "adapter_model.safetensors";
inline const std::string kPrefix = "base_model.model.";
inline const std::string kMagnitude = "lora_magnitude_vector";
inline const std::string kBaseWeight = "base_layer.weight", kBaseBias = "base_layer.bias";

inline const char* end_A(bool is_embedding) {
    return is_embedding ? "lora_embedding_A" : "lora_A.weight";
}
inline const char* end_B(bool is_embedding) {
    return is_embedding ? "lora_embedding_B" : "lora_B.weight";
}

// "fc1", "lora_A.weight" -> "base_model.model.fc1.lora_A.weight"
std::string tensor_name(const std::string& module, const std::string& end);

// Returns the module path of a tensor name with this ending; "" if it has another.
std::string module_of(const std::string& name, const std::string& end);

// "base_model.model.head.weight" -> "head"
std::string parent_of(const std::string& name);

// Returns the tensors that are trained at these places, by their names in the file.
std::map<std::string, AdapterTensor> trained_tensors(const std::vector<AdaptedPlace>& places,
                                                     BiasTraining training);

// Copies the file's values into the places' tensors.
void copy_trained_tensors(const TensorFile& file, const std::vector<AdaptedPlace>& places,
                          BiasTraining training);

// ---- what messages say --------------------------------------------------------------------------

// Returns a hint at the most similar name, or "".
std::string nearest(const std::string& name, const std::vector<std::string>& names);

void print_notes(const std::vector<std::string>& notes);

double largest_difference(const Tensor& a, const Tensor& b);

std::string differs_from_base(const LoadedAdapter& adapter, const std::string& name,
                              double difference);

}  // namespace slim
