// Adapters as files: the folder that Hugging Face PEFT writes and reads.
//
//     save_adapter("my_adapter", adapters);                       // here, after attach()
//     model = PeftModel.from_pretrained(base, "my_adapter")       # in Python, with the same base
//
//     LoadedAdapter adapter = load_adapter("from_the_cluster");   // and back
//     attach_adapter(model, adapter, rng);
//
// adapter_config.json says what was adapted and how (PEFT's LoraConfig). adapter_model.safetensors
// holds the tensors, each named "base_model.model." + the module's name + "." + one of
//
//     lora_A.weight     (rank, in)              lora_B.weight     (out, rank)
//     lora_embedding_A  (rank, num_embeddings)  lora_embedding_B  (dim, rank)
//     lora_magnitude_vector  (out), of an Embedding (dim)         DoRA only
//     base_layer.weight                         the weight of the adapted module itself, which PEFT
//                                               writes for an embedding and for lm_head
//     base_layer.bias   (out)                   the bias of an adapted Linear, if it is trained, or
//                                               if base_layer.weight is in the file
//     bias              (out)                   the bias of another Linear, if it is trained
//     weight, bias, or a longer path            the parameters of modules_to_save
#pragma once

#include <string>
#include <vector>

#include "data/json.h"
#include "data/safetensors.h"
#include "nn/adapters/adapt.h"

namespace slim {

// Writes the active adapter; the configuration is derived from its layers. Either both files are
// replaced or neither. PEFT knows one axis: DoRA with a magnitude per input is refused; merge it
// and save the model instead. base_name is what PEFT finds the base by.
void save_adapter(const std::string& folder, const AdapterSet& adapters,
                  const std::string& base_name = "");

struct LoadedAdapter {
    std::string folder;
    AdapterConfig config;            // with PEFT's defaults for what the file leaves out
    Json json;                       // adapter_config.json as it is
    TensorFile file;                 // the tensors of the file, without duplicate biases
    std::vector<std::string> notes;  // sentences about content that was ignored

    struct Layer {
        std::string module;  // "layers.0"
        bool is_embedding = false;
        int64_t in = 0, out = 0;  // of an Embedding: num_embeddings, dim
    };
    std::vector<Layer> layers;  // the adapted modules, in alphabetical order

    bool has(const std::string& module, const std::string& end) const;
    Tensor tensor(const std::string& module, const std::string& end) const;  // as in the file
    Tensor A(const Layer& layer) const;
    Tensor B(const Layer& layer) const;
};

// Checks everything that can be checked without the base: names, types, shapes, ranks, that the two
// files belong together, and that nothing asks for what slimgrad does not do. Throws otherwise.
LoadedAdapter load_adapter(const std::string& folder);

// Attaches it, with the values of the file. Strict: what the configuration selects in the model and
// what the file holds must be the same, to the name and the shape. On an error the model is
// unchanged. Prints the notes on standard error.
AdapterSet attach_adapter(Module& model, const LoadedAdapter& adapter, Rng& rng);

// The same, into a set that exists: adds it under this name and makes it the active one.
void add_adapter(AdapterSet& adapters, const std::string& name, const LoadedAdapter& adapter,
                 Rng& rng);

// Merges the adapter into the base's tensors. Needs no model: finds the weights by name and shape.
// Each tensor keeps the base's dtype. Refuses what is not finite. Prints on standard error the
// notes, and by how much merged values are off in F16 and BF16, and when F64 is computed in float.
TensorFile merge_into(const TensorFile& base, const LoadedAdapter& adapter);

}  // namespace slim
