// PEFT's adapter folders. See peft.h.
#include "nn/peft/peft.h"

#include <algorithm>  // max

#include "core/ops.h"
#include "nn/adapters/embedding_adapter.h"
#include "nn/peft/peft_config.h"
#include "nn/peft/peft_tensors.h"

namespace slim {

namespace {

const std::string kMeaning = "slimgrad_config";  // in the tensors' metadata

// ---- what the file must hold --------------------------------------------------------------------

// Names the known mistakes before a tensor is called unexpected.
void check_kind(const TensorFile& file, const std::string& name, const StoredTensor& stored) {
    const auto refuse = [&](const std::string& why) {
        fail(file.path, ": tensor ", name, ": ", why);
    };
    check(name.size() <= Pattern::kMaxName, file.path, ": a tensor's name has ", name.size(),
          " bytes, \"", name.substr(0, 60), "...\"; at most ", Pattern::kMaxName,
          " are allowed");
    for (const char* part : {".modules_to_save.", ".original_module."})
        if (name.find(part) != std::string::npos)
            refuse("has \"" + std::string(part) + "\" in it, as PEFT's models have in memory; in " +
                   "its files there is none. hint: save it with the PeftModel's save_pretrained()");
    for (const std::string part : {"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"}) {
        const size_t at = name.find("." + part + ".");
        if (at == std::string::npos) continue;
        const std::string rest = name.substr(at + part.size() + 2);
        if (rest != "weight" && (rest.ends_with(".weight") || part.find("embedding") != part.npos))
            refuse("has an adapter's name (\"" + rest.substr(0, rest.rfind('.')) +
                   "\") in it, as PEFT's models have in memory; in its files there is none"
                   ". hint: save it with the PeftModel's save_pretrained()");
        if (stored.shape.size() > 2)
            refuse("has shape " + to_text(stored.shape) +
                   ", and belongs to a convolution; slimgrad has Linear and Embedding");
    }
    if (!name.starts_with(kPrefix))
        refuse("does not begin with " + kPrefix + ", so it was not written by a PeftModel" +
               ". hint: save it with the PeftModel's save_pretrained()");
}

// With bias = "all", PEFT writes the biases of modules_to_save three times: as head.bias, which it
// reads, as head.modules_to_save.bias, and the base's as head.original_module.bias. Keeps one.
void remove_copies_of_biases(TensorFile& file) {
    for (const std::string part : {".modules_to_save.", ".original_module."})
        std::erase_if(file.tensors, [&](const auto& entry) {
            std::string name = entry.first;
            const size_t at = name.find(part);
            if (at == std::string::npos || !name.ends_with(".bias")) return false;
            return file.tensors.count(name.replace(at, part.size(), ".")) > 0;
        });
}

// PEFT only warns about tensors too many or too few, and goes on with a half-loaded adapter.
using Shapes = std::map<std::string, Shape>;
void check_tensors(const TensorFile& file, const Shapes& expected) {
    std::vector<std::string> names, wanted;
    for (const auto& [name, stored] : file.tensors) names.push_back(name);
    for (const auto& [name, shape] : expected) wanted.push_back(name);
    for (const std::string& name : names)
        if (!expected.count(name))
            fail(file.path, ": unexpected tensor ", name, "; ", kConfigFile,
                 " does not call for it", nearest(name, wanted));
    for (const auto& [name, shape] : expected) {
        if (!file.tensors.count(name))
            fail(file.path, ": missing tensor ", name, " of shape ", shape, "; ", kConfigFile,
                 " calls for it", nearest(name, names));
        check(file.stored(name).shape == shape, file.path, ": tensor ", name, " has shape ",
              file.stored(name).shape, "; by the rank in ", kConfigFile, " and the module it must ",
              "be ", shape);
    }
}

// The shapes that the tensors must have, as far as the file tells without its base: A has the
// number of inputs, B that of outputs. A module that the configuration does not select is left out:
// check_tensors() then finds its tensors unexpected.
Shapes expected_by(const LoadedAdapter& adapter, ModuleSelector& selector) {
    const AdapterConfig& config = adapter.config;
    Shapes expected;
    for (const auto& [module, is_embedding, in, out] : adapter.layers) {
        if (!selector.selects(module, !is_embedding)) continue;
        const int64_t rank = selector.config_for(module).rank;
        expected[tensor_name(module, end_A(is_embedding))] = {rank, in};
        expected[tensor_name(module, end_B(is_embedding))] = {out, rank};
        if (config.method != Method::kLoRA) expected[tensor_name(module, kMagnitude)] = {out};
        const bool has_weight = adapter.has(module, kBaseWeight);
        if (has_weight)
            expected[tensor_name(module, kBaseWeight)] =
                is_embedding ? Shape{in, out} : Shape{out, in};
        if (adapter.has(module, kBaseBias) && (has_weight || config.bias != BiasTraining::kNone))
            expected[tensor_name(module, kBaseBias)] = {out};
    }
    for (const auto& [name, stored] : adapter.file.tensors) {
        const bool is_bias = config.bias == BiasTraining::kAll && name.ends_with(".bias") &&
                             !name.ends_with("." + kBaseBias);
        if (selector.is_saved_whole(parent_of(name))) expected[name] = stored.shape;
        else if (is_bias) expected[name] = {stored.shape.empty() ? 0 : stored.shape[0]};
    }
    return expected;
}

// The adapted modules, as the names of the tensors tell.
std::vector<LoadedAdapter::Layer> layers_of(const TensorFile& file) {
    std::map<std::string, bool> modules;  // and whether each is an Embedding
    for (const auto& [name, stored] : file.tensors)
        for (bool is_embedding : {false, true})
            for (const char* end : {end_A(is_embedding), end_B(is_embedding)})
                if (const std::string module = module_of(name, end); !module.empty())
                    modules[module] = is_embedding;
    const auto size = [&](const std::string& name, size_t axis) {
        const auto found = file.tensors.find(name);
        const bool is_matrix = found != file.tensors.end() && found->second.shape.size() == 2;
        return is_matrix ? found->second.shape[axis] : 0;
    };
    std::vector<LoadedAdapter::Layer> layers;
    for (const auto& [module, is_embedding] : modules)
        layers.push_back({module, is_embedding, size(tensor_name(module, end_A(is_embedding)), 1),
                          size(tensor_name(module, end_B(is_embedding)), 0)});
    return layers;
}

// Throws if the configuration says something else than when the tensors were saved: see
// meaning_of().
void check_pair(const LoadedAdapter& adapter) {
    const auto found = adapter.file.metadata.find(kMeaning);
    if (found == adapter.file.metadata.end()) return;  // not written by us
    const std::string where = adapter.file.path + ": metadata " + kMeaning;
    const Json saved = parse_json(found->second, where), now = meaning_of(adapter.json);
    const auto text = [](const Json* value) {
        return value ? value->dump(-1).substr(0, 60) : std::string("absent");
    };
    for (const Json& side : {saved, now})
        for (const auto& [key, value] : side.as_object(where))
            if (const Json *a = now.find(key), *b = saved.find(key); !a || !b || !(*a == *b))
                fail(adapter.folder, ": its two files do not belong together: ", key, " is ",
                     text(a), " in ", kConfigFile, ", but ", text(b), " when ", kTensorFile,
                     " was saved. hint: save the adapter again, or restore the file that was ",
                     "replaced");
}

// PEFT stores the weight of an adapted embedding or output layer beside the adapter. If it differs
// from the base's, the adapter is put around a copy with the file's weight.
void use_stored_base(const LoadedAdapter& adapter, const AdaptedPlace& place,
                     std::vector<std::string>& notes) {
    auto* of_linear = dynamic_cast<LinearAdapter*>(place.adapter());
    auto* of_table = dynamic_cast<EmbeddingAdapter*>(place.adapter());
    if (!adapter.has(place.name, kBaseWeight)) return;
    const Tensor weight = adapter.tensor(place.name, kBaseWeight);
    if (of_table) {
        std::shared_ptr<Embedding>& table = of_table->embedding;
        const double difference = largest_difference(weight, table->weight);
        if (difference == 0) return;
        notes.push_back(differs_from_base(adapter, place.name + "." + kBaseWeight, difference));
        table = std::make_shared<Embedding>(weight, table->options);
    } else {
        std::shared_ptr<Linear>& linear = of_linear->linear;
        if (linear->weight.quantized) return;  // it differs by what quantising lost
        const bool has_bias = adapter.has(place.name, kBaseBias) && linear->bias.defined();
        const Tensor bias = has_bias ? adapter.tensor(place.name, kBaseBias) : linear->bias;
        double difference = largest_difference(weight, linear->weight);
        if (has_bias && adapter.config.bias == BiasTraining::kNone)
            difference = std::max(difference, largest_difference(bias, linear->bias));
        if (difference == 0) return;
        notes.push_back(differs_from_base(adapter, place.name + ".base_layer", difference));
        const bool trained = linear->bias.defined() && linear->bias.requires_grad();
        linear = std::make_shared<Linear>(weight, bias);
        if (trained) linear->bias.set_requires_grad();
    }
}

// Makes the adapters that the configuration asks for, compares their names and shapes with the
// file, and copies. The model stays as it is.
std::vector<AdaptedPlace> make_loaded(Module& model, const LoadedAdapter& adapter, Rng& rng) {
    ModuleSelector selector(adapter.config);
    std::vector<AdaptedPlace> places = make_adapters(model, selector, adapter.config, rng);
    Shapes expected;
    const auto tensors = trained_tensors(places, adapter.config.bias);
    for (const auto& [name, t] : tensors) {
        const Shape shape = t.tensor->shape();
        expected[name] = t.transposed ? Shape{shape[1], shape[0]} : shape;
    }
    for (const AdaptedPlace& place : places) {
        const auto allow = [&](const std::string& end, const Tensor& x) {
            if (x.defined() && adapter.has(place.name, end))
                expected[tensor_name(place.name, end)] = x.shape();
        };
        const bool has_weight = adapter.has(place.name, kBaseWeight);
        if (!place.adapter() || !has_weight) continue;
        if (const auto* table = dynamic_cast<Embedding*>(place.base.get()))
            allow(kBaseWeight, table->weight);
        if (const auto* linear = dynamic_cast<Linear*>(place.base.get())) {
            expected[tensor_name(place.name, kBaseWeight)] = {linear->out_features(),
                                                              linear->in_features()};
            allow(kBaseBias, linear->bias);
        }
    }
    check_tensors(adapter.file, expected);

    std::vector<std::string> notes = adapter.notes;
    for (const AdaptedPlace& place : places)
        if (place.adapter()) use_stored_base(adapter, place, notes);
    copy_trained_tensors(adapter.file, places, adapter.config.bias);
    print_notes(notes);
    return places;
}

}  // namespace

// ---- saving -------------------------------------------------------------------------------------

void save_adapter(const std::string& folder, const AdapterSet& adapters,
                  const std::string& base_name) {
    check(!adapters.active().empty(), folder, ": not written: no adapter is active",
          ". hint: call activate() first");
    const std::vector<AdaptedPlace> places = adapters.places(adapters.active());
    for (const AdaptedPlace& place : places) {
        const auto* linear = dynamic_cast<const LinearAdapter*>(place.adapted.get());
        const bool per_input =
            linear && linear->is_dora() && linear->lora.config.axis == Axis::kIn;
        check(
            !per_input, folder, ": not written: ", place.name, " has a magnitude per input, and ",
            "PEFT's DoRA has one per output; the two cannot be converted, only the merged weight ",
            "is the same to both. hint: train with Axis::kOut, or merge and save the model");
    }
    Json config;
    try {
        config = config_to_json(adapters, base_name);
    } catch (const Error& e) {
        fail(folder, ": not written: ", e.what());
    }
    TensorFile file;
    file.metadata = {{"format", "pt"}, {kMeaning, meaning_of(config).dump(-1)}};
    const BiasTraining bias = adapters.config(adapters.active()).bias;
    for (const auto& [name, t] : trained_tensors(places, bias))
        file.tensors[name] = store(t.transposed ? transpose(t.tensor->detach()) : *t.tensor, "F32");
    make_folders(folder);
    const std::string tensor_path = folder + "/" + kTensorFile, text = config.dump() + "\n";
    std::string header;
    write_files({{tensor_path, safetensors_pieces(tensor_path, file, header)},
                 {folder + "/" + kConfigFile, {text}}});
}

// ---- loading ------------------------------------------------------------------------------------

bool LoadedAdapter::has(const std::string& module, const std::string& end) const {
    return file.tensors.count(tensor_name(module, end)) > 0;
}
Tensor LoadedAdapter::tensor(const std::string& module, const std::string& end) const {
    return file.tensor(tensor_name(module, end));
}
Tensor LoadedAdapter::A(const Layer& layer) const {
    return tensor(layer.module, end_A(layer.is_embedding));
}
Tensor LoadedAdapter::B(const Layer& layer) const {
    return tensor(layer.module, end_B(layer.is_embedding));
}

LoadedAdapter load_adapter(const std::string& folder) {
    LoadedAdapter adapter;
    adapter.folder = folder;
    const std::string config_path = folder + "/" + kConfigFile;
    const std::string tensor_path = folder + "/" + kTensorFile;
    recover_files({tensor_path, config_path});  // in case a save was killed
    adapter.json = parse_json(as_text(read_file(config_path, 1 << 24)), config_path);
    adapter.config = config_from_json(adapter.json, config_path, adapter.notes);
    check(file_exists(tensor_path) || !file_exists(folder + "/adapter_model.bin"), folder,
          ": adapter_model.bin is a pickle, which can execute code; not loaded",
          ". hint: let PEFT save it with safe_serialization=True");
    adapter.file = read_safetensors(tensor_path);
    check_pair(adapter);
    if (adapter.config.bias == BiasTraining::kAll) remove_copies_of_biases(adapter.file);

    bool has_bias = false;
    for (const auto& [name, stored] : adapter.file.tensors) {
        check_kind(adapter.file, name, stored);
        adapter.file.tensor(name);  // throws if it does not hold real numbers
        has_bias = has_bias || name.ends_with(".bias");
        check(adapter.config.method == Method::kDoRA || !name.ends_with("." + kMagnitude),
              tensor_path, ": tensor ", name, " is for DoRA, but use_dora is false in ",
              kConfigFile, "; PEFT would load it as LoRA, silently. hint: set use_dora to true");
    }
    adapter.layers = layers_of(adapter.file);
    if (adapter.config.bias == BiasTraining::kLoRAOnly && !has_bias) {
        adapter.config.bias = BiasTraining::kNone;
        adapter.notes.push_back(config_path + ": bias: is lora_only, but there is no bias in " +
                                kTensorFile + ", because PEFT trains these and forgets to save " +
                                "them (peft#3306); the base's are used");
    }
    ModuleSelector selector(adapter.config);
    check_tensors(adapter.file, expected_by(adapter, selector));
    check(!adapter.layers.empty(), tensor_path, ": there is no adapter in it");

    // PEFT writes all-linear as a list of names, with excluded modules and modules_to_save in it:
    // selects() marks these as used.
    for (const std::string& target : adapter.config.target_modules)
        if (selector.is_excluded(target, true) || selector.is_saved_whole(target))
            selector.selects(target, true);
    // Another target without tensors was either no module of the base, or its tensors are lost.
    for (const std::string& sentence : selector.unused_targets())
        fail(config_path, ": ", sentence, " of ", kTensorFile, ". hint: if the base has no such ",
             "module, remove it from the configuration");
    for (const std::string& sentence : selector.unused_patterns())
        adapter.notes.push_back(config_path + ": " + sentence);
    for (const std::string& sentence : selector.unused_saves())
        adapter.notes.push_back(config_path + ": " + sentence + " of " + kTensorFile);
    return adapter;
}

AdapterSet attach_adapter(Module& model, const LoadedAdapter& adapter, Rng& rng) {
    AdapterSet adapters(model);
    add_adapter(adapters, "default", adapter, rng);
    return adapters;
}

void add_adapter(AdapterSet& adapters, const std::string& name, const LoadedAdapter& adapter,
                 Rng& rng) {
    try {
        adapters.add(name, adapter.config,
                     [&](Module& base) { return make_loaded(base, adapter, rng); });
    } catch (const Error& e) {
        fail(adapter.folder, ": not attached: ", e.what());
    }
}

}  // namespace slim
