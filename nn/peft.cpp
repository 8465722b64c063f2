// PEFT's adapter folders. See peft.h.
#include "nn/peft.h"

#include <algorithm>  // find
#include <cmath>      // isfinite

#include "core/ops.h"
#include "nn/embedding.h"
#include "nn/peft_config.h"
#include "nn/sequential.h"

namespace slim {

namespace {

const std::string kConfigFile = "adapter_config.json", kTensorFile = "adapter_model.safetensors";
const std::string kPrefix = "base_model.model.";
const std::string kMagnitude = "lora_magnitude_vector";

const char* end_A(bool is_embedding) { return is_embedding ? "lora_embedding_A" : "lora_A.weight"; }
const char* end_B(bool is_embedding) { return is_embedding ? "lora_embedding_B" : "lora_B.weight"; }

std::string tensor_name(const std::string& module, const std::string& end) {
    return kPrefix + module + "." + end;
}

// The module of which this is the tensor with that end; "" if it is none.
std::string module_of(const std::string& name, const std::string& end) {
    if (!name.starts_with(kPrefix) || !name.ends_with("." + end)) return "";
    const size_t extra = kPrefix.size() + 1 + end.size();
    return name.size() > extra ? name.substr(kPrefix.size(), name.size() - extra) : "";
}

// The bias that is trained at a place, and the end of its name; undefined if there is none.
struct PlaceBias {
    Tensor bias;
    const char* end;
};
PlaceBias trained_bias(const AdaptedPlace& place, BiasTraining training) {
    const auto* adapter = dynamic_cast<const AdapterModule*>(place.adapted.get());
    const ModulePtr module = adapter ? adapter->base() : place.adapted;
    const auto* linear = dynamic_cast<const Linear*>(module.get());
    return {training != BiasTraining::kNone && linear ? linear->bias : Tensor(),
            adapter ? "base_layer.bias" : "bias"};
}

// ---- which tensors there must be ----------------------------------------------------------------

using Shapes = std::map<std::string, Shape>;

// Adds what belongs to one adapted module with `in` inputs (or ids) and `out` outputs.
void expect_layer(Shapes& expected, const AdapterConfig& config, const std::string& module,
                  bool is_embedding, int64_t in, int64_t out) {
    const int64_t rank = options_for(config, module).rank;
    expected[tensor_name(module, end_A(is_embedding))] = {rank, in};
    expected[tensor_name(module, end_B(is_embedding))] = {out, rank};
    if (config.method != Method::kLoRA) expected[tensor_name(module, kMagnitude)] = {out};
}

Shapes expected_by(Module& model, const AdapterConfig& config) {
    const std::vector<std::string> selected = select_modules(model, config);
    Shapes expected;
    for (const NamedModule& m : model.named_modules()) {
        const bool adapted = std::find(selected.begin(), selected.end(), m.name) != selected.end();
        const auto* table = dynamic_cast<const Embedding*>(m.module);
        const auto* linear = dynamic_cast<const Linear*>(m.module);
        if (adapted && table)
            expect_layer(expected, config, m.name, true, table->weight.size(0),
                         table->weight.size(1));
        if (adapted && linear)
            expect_layer(expected, config, m.name, false, linear->in_features(),
                         linear->out_features());
        if (!linear || !linear->bias.defined() || m.slots.empty()) continue;
        if (config.bias == BiasTraining::kAll || (adapted && config.bias != BiasTraining::kNone))
            expected[tensor_name(m.name, adapted ? "base_layer.bias" : "bias")] = {
                linear->out_features()};
    }
    return expected;
}

// As far as a file without its base can say: A tells the number of inputs, B that of outputs.
Shapes expected_by(const LoadedAdapter& adapter) {
    Shapes expected;
    const auto size = [&](const std::string& name, size_t axis) {
        const auto found = adapter.file.tensors.find(name);
        const bool is_matrix =
            found != adapter.file.tensors.end() && found->second.shape.size() == 2;
        return is_matrix ? found->second.shape[axis] : 0;
    };
    for (const auto& [module, is_embedding] : adapter.layers) {
        const int64_t out = size(tensor_name(module, end_B(is_embedding)), 0);
        expect_layer(expected, adapter.config, module, is_embedding,
                     size(tensor_name(module, end_A(is_embedding)), 1), out);
        if (adapter.config.bias != BiasTraining::kNone && adapter.has(module, "base_layer.bias"))
            expected[tensor_name(module, "base_layer.bias")] = {out};
    }
    if (adapter.config.bias == BiasTraining::kAll)
        for (const auto& [name, stored] : adapter.file.tensors)
            if (name.ends_with(".bias") && !name.ends_with(".base_layer.bias"))
                expected[name] = {stored.shape.empty() ? 0 : stored.shape[0]};
    return expected;
}

std::string nearest(const std::string& name, const std::vector<std::string>& names) {
    return names.empty() ? "" : ". hint: the most similar is " + nearest_name(name, names);
}

// PEFT only warns about tensors too many or too few, and goes on with a half-loaded adapter.
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
              file.stored(name).shape, "; by the base and the rank in ", kConfigFile,
              " it must be ", shape);
    }
}

void copy_in(const LoadedAdapter& from, const std::vector<AdaptedPlace>& places) {
    for (const AdaptedPlace& place : places) {
        if (auto* adapter = dynamic_cast<AdapterModule*>(place.adapted.get()))
            for (const AdapterTensor& t : adapter->adapter_tensors()) {
                const Tensor values = from.tensor(place.name, t.peft_name);
                copy_values(t.transposed ? transpose(values) : values, *t.tensor);
            }
        auto [bias, end] = trained_bias(place, from.config.bias);
        if (bias.defined()) copy_values(from.tensor(place.name, end), bias);
    }
}

}  // namespace

// ---- saving -------------------------------------------------------------------------------------

void save_adapter(const std::string& folder, const AdapterConfig& config,
                  const std::vector<AdaptedPlace>& places, const std::string& base_name) {
    TensorFile file;
    file.metadata = {{"format", "pt"}};
    bool any = false;
    for (const AdaptedPlace& place : places) {
        if (const auto [bias, end] = trained_bias(place, config.bias); bias.defined())
            file.tensors[tensor_name(place.name, end)] = store(bias, "F32");
        auto* adapter = dynamic_cast<AdapterModule*>(place.adapted.get());
        if (!adapter) continue;
        const bool per_input =
            dynamic_cast<const DoRABase*>(adapter) && adapter->adapter_options().axis == Axis::kIn;
        check(
            !per_input, folder, ": not written: ", place.name, " has a magnitude per input, and ",
            "PEFT's DoRA has one per output; the two cannot be converted, only the merged weight ",
            "is the same to both. hint: train with Axis::kOut, or merge and save the model");
        for (const AdapterTensor& t : adapter->adapter_tensors())
            file.tensors[tensor_name(place.name, t.peft_name)] =
                store(t.transposed ? transpose(t.tensor->detach()) : *t.tensor, "F32");
        any = true;
    }
    check(any, folder, ": not written: there is no adapter among ", places.size(), " places");
    make_folders(folder);
    write_safetensors(folder + "/" + kTensorFile, file);
    write_file(folder + "/" + kConfigFile,
               {config_to_json(config, places, base_name).dump(), "\n"});
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
    adapter.json = parse_json(as_text(read_file(config_path, 1 << 24)), config_path);
    adapter.config = config_from_json(adapter.json, config_path, adapter.notes);
    check(file_exists(tensor_path) || !file_exists(folder + "/adapter_model.bin"), folder,
          ": has its tensors in adapter_model.bin, which is a program in disguise (a pickle) and ",
          "is not read. hint: let PEFT save it with safe_serialization=True");
    adapter.file = read_safetensors(tensor_path);

    std::map<std::string, bool> modules;  // and whether each is an embedding
    bool has_bias = false;
    for (const auto& [name, stored] : adapter.file.tensors) {
        adapter.file.tensor(name);  // throws if it does not hold real numbers
        has_bias = has_bias || name.ends_with(".bias");
        check(adapter.config.method == Method::kDoRA || !name.ends_with("." + kMagnitude),
              tensor_path, ": tensor ", name, " is for DoRA, but use_dora is false in ",
              kConfigFile, "; PEFT would load it as LoRA, without a word");
        for (bool is_embedding : {false, true})
            for (const char* end : {end_A(is_embedding), end_B(is_embedding)})
                if (const std::string module = module_of(name, end); !module.empty())
                    modules[module] = is_embedding;
    }
    for (const auto& [module, is_embedding] : modules)
        adapter.layers.push_back({module, is_embedding});
    if (adapter.config.bias == BiasTraining::kLoRAOnly && !has_bias) {
        adapter.config.bias = BiasTraining::kNone;
        adapter.notes.push_back(config_path + ": bias: is lora_only, but there is no bias in " +
                                kTensorFile + ", because PEFT trains these and forgets to save " +
                                "them (peft#3306); the base's are used");
    }
    check_tensors(adapter.file, expected_by(adapter));
    check(!adapter.layers.empty(), tensor_path, ": there is no adapter in it");
    return adapter;
}

std::vector<AdaptedPlace> attach_adapter(Module& model, const LoadedAdapter& adapter, Rng& seed) {
    try {
        check_tensors(adapter.file, expected_by(model, adapter.config));
    } catch (const Error& e) {
        fail(adapter.folder, ": not attached: ", e.what());
    }
    const std::vector<AdaptedPlace> places = attach(model, adapter.config, seed);
    copy_in(adapter, places);
    return places;
}

void add_adapter(Adapters& adapters, const std::string& name, const LoadedAdapter& adapter,
                 Rng& seed) {
    const std::string before = adapters.active();
    adapters.disable();
    try {
        check_tensors(adapter.file, expected_by(adapters.model(), adapter.config));
        adapters.add(name, adapter.config, seed);
    } catch (const Error& e) {
        if (!before.empty()) adapters.activate(before);
        fail(adapter.folder, ": not added: ", e.what());
    }
    copy_in(adapter, adapters.places(name));
}

// ---- merging files ------------------------------------------------------------------------------

// W' of one layer: by the modules themselves, so that there is one formula for it.
static Tensor merged_weight(const LoadedAdapter& adapter, const LoadedAdapter::Layer& layer,
                            const Tensor& weight) {
    Sequential model({layer.is_embedding ? ModulePtr(std::make_shared<Embedding>(weight))
                                         : ModulePtr(std::make_shared<Linear>(weight))});
    const AdapterConfig config{.method = adapter.config.method,
                               .options = options_for(adapter.config, layer.module),
                               .target_modules = {"0"}};
    Rng unused(0);
    std::vector<AdaptedPlace> places = attach(model, config, unused);
    places[0].name = layer.module;
    copy_in(adapter, places);
    const auto& merged = dynamic_cast<const AdapterModule&>(*places[0].adapted).merged();
    return merged->state_dict().at("weight");
}

TensorFile merge_into(const TensorFile& base, const LoadedAdapter& adapter) {
    std::vector<std::string> names;
    for (const auto& [name, stored] : base.tensors) names.push_back(name);
    TensorFile result = base;
    result.metadata["format"] = "pt";
    const auto replace = [&](const std::string& name, const Shape& shape, const auto& value) {
        if (!base.tensors.count(name))
            fail(base.path, ": there is no tensor ", name, ", which ", adapter.folder, " adapts",
                 nearest(name, names));
        check(base.stored(name).shape == shape, base.path, ": tensor ", name, " has shape ",
              base.stored(name).shape, "; ", adapter.folder, " is for one of ", shape);
        try {
            const Tensor x = value(base.tensor(name));
            for (real v : x.to_vector()) check(std::isfinite(v), "merge: it is not finite");
            result.tensors[name] = store(x, base.stored(name).dtype == "F64" ? "F64" : "F32");
        } catch (const Error& e) {
            fail(adapter.folder, ": ", name, ": ", e.what());
        }
    };
    for (const LoadedAdapter::Layer& layer : adapter.layers) {
        const int64_t in = adapter.A(layer).size(1), out = adapter.B(layer).size(0);
        replace(layer.module + ".weight", layer.is_embedding ? Shape{in, out} : Shape{out, in},
                [&](const Tensor& weight) { return merged_weight(adapter, layer, weight); });
    }
    for (const auto& [name, stored] : adapter.file.tensors)
        for (const char* end : {"base_layer.bias", "bias"})
            if (const std::string module = module_of(name, end); !module.empty()) {
                const Tensor bias = adapter.file.tensor(name);
                replace(module + ".bias", bias.shape(), [&](const Tensor&) { return bias; });
                break;
            }
    return result;
}

}  // namespace slim
