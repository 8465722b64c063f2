// Putting adapters into a model: attaching, switching, merging; freezing and quantising its Linear
// layers; reporting what is trained. Which modules are adapted, and how, is an AdapterConfig
// (adapter.h).
//
//     AdapterSet adapters = attach(model, {.rank = 4, .alpha = 8}, rng);
//     ... train ...
//     adapters.merge();      // inference at the base's cost
//     adapters.unmerge();    // as before, to the bit
//     adapters.disable();    // the base, to the bit
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "nn/adapters/dora.h"
#include "nn/adapters/lora.h"
#include "nn/adapters/select.h"
#include "nn/module.h"

namespace slim {

// A dry run: the names that the configuration selects, in order. Throws when an entry matches
// nothing that could be adapted, listing what there is. (PEFT stays silent.)
std::vector<std::string> select_modules(Module& model, const AdapterConfig& config);

// Returns the configuration of one module: applies rank_pattern and alpha_pattern.
AdapterConfig config_for(const AdapterConfig& config, const std::string& module);

// A module of a model and what takes its place: an Adapter around it, or a copy of it that is
// trained in part or whole.
struct AdaptedPlace {
    enum class Trained { kAdapter, kBias, kWhole };

    std::string name;  // "layers.0"
    Trained trained;
    ModulePtr base, adapted;

    Adapter* adapter() const { return dynamic_cast<Adapter*>(adapted.get()); }
};

// Makes what the configuration asks for, and leaves the model as it is. A module that is reached by
// several names is adapted once. Throws when the model is adapted already.
std::vector<AdaptedPlace> make_adapters(Module& model, ModuleSelector& selector,
                                        const AdapterConfig& config, Rng& rng);

// Several adapters on one base, by name, of which one is active. All share the base's memory.
// Switching exchanges modules, so it is instant, and disabling gives the base back to the bit. A
// module that the caller has replaced in the model is left alone. Then the adapter is incomplete:
// places(), and with it save_adapter(), throws while it is active.
class AdapterSet {
public:
    explicit AdapterSet(Module& model) : model_(&model) {}  // the model must outlive this
    AdapterSet(AdapterSet&&) = default;  // no copies: two sets would disagree about the model
    AdapterSet& operator=(AdapterSet&&) = default;

    // Freezes the model, and puts new adapters in the places that the configuration selects. They
    // are active then. On an error all is as it was.
    void add(const std::string& name, const AdapterConfig& config, Rng& rng);
    // The same with a custom factory, which calls make_adapters().
    using Maker = std::function<std::vector<AdaptedPlace>(Module& base)>;
    void add(const std::string& name, const AdapterConfig& config, const Maker& make);

    void activate(const std::string& name);
    void disable();
    void remove(const std::string& name);

    // merge() makes the active adapter compute with merged weights; unmerge() undoes that to the
    // bit. Merging again sees what has changed since. Throws, and changes nothing, when a merged
    // weight is not finite.
    void merge();
    void unmerge();
    bool is_merged() const;
    void merge_and_unload();  // leaves plain merged modules in the model, and removes the adapter

    Module& model() const { return *model_; }
    const std::string& active() const { return active_; }  // "" if none is
    std::vector<std::string> names() const;
    const AdapterConfig& config(const std::string& name) const { return find(name).config; }
    // The names of the active adapter's places are their current paths in the model.
    std::vector<AdaptedPlace> places(const std::string& name) const;
    std::vector<AdaptedPlace> places() const { return places(active_); }

private:
    struct Entry {
        AdapterConfig config;
        std::vector<AdaptedPlace> places;
    };
    const Entry& find(const std::string& name) const;
    void exchange(ModulePtr AdaptedPlace::*from, ModulePtr AdaptedPlace::*to);

    Module* model_;
    std::map<std::string, Entry> adapters_;
    std::string active_;
};

// Returns an AdapterSet with one adapter, called "default" as in PEFT.
AdapterSet attach(Module& model, const AdapterConfig& config, Rng& rng);

// Freezes the weight and bias of every Linear in the model, also those inside adapters. Adapters'
// own parameters stay as they are. (The tutorials' function of this name.)
void freeze_linear_layers(Module& model);

// Quantises and freezes every Linear of the model but those named in `exclude`, by their names or
// the last parts of them: {"lm_head"} for QLoRA. Do this before attaching. Throws, and changes
// nothing, when a weight is not finite or a name in `exclude` fits no Linear.
void quantize_linear_layers(Module& model, Quantization kind,
                            const std::vector<std::string>& exclude = {});

// ---- reports ------------------------------------------------------------------------------------

struct ParameterCount {
    int64_t trainable = 0, all = 0;
};
ParameterCount count_parameters(Module& model);

// Returns PEFT's line: "trainable params: 6,248 || all params: 142,322 || trainable%: 4.3900"
std::string trainable_report(Module& model);

// Returns one line per parameter, "layers.0.linear.weight: False", as the tutorials list what is
// trained.
std::string trainable_listing(Module& model);

}  // namespace slim
