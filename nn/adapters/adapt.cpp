// Adapting models. See adapt.h.
#include "nn/adapters/adapt.h"

#include <algorithm>  // any_of
#include <cstdio>     // snprintf
#include <map>
#include <utility>  // exchange

#include "core/ops.h"  // clone
#include "nn/adapters/embedding_adapter.h"

namespace slim {

namespace {

// ---- choosing -----------------------------------------------------------------------------------

bool is_linear(const Module* module) { return dynamic_cast<const Linear*>(module) != nullptr; }
bool is_embedding(const Module* module) {
    return dynamic_cast<const Embedding*>(module) != nullptr;
}

// For messages: "embed, q_proj (4)". If there are more than ten, modules with the same last part
// become one entry with their number.
std::string list_of(const std::vector<NamedModule>& modules) {
    const auto last = [](const NamedModule& m) { return m.name.substr(m.name.rfind('.') + 1); };
    const bool is_short = modules.size() <= 10;
    std::map<std::string, int> counts;
    for (const NamedModule& m : modules) counts[last(m)]++;
    std::string text;
    for (const NamedModule& m : modules) {
        const int count = is_short ? 1 : std::exchange(counts[last(m)], 0);
        if (count == 0) continue;  // it has been listed
        text += (text.empty() ? "" : ", ") +
                (count == 1 ? m.name : last(m) + " (" + std::to_string(count) + ")");
    }
    return text.empty() ? "none" : text;
}

// The modules that an adapter can go around.
std::vector<NamedModule> adaptable_modules(Module& model) {
    std::vector<NamedModule> found;
    for (const NamedModule& m : model.named_modules()) {
        check(!dynamic_cast<Adapter*>(m.module), "attach: ", m.name, " is already adapted: ",
              "it is a ", m.module->name(), ". hint: name all targets in one attach(); ",
              "AdapterSet::add() puts a second adapter on the same base");
        if (is_linear(m.module) || is_embedding(m.module)) found.push_back(m);
    }
    return found;
}

std::vector<NamedModule> select(const std::vector<NamedModule>& candidates,
                                ModuleSelector& selector) {
    std::vector<NamedModule> selected;
    for (const NamedModule& m : candidates)
        if (selector.selects(m.name, is_linear(m.module), m.aliases)) selected.push_back(m);
    for (const std::string& sentence : selector.unused_targets())
        fail("attach: ", sentence, " that can be adapted; there are ", list_of(candidates));
    check(!selected.empty(), "attach: nothing is selected; the modules that can be adapted are ",
          list_of(candidates));
    return selected;
}

// A mistyped name must not pass in silence.
void check_all_used(const ModuleSelector& selector) {
    for (const std::string& sentence : selector.unused_patterns()) fail("attach: ", sentence);
    for (const std::string& sentence : selector.unused_exclusions()) fail("attach: ", sentence);
    for (const std::string& sentence : selector.unused_saves()) fail("attach: ", sentence);
}

// ---- making -------------------------------------------------------------------------------------

Tensor trained_copy(const Tensor& x) {
    return x.defined() ? clone(x.detach()).set_requires_grad() : Tensor();
}

// The same weight, with a bias of its own that is trained.
std::shared_ptr<Linear> with_own_bias(const Linear& linear) {
    const Tensor bias = trained_copy(linear.bias);
    return std::make_shared<Linear>(linear.weight, bias);
}

// A copy that is trained whole. A quantised weight is dequantised first.
ModulePtr trained_copy(const Module& module) {
    if (const auto* table = dynamic_cast<const Embedding*>(&module))
        return std::make_shared<Embedding>(trained_copy(table->weight), table->options);
    const auto& linear = dynamic_cast<const Linear&>(module);
    return std::make_shared<Linear>(trained_copy(linear.weight.to_tensor()),
                                    trained_copy(linear.bias));
}

ModulePtr adapter_around(const ModulePtr& base, const AdapterConfig& config, Rng& rng) {
    if (auto table = std::dynamic_pointer_cast<Embedding>(base)) {
        if (config.method == Method::kLoRA)
            return std::make_shared<EmbeddingWithLoRA>(table, config, rng);
        return std::make_shared<EmbeddingWithDoRA>(table, config, rng);
    }
    auto linear = std::dynamic_pointer_cast<Linear>(base);
    if (config.bias != BiasTraining::kNone && linear->bias.defined())
        linear = with_own_bias(*linear);
    switch (config.method) {
        case Method::kLoRA: return std::make_shared<LinearWithLoRA>(linear, config, rng);
        case Method::kDoRA: return std::make_shared<LinearWithDoRA>(linear, config, rng);
        case Method::kDoRAMerged:
            return std::make_shared<LinearWithDoRAMerged>(linear, config, rng);
    }
    fail("attach: unknown method");
}

// What modules_to_save trains must be Linear and Embedding: nothing else can be copied.
void check_copyable(const std::vector<NamedModule>& modules, ModuleSelector& selector) {
    for (const NamedModule& m : modules) {
        if (m.name.empty() || !selector.is_saved_whole(m.name)) continue;
        for (const Member& member : m.module->members())
            check(!member.parameter || is_linear(m.module) || is_embedding(m.module),
                  "attach: modules_to_save: ", m.name, " is a ", m.module->name(),
                  "; only Linear and Embedding, and modules made of them, can be copied");
    }
}

}  // namespace

std::vector<AdaptedPlace> make_adapters(Module& model, ModuleSelector& selector,
                                        const AdapterConfig& config, Rng& rng) {
    using Trained = AdaptedPlace::Trained;
    const std::vector<NamedModule> candidates = adaptable_modules(model);
    const std::vector<NamedModule> selected = select(candidates, selector);
    check_copyable(model.named_modules(), selector);
    std::vector<AdaptedPlace> places;
    const auto add = [&](const NamedModule& m, Trained trained, const auto& make) {
        check(!m.slots.empty(), "attach: ", m.name, " is held by value and cannot be exchanged",
              ". hint: hold it as a ModulePtr");
        const ModulePtr base = *m.slots[0];
        places.push_back({m.name, trained, base, make(base)});
    };
    for (const NamedModule& m : selected)
        add(m, Trained::kAdapter, [&](const ModulePtr& base) {
            return adapter_around(base, selector.config_for(m.name), rng);
        });
    for (const NamedModule& m : candidates) {
        const bool taken = std::any_of(places.begin(), places.end(),
                                       [&](const AdaptedPlace& p) { return p.name == m.name; });
        const auto* linear = dynamic_cast<const Linear*>(m.module);
        if (selector.is_saved_whole(m.name))
            add(m, Trained::kWhole, [](const ModulePtr& base) { return trained_copy(*base); });
        else if (config.bias == BiasTraining::kAll && !taken && !m.slots.empty() && linear &&
                 linear->bias.defined())
            add(m, Trained::kBias, [&](const ModulePtr&) { return with_own_bias(*linear); });
    }
    return places;
}

std::vector<std::string> select_modules(Module& model, const AdapterConfig& config) {
    ModuleSelector selector(config);
    std::vector<std::string> names;
    for (const NamedModule& m : select(adaptable_modules(model), selector)) names.push_back(m.name);
    return names;
}

AdapterConfig config_for(const AdapterConfig& config, const std::string& module) {
    return ModuleSelector(config).config_for(module);
}

AdapterSet attach(Module& model, const AdapterConfig& config, Rng& rng) {
    AdapterSet adapters(model);
    adapters.add("default", config, rng);
    return adapters;
}

// ---- several adapters ---------------------------------------------------------------------------

const AdapterSet::Entry& AdapterSet::find(const std::string& name) const {
    const auto at = adapters_.find(name);
    std::string known;
    for (const std::string& other : names()) known += (known.empty() ? "" : ", ") + other;
    check(at != adapters_.end(), "adapters: there is none called \"", name, "\"; there are ",
          known.empty() ? "none" : known);
    return at->second;
}

std::vector<std::string> AdapterSet::names() const {
    std::vector<std::string> list;
    for (const auto& [name, adapter] : adapters_) list.push_back(name);
    return list;
}

// Replaces module `from` by module `to` at every place of the active adapter.
void AdapterSet::exchange(ModulePtr AdaptedPlace::*from, ModulePtr AdaptedPlace::*to) {
    const std::vector<NamedModule> modules = model_->named_modules();
    for (const AdaptedPlace& place : find(active_).places)
        for (const NamedModule& m : modules)
            if (m.module == (place.*from).get()) {
                (place.*to)->train((place.*from)->training);
                for (ModulePtr* slot : m.slots) *slot = place.*to;
            }
}

void AdapterSet::add(const std::string& name, const AdapterConfig& config, Rng& rng) {
    add(name, config, [&](Module& base) {
        ModuleSelector selector(config);
        std::vector<AdaptedPlace> places = make_adapters(base, selector, config, rng);
        check_all_used(selector);
        return places;
    });
}

void AdapterSet::add(const std::string& name, const AdapterConfig& config, const Maker& make) {
    check(!name.empty() && adapters_.count(name) == 0, "adapters: cannot add \"", name,
          "\"; a name must be new, and not empty");
    // Put the base back while make() runs; on an error, put the active adapter back.
    std::vector<AdaptedPlace> places;
    if (!active_.empty()) exchange(&AdaptedPlace::adapted, &AdaptedPlace::base);
    try {
        places = make(*model_);
    } catch (...) {
        if (!active_.empty()) exchange(&AdaptedPlace::base, &AdaptedPlace::adapted);
        throw;
    }
    if (!active_.empty()) unmerge();
    for (const AdaptedPlace& place : places)
        if (Adapter* adapter = place.adapter()) adapter->set_name = name;
    model_->set_requires_grad(false);  // the adapters are not in the model yet: they stay trained
    adapters_[name] = {config, std::move(places)};
    active_ = name;
    exchange(&AdaptedPlace::base, &AdaptedPlace::adapted);
}

void AdapterSet::activate(const std::string& name) {
    find(name);
    disable();
    active_ = name;
    exchange(&AdaptedPlace::base, &AdaptedPlace::adapted);
}

void AdapterSet::disable() {
    if (active_.empty()) return;
    unmerge();
    exchange(&AdaptedPlace::adapted, &AdaptedPlace::base);
    active_.clear();
}

void AdapterSet::remove(const std::string& name) {
    find(name);
    if (active_ == name) disable();
    adapters_.erase(name);
}

void AdapterSet::merge() {
    check(!active_.empty(), "merge: no adapter is active. hint: call activate() first");
    std::vector<ModulePtr> forms;  // all are made before the first is used
    for (const AdaptedPlace& place : find(active_).places)
        forms.push_back(place.adapter() ? place.adapter()->merged() : nullptr);
    size_t i = 0;
    for (const AdaptedPlace& place : find(active_).places) {
        if (place.adapter()) place.adapter()->merged_form = forms[i];
        i++;
    }
}

void AdapterSet::unmerge() {
    check(!active_.empty(), "unmerge: no adapter is active. hint: call activate() first");
    for (const AdaptedPlace& place : find(active_).places)
        if (place.adapter()) place.adapter()->unmerge_weights();
}

bool AdapterSet::is_merged() const {
    if (active_.empty()) return false;
    const std::vector<AdaptedPlace>& places = find(active_).places;
    return std::any_of(places.begin(), places.end(), [](const AdaptedPlace& place) {
        return place.adapter() && place.adapter()->is_merged();
    });
}

void AdapterSet::merge_and_unload() {
    merge();
    std::vector<AdaptedPlace>& places = adapters_[active_].places;
    for (AdaptedPlace& place : places)
        place.base = place.adapter() ? place.adapter()->merged_form : place.adapted;
    exchange(&AdaptedPlace::adapted, &AdaptedPlace::base);
    adapters_.erase(active_);
    active_.clear();
}

std::vector<AdaptedPlace> AdapterSet::places(const std::string& name) const {
    std::vector<AdaptedPlace> places = find(name).places;
    if (name != active_) return places;
    const std::vector<NamedModule> modules = model_->named_modules();
    for (AdaptedPlace& place : places) {
        const auto now = std::find_if(modules.begin(), modules.end(), [&](const NamedModule& m) {
            return m.module == place.adapted.get();
        });
        check(now != modules.end(), "adapters: ", place.name, " of \"", name,
              "\" is no longer in the model: it was exchanged for another module");
        place.name = now->name;
    }
    return places;
}

// ---- freezing and quantising --------------------------------------------------------------------

void freeze_linear_layers(Module& model) {
    for (const NamedModule& m : model.named_modules())
        if (is_linear(m.module)) m.module->set_requires_grad(false);
}

void quantize_linear_layers(Module& model, Quantization kind,
                            const std::vector<std::string>& exclude) {
    // All are made before the first is used: an error leaves the model as it was.
    std::vector<std::pair<Linear*, std::shared_ptr<QuantizedMatrix>>> made;
    std::vector<std::string> unused = exclude;
    for (const NamedModule& m : model.named_modules()) {
        auto* linear = dynamic_cast<Linear*>(m.module);
        if (!linear) continue;
        const auto names_it = [&](const std::string& name) {
            return ("." + m.name).ends_with("." + name);
        };
        std::erase_if(unused, names_it);
        if (std::any_of(exclude.begin(), exclude.end(), names_it)) continue;
        if (linear->weight.quantized) continue;
        try {
            made.emplace_back(linear, std::make_shared<QuantizedMatrix>(linear->weight, kind));
        } catch (const Error& e) {
            fail(m.name, ": ", e.what());
        }
    }
    check(unused.empty(), "quantize_linear_layers: \"", unused.empty() ? "" : unused[0],
          "\" is excluded, but no Linear has this name");
    for (const auto& [linear, quantized] : made) {
        linear->weight = Weight(quantized);
        linear->set_requires_grad(false);
    }
}

// ---- reports ------------------------------------------------------------------------------------

ParameterCount count_parameters(Module& model) {
    ParameterCount count;
    for (const NamedParameter& p : model.named_parameters()) {
        count.all += p.tensor.size();
        if (p.tensor.requires_grad()) count.trainable += p.tensor.size();
    }
    for (const NamedModule& m : model.named_modules())
        if (auto* linear = dynamic_cast<Linear*>(m.module); linear && linear->weight.quantized)
            count.all += linear->in_features() * linear->out_features();
    return count;
}

static std::string with_commas(int64_t number) {
    std::string digits = std::to_string(number);
    for (int64_t at = int64_t(digits.size()) - 3; at > 0; at -= 3)
        digits.insert(size_t(at), 1, ',');
    return digits;
}

std::string trainable_report(Module& model) {
    const ParameterCount count = count_parameters(model);
    char percent[32];
    std::snprintf(percent, sizeof percent, "%.4f",
                  count.all ? 100.0 * double(count.trainable) / double(count.all) : 0.0);
    return "trainable params: " + with_commas(count.trainable) +
           " || all params: " + with_commas(count.all) + " || trainable%: " + percent;
}

std::string trainable_listing(Module& model) {
    std::string text;
    for (const NamedParameter& p : model.named_parameters())
        text += p.name + ": " + (p.tensor.requires_grad() ? "True" : "False") + "\n";
    return text;
}

}  // namespace slim
