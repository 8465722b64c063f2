// Putting adapters into a model: choosing modules by name, attaching, switching, merging, freezing,
// and reporting what is trained.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nn/dora.h"
#include "nn/lora.h"
#include "nn/module.h"

namespace slim {

enum class Method { kLoRA, kDoRA, kDoRAMerged };
enum class BiasTraining { kNone, kAll, kLoRAOnly };  // of no Linear, of every one, of adapted ones

// What to adapt, and how. (PEFT: LoraConfig)
struct AdapterConfig {
    Method method = Method::kLoRA;
    AdapterOptions options = {};

    // Names of modules: each entry is a full dotted name or its last parts ("fc1" is also
    // "encoder.fc1"); the entry "all-linear" is every Linear. Or, instead of a list, one regular
    // expression for the whole name.
    std::vector<std::string> target_modules = {"all-linear"};
    std::string target_pattern = {};
    std::vector<std::string> exclude_modules = {};
    std::string exclude_pattern = {};

    // Options for single modules: regular expressions for the name or its last parts, of which the
    // first in alphabetical order that fits counts. "^fc1" is the whole name. (PEFT: the same)
    std::map<std::string, int64_t> rank_pattern = {};
    std::map<std::string, double> alpha_pattern = {};
    BiasTraining bias = BiasTraining::kNone;
};

// A dry run: the names that the configuration selects, in order. Throws when an entry matches
// nothing that could be adapted, listing what there is. (PEFT stays silent.)
std::vector<std::string> select_modules(Module& model, const AdapterConfig& config);

// The options for one module: those of the configuration, with what its patterns say.
AdapterOptions options_for(const AdapterConfig& config, const std::string& module);

// One place in a model, and what may stand there.
struct AdaptedPlace {
    std::string name;               // "layers.0"
    std::vector<ModulePtr*> slots;  // more than one if the model holds the module more than once
    ModulePtr base, adapted, merged;
};

// Freezes the model and puts adapters around the selected modules. A module that is reached by
// several names is adapted once. Returns the places.
std::vector<AdaptedPlace> attach(Module& model, const AdapterConfig& config, Rng& seed);

// Several adapters on one base, by name, of which one is active. All share the base's memory, and
// switching only exchanges the modules in their places, so it is instant, and disabling gives the
// base back to the bit.
class Adapters {
public:
    explicit Adapters(Module& model) : model_(model) {}  // the model must outlive this

    void add(const std::string& name, const AdapterConfig& config, Rng& seed);  // and activates it
    void activate(const std::string& name);
    void disable();
    void remove(const std::string& name);

    // Works the active adapter into plain modules beside the untouched base, for inference at the
    // base's price; unmerge() is exact. Merging twice is one merge. Throws, and changes nothing,
    // when the adapter holds NaN or infinity.
    void merge();
    void unmerge();

    Module& model() const { return model_; }
    const std::string& active() const { return active_; }  // "" if none is
    std::vector<std::string> names() const;
    const AdapterConfig& config(const std::string& name) const { return find(name).config; }
    const std::vector<AdaptedPlace>& places(const std::string& name) const {
        return find(name).places;
    }

private:
    struct Adapter {
        AdapterConfig config;
        std::vector<AdaptedPlace> places;
    };
    const Adapter& find(const std::string& name) const;
    void put(ModulePtr AdaptedPlace::*what);

    Module& model_;
    std::map<std::string, Adapter> adapters_;
    std::string active_;
};

// Freezes the weight and bias of every Linear in the model, also those inside adapters. Adapters'
// own parameters stay as they are. (The tutorials' function of this name.)
void freeze_linear_layers(Module& model);

// Exchanges every Linear for one whose weight is quantised, and frozen. Do this before attaching.
void quantize_linear_layers(Module& model, Quantization kind);

// ---- reports ------------------------------------------------------------------------------------

struct ParameterCount {
    int64_t trainable = 0, all = 0;
};
ParameterCount count_parameters(Module& model);

// PEFT's line: "trainable params: 6,248 || all params: 142,322 || trainable%: 4.3900"
std::string trainable_report(Module& model);

// One line per parameter, "layers.0.linear.weight: False", as the tutorials list what is trained.
std::string trainable_listing(Module& model);

// A table of all parameters: name, shape, count, trained or frozen.
std::string parameter_table(Module& model);

}  // namespace slim
