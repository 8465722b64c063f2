// Merging an adapter into the file of its base. See peft.h.
#include <algorithm>  // copy_n, max
#include <cmath>      // fabs, isfinite

#include "nn/embedding.h"
#include "nn/peft/peft.h"
#include "nn/peft/peft_tensors.h"
#include "nn/sequential.h"

namespace slim {

namespace {

// W' of one layer: by the modules themselves, so that there is one formula for it.
Tensor merged_weight(const LoadedAdapter& adapter, const LoadedAdapter::Layer& layer,
                     AdapterConfig config, const Tensor& weight) {
    Sequential model({layer.is_embedding ? ModulePtr(std::make_shared<Embedding>(weight))
                                         : ModulePtr(std::make_shared<Linear>(weight))});
    config = {.method = config.method,
              .rank = config.rank,
              .alpha = config.alpha,
              .scaling = config.scaling,
              .target_modules = {"0"}};
    Rng unused(0);
    ModuleSelector selector(config);
    std::vector<AdaptedPlace> places = make_adapters(model, selector, config, unused);
    places[0].name = layer.module;
    copy_trained_tensors(adapter.file, places, BiasTraining::kNone);
    return places[0].adapter()->merged()->state_dict().at("weight");
}

// Throws if the configuration selects a weight of the base for which the adapter has no tensors.
// all-linear is not checked: the file does not say which matrices are those of a Linear.
void check_all_merged(const TensorFile& base, const LoadedAdapter& adapter,
                      ModuleSelector& selector) {
    for (const auto& [name, stored] : base.tensors) {
        if (!name.ends_with(".weight") || stored.shape.size() != 2) continue;
        const std::string module = name.substr(0, name.size() - 7);
        if (module.size() > Pattern::kMaxName || !selector.selects(module, false)) continue;
        check(adapter.has(module, end_A(false)) || adapter.has(module, end_A(true)),
              adapter.file.path, ": missing tensor ", tensor_name(module, end_A(false)), "; ",
              kConfigFile, " selects ", module, " of ", base.path);
    }
}

// The merged values in the base's dtype. What has not changed keeps every bit.
StoredTensor store_merged(const StoredTensor& before, const Tensor& old, const Tensor& merged) {
    StoredTensor stored = store(merged, before.dtype);
    const size_t width = stored.bytes.size() / size_t(std::max<int64_t>(1, merged.size()));
    for (int64_t i = 0; i < merged.size(); i++)
        if (merged.data()[i] == old.data()[i])
            std::copy_n(before.bytes.begin() + i * int64_t(width), width,
                        stored.bytes.begin() + i * int64_t(width));
    return stored;
}

// Returns the largest rounding error of the stored values: exact for F16 and BF16, a bound for F64
// when computing in float.
double digits_lost(const StoredTensor& stored, const Tensor& merged) {
    double lost = 0;
    if (stored.dtype == "F64" && sizeof(real) == 4) {
        for (real v : merged.to_vector()) lost = std::max(lost, std::fabs(double(v)) * 0x1p-24);
    } else if (stored.dtype == "F16" || stored.dtype == "BF16") {
        TensorFile file;
        file.tensors["x"] = stored;
        lost = largest_difference(file.tensor("x"), merged);
    }
    return lost;
}

}  // namespace

TensorFile merge_into(const TensorFile& base, const LoadedAdapter& adapter) {
    std::vector<std::string> names, notes = adapter.notes;
    for (const auto& [name, stored] : base.tensors) names.push_back(name);
    TensorFile result = base;
    result.metadata["format"] = "pt";
    // Replaces a tensor of the base by value(what it was).
    const auto replace = [&](const std::string& name, const Shape& shape, const auto& value) {
        if (!base.tensors.count(name))
            fail(base.path, ": there is no tensor ", name, ", which ", adapter.folder, " adapts",
                 nearest(name, names));
        const StoredTensor& before = base.stored(name);
        check(before.shape == shape, base.path, ": tensor ", name, " has shape ", before.shape,
              "; ", adapter.folder, " is for one of ", shape);
        try {
            const Tensor old = base.tensor(name), merged = value(old);
            for (real v : merged.to_vector())
                check(std::isfinite(v), "merge: the new values are not finite");
            result.tensors[name] = store_merged(before, old, merged);
            const double lost = digits_lost(result.tensors[name], merged);
            if (lost > 0)
                notes.push_back(base.path + ": " + name + " is " + before.dtype +
                                ", in which merged values are off by up to " + to_text(lost));
        } catch (const Error& e) {
            fail(adapter.folder, ": ", name, ": ", e.what());
        }
    };
    ModuleSelector selector(adapter.config);
    check_all_merged(base, adapter, selector);
    for (const LoadedAdapter::Layer& layer : adapter.layers) {
        const Shape shape = layer.is_embedding ? Shape{layer.in, layer.out}
                                               : Shape{layer.out, layer.in};
        replace(layer.module + ".weight", shape, [&](const Tensor& weight) {
            Tensor of_base = weight;
            if (adapter.has(layer.module, kBaseWeight)) {
                of_base = adapter.tensor(layer.module, kBaseWeight);
                const double difference = largest_difference(of_base, weight);
                const std::string name = layer.module + "." + kBaseWeight;
                if (difference > 0) notes.push_back(differs_from_base(adapter, name, difference));
            }
            return merged_weight(adapter, layer, selector.config_for(layer.module), of_base);
        });
    }
    for (const auto& [name, stored] : adapter.file.tensors) {
        const bool whole = selector.is_saved_whole(parent_of(name));
        std::string module = module_of(name, kBaseBias);
        if (module.empty()) module = module_of(name, "bias");
        const std::string in_base = whole            ? name.substr(kPrefix.size())
                                    : module.empty() ? ""
                                                     : module + ".bias";
        if (in_base.empty()) continue;
        const Tensor values = adapter.file.tensor(name);
        replace(in_base, values.shape(), [&](const Tensor&) { return values; });
    }
    print_notes(notes);
    return result;
}

}  // namespace slim
