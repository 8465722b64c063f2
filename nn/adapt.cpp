// Adapting models. See adapt.h.
#include "nn/adapt.h"

#include <algorithm>  // any_of
#include <cstdio>     // snprintf
#include <regex>      // target_pattern

#include "core/ops.h"  // clone
#include "nn/embedding.h"

namespace slim {

namespace {

// ---- choosing by name ---------------------------------------------------------------------------

bool names_module(const std::string& entry, const std::string& name) {
    if (name == entry) return true;
    return name.size() > entry.size() && name.ends_with(entry) &&
           name[name.size() - entry.size() - 1] == '.';
}

// std::regex recurses over the pattern, which may come from a file: bound it.
constexpr size_t kMaxPattern = 4000;

bool matches_pattern(const std::string& pattern, const std::string& name) {
    check(pattern.size() <= kMaxPattern, "attach: a pattern of ", pattern.size(),
          " characters; at most ", kMaxPattern, " are allowed");
    try {
        return std::regex_match(name, std::regex(pattern));
    } catch (const std::regex_error& e) {
        fail("attach: the pattern \"", pattern, "\" is not a regular expression (", e.what(), ")");
    }
}

bool is_linear(const Module* module) { return dynamic_cast<const Linear*>(module) != nullptr; }
bool is_embedding(const Module* module) {
    return dynamic_cast<const Embedding*>(module) != nullptr;
}

bool entry_selects(const std::string& entry, const NamedModule& m) {
    if (entry == "all-linear") return is_linear(m.module);
    if (names_module(entry, m.name)) return true;
    return std::any_of(m.aliases.begin(), m.aliases.end(),
                       [&](const std::string& alias) { return names_module(entry, alias); });
}

std::string list_of(const std::vector<NamedModule>& modules) {
    std::string text;
    for (const NamedModule& m : modules) text += (text.empty() ? "" : ", ") + m.name;
    return text.empty() ? "none" : text;
}

// The modules that an adapter can go around. What is inside adapters already is left out.
std::vector<NamedModule> adaptable_modules(Module& model) {
    std::vector<NamedModule> found;
    std::string inside = "\n";  // no name begins like this
    for (const NamedModule& m : model.named_modules()) {
        if (m.name.starts_with(inside)) continue;
        if (dynamic_cast<AdapterModule*>(m.module)) inside = m.name + ".";
        else if (is_linear(m.module) || is_embedding(m.module)) found.push_back(m);
    }
    return found;
}

std::vector<NamedModule> select(Module& model, const AdapterConfig& config) {
    const std::vector<NamedModule> candidates = adaptable_modules(model);
    std::vector<bool> used(config.target_modules.size(), false);
    std::vector<NamedModule> selected;
    for (const NamedModule& m : candidates) {
        bool wanted = false;
        if (!config.target_pattern.empty()) wanted = matches_pattern(config.target_pattern, m.name);
        else
            for (size_t i = 0; i < config.target_modules.size(); i++)
                if (entry_selects(config.target_modules[i], m)) wanted = used[i] = true;
        for (const std::string& entry : config.exclude_modules)
            if (entry_selects(entry, m)) wanted = false;
        if (!config.exclude_pattern.empty() && matches_pattern(config.exclude_pattern, m.name))
            wanted = false;
        if (wanted) selected.push_back(m);
    }
    for (size_t i = 0; i < used.size(); i++)
        check(used[i] || !config.target_pattern.empty(), "attach: the target \"",
              config.target_modules[i], "\" matches no module that can be adapted; there are ",
              list_of(candidates));
    check(!selected.empty(), "attach: nothing is selected",
          config.target_pattern.empty() ? "" : " by the pattern " + config.target_pattern,
          "; the modules that can be adapted are ", list_of(candidates));
    for (const NamedModule& m : selected)
        check(!m.slots.empty(), "attach: ", m.name, " is held by value and cannot be exchanged",
              ". hint: hold it as a ModulePtr");
    return selected;
}

// ---- attaching ----------------------------------------------------------------------------------

template <class Value>
Value option_for(const std::string& name, const std::map<std::string, Value>& pattern,
                 Value otherwise) {
    for (const auto& [entry, value] : pattern)
        if (matches_pattern("(.*\\.)?(" + entry + ")", name)) return value;
    return otherwise;
}

// The same weight, with a bias of its own that is trained.
std::shared_ptr<Linear> with_own_bias(const Linear& linear) {
    const Tensor bias = clone(linear.bias.detach()).set_requires_grad();
    return linear.quantized ? std::make_shared<Linear>(linear.quantized, bias)
                            : std::make_shared<Linear>(linear.weight, bias);
}

ModulePtr adapter_around(const ModulePtr& base, const AdapterConfig& config,
                         const AdapterOptions& options, Rng& seed) {
    if (auto table = std::dynamic_pointer_cast<Embedding>(base)) {
        if (config.method == Method::kLoRA)
            return std::make_shared<EmbeddingWithLoRA>(table, options, seed);
        return std::make_shared<EmbeddingWithDoRA>(table, options, seed);
    }
    auto linear = std::dynamic_pointer_cast<Linear>(base);
    if (config.bias != BiasTraining::kNone && linear->bias.defined())
        linear = with_own_bias(*linear);
    switch (config.method) {
        case Method::kLoRA: return std::make_shared<LinearWithLoRA>(linear, options, seed);
        case Method::kDoRA: return std::make_shared<LinearWithDoRA>(linear, options, seed);
        case Method::kDoRAMerged:
            return std::make_shared<LinearWithDoRAMerged>(linear, options, seed);
    }
    fail("attach: unknown method");
}

void put_in_place(Module& model, const AdaptedPlace& place, const ModulePtr& module) {
    module->train(model.training);
    for (ModulePtr* slot : place.slots) *slot = module;
}

}  // namespace

std::vector<std::string> select_modules(Module& model, const AdapterConfig& config) {
    std::vector<std::string> names;
    for (const NamedModule& m : select(model, config)) names.push_back(m.name);
    return names;
}

AdapterOptions options_for(const AdapterConfig& config, const std::string& module) {
    AdapterOptions options = config.options;
    options.rank = option_for(module, config.rank_pattern, options.rank);
    options.alpha = option_for(module, config.alpha_pattern, options.alpha);
    return options;
}

std::vector<AdaptedPlace> attach(Module& model, const AdapterConfig& config, Rng& seed) {
    config.options.check_valid();
    const std::vector<NamedModule> selected = select(model, config);
    std::vector<AdaptedPlace> places;
    for (const NamedModule& m : selected) {
        const ModulePtr base = *m.slots[0];
        places.push_back({m.name, m.slots, base,
                          adapter_around(base, config, options_for(config, m.name), seed),
                          nullptr});
    }
    if (config.bias == BiasTraining::kAll)
        for (const NamedModule& m : adaptable_modules(model)) {
            const bool taken = std::any_of(places.begin(), places.end(),
                                           [&](const AdaptedPlace& p) { return p.name == m.name; });
            auto* linear = dynamic_cast<Linear*>(m.module);
            if (taken || m.slots.empty() || !linear || !linear->bias.defined()) continue;
            places.push_back({m.name, m.slots, *m.slots[0], with_own_bias(*linear), nullptr});
        }
    model.set_requires_grad(false);
    for (const AdaptedPlace& place : places) put_in_place(model, place, place.adapted);
    return places;
}

// ---- several adapters ---------------------------------------------------------------------------

const Adapters::Adapter& Adapters::find(const std::string& name) const {
    const auto at = adapters_.find(name);
    std::string known;
    for (const std::string& other : names()) known += (known.empty() ? "" : ", ") + other;
    check(at != adapters_.end(), "adapters: there is none called \"", name, "\"; there are ",
          known.empty() ? "none" : known);
    return at->second;
}

void Adapters::put(ModulePtr AdaptedPlace::*what) {
    for (const AdaptedPlace& place : find(active_).places) put_in_place(model_, place, place.*what);
}

void Adapters::add(const std::string& name, const AdapterConfig& config, Rng& seed) {
    check(!name.empty() && adapters_.count(name) == 0, "adapters: cannot add \"", name,
          "\"; a name must be new, and not empty");
    const std::string before = active_;
    disable();
    try {
        adapters_[name] = {config, attach(model_, config, seed)};
        active_ = name;
    } catch (...) {  // nothing was attached: leave all as it was
        adapters_.erase(name);
        if (!before.empty()) activate(before);
        throw;
    }
}

void Adapters::activate(const std::string& name) {
    find(name);
    disable();
    active_ = name;
    put(&AdaptedPlace::adapted);
}

void Adapters::disable() {
    if (active_.empty()) return;
    put(&AdaptedPlace::base);
    active_.clear();
}

void Adapters::remove(const std::string& name) {
    find(name);
    if (active_ == name) disable();
    adapters_.erase(name);
}

void Adapters::merge() {
    check(!active_.empty(), "merge: no adapter is active. hint: call activate() first");
    std::vector<AdaptedPlace>& places = adapters_[active_].places;
    std::vector<ModulePtr> merged;
    for (const AdaptedPlace& place : places) {
        const auto* adapter = dynamic_cast<AdapterModule*>(place.adapted.get());
        merged.push_back(adapter ? adapter->merged() : place.adapted);
    }
    for (size_t i = 0; i < places.size(); i++) places[i].merged = merged[i];
    put(&AdaptedPlace::merged);
}

void Adapters::unmerge() {
    check(!active_.empty(), "unmerge: no adapter is active. hint: call activate() first");
    put(&AdaptedPlace::adapted);
}

std::vector<std::string> Adapters::names() const {
    std::vector<std::string> list;
    for (const auto& [name, adapter] : adapters_) list.push_back(name);
    return list;
}

// ---- freezing and quantising --------------------------------------------------------------------

void freeze_linear_layers(Module& model) {
    for (const NamedModule& m : model.named_modules())
        if (is_linear(m.module)) m.module->set_requires_grad(false);
}

void quantize_linear_layers(Module& model, Quantization kind) {
    for (const NamedModule& m : model.named_modules()) {
        auto* linear = dynamic_cast<Linear*>(m.module);
        if (!linear || linear->quantized) continue;
        linear->quantized = std::make_shared<QuantizedMatrix>(linear->weight, kind);
        linear->weight = Tensor();
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
        if (auto* linear = dynamic_cast<Linear*>(m.module); linear && linear->quantized)
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

std::string parameter_table(Module& model) {
    std::string text;
    char line[256];
    for (const NamedParameter& p : model.named_parameters()) {
        std::snprintf(line, sizeof line, "%-32s %14s %12s  %s\n", p.name.c_str(),
                      to_text(p.tensor.shape()).c_str(), with_commas(p.tensor.size()).c_str(),
                      p.tensor.requires_grad() ? "trained" : "frozen");
        text += line;
    }
    return text;
}

}  // namespace slim
