// Adapters as files: the folder that Hugging Face PEFT writes and reads.
//
//     save_adapter("my_adapter", config, places);                 // here
//     model = PeftModel.from_pretrained(base, "my_adapter")       # in Python, with the same base
//
//     LoadedAdapter adapter = load_adapter("from_the_cluster");   // and back
//     attach_adapter(model, adapter, seed);
//
// adapter_config.json says what was adapted and how (PEFT's LoraConfig). adapter_model.safetensors
// holds the tensors, each named "base_model.model." + the module's name + "." + one of
//
//     lora_A.weight     (rank, in)              lora_B.weight     (out, rank)
//     lora_embedding_A  (rank, num_embeddings)  lora_embedding_B  (dim, rank)
//     lora_magnitude_vector  (out), of an Embedding (dim)         DoRA only
//     base_layer.bias, bias  (out)              of an adapted and of another Linear, if trained
#pragma once

#include <string>
#include <vector>

#include "data/json.h"
#include "data/safetensors.h"
#include "nn/adapt.h"

namespace slim {

// Writes both files; each is replaced in one step. The places are those that attach() returned or
// Adapters::places() has. PEFT knows one axis: DoRA with a magnitude per input is refused, and
// can only be handed on merged. The scaling s = alpha, which PEFT lacks, is written as the
// lora_alpha = alpha * rank that gives the same s.
void save_adapter(const std::string& folder, const AdapterConfig& config,
                  const std::vector<AdaptedPlace>& places, const std::string& base_name = "");

struct LoadedAdapter {
    std::string folder;
    AdapterConfig config;            // ready for attach(), with every default but those in the file
    Json json;                       // adapter_config.json as it is
    TensorFile file;                 // adapter_model.safetensors as it is
    std::vector<std::string> notes;  // what is in the files and was left aside, in sentences

    struct Layer {
        std::string module;  // "layers.0"
        bool is_embedding;
    };
    std::vector<Layer> layers;  // the adapted ones, in alphabetical order

    bool has(const std::string& module, const std::string& end) const;
    Tensor tensor(const std::string& module, const std::string& end) const;  // as in the file
    Tensor A(const Layer& layer) const;
    Tensor B(const Layer& layer) const;
};

// Checks everything that can be checked without the base: types, names, shapes, ranks, and that
// nothing in the configuration asks for what slimgrad does not do. Throws a sentence otherwise.
LoadedAdapter load_adapter(const std::string& folder);

// Attaches it, with the values of the file. Strict: what the configuration selects in the model and
// what the file holds must be the same, to the name and the shape. On an error the model is
// unchanged.
std::vector<AdaptedPlace> attach_adapter(Module& model, const LoadedAdapter& adapter, Rng& seed);

// The same as a new, active one among others.
void add_adapter(Adapters& adapters, const std::string& name, const LoadedAdapter& adapter,
                 Rng& seed);

// The base's tensors with the adapter worked in, without a Module: names and shapes lead to the
// weights. A merged weight is F64 where the base's is, else F32. Refuses what is not finite.
TensorFile merge_into(const TensorFile& base, const LoadedAdapter& adapter);

}  // namespace slim
