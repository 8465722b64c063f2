// Choosing modules by name. See select.h.
#include "nn/adapters/select.h"

#include <algorithm>  // find

namespace slim {

namespace {

Pattern compile(const std::string& key, const std::string& text) {
    try {
        return Pattern(text);
    } catch (const Error& e) {
        fail(key, ": ", e.what());
    }
}

// Entries are full names or their last parts: "a.b.c", "b.c" and "c" for a.b.c.
std::vector<std::string> last_parts(const std::string& name) {
    std::vector<std::string> parts{name};
    for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1))
        parts.push_back(name.substr(dot + 1));
    return parts;
}

}  // namespace

ModuleSelector::ModuleSelector(const AdapterConfig& config) : config_(config) {
    config.check_valid();
    const auto fill = [](Names& names, const char* key, const std::vector<std::string>& list,
                         const std::string& pattern) {
        names.key = key;
        names.pattern_text = pattern.substr(0, 100);
        if (!pattern.empty()) names.pattern.push_back(compile(key, pattern));
        else
            for (const std::string& entry : list) names.entries[entry] = false;
    };
    fill(targets_, "target_modules", config.target_modules, config.target_pattern);
    fill(exclusions_, "exclude_modules", config.exclude_modules, config.exclude_pattern);
    fill(saved_, "modules_to_save", config.modules_to_save, "");
    layers_ = config.layers_to_transform;
    for (const std::string& pattern : config.layers_pattern)
        layer_patterns_.push_back(compile("layers_pattern", ".*\\.(?:" + pattern + ")"));
    if (layer_patterns_.empty()) layer_patterns_.emplace_back(".*\\.[^.]*");
    for (const auto& [key, rank] : config.rank_pattern)
        ranks_.push_back({key, compile("rank_pattern", "(.*\\.)?(" + key + ")"), rank, false});
    for (const auto& [key, alpha] : config.alpha_pattern)
        alphas_.push_back({key, compile("alpha_pattern", "(.*\\.)?(" + key + ")"), alpha, false});
}

bool ModuleSelector::names(Names& names, const std::string& name, bool is_linear,
                           bool only_layers) {
    if (!names.pattern.empty()) {
        const bool matched = names.pattern[0].matches(name, &steps_);
        names.pattern_used = names.pattern_used || matched;
        return matched;
    }
    bool named = false;
    const auto use = [&](const std::string& entry, bool is_whole_name) {
        const auto found = names.entries.find(entry);
        if (found == names.entries.end()) return;
        if (only_layers && !is_whole_name && !layers_.empty() && !is_in_layers(name)) return;
        named = found->second = true;
    };
    if (is_linear) use("all-linear", false);
    for (const std::string& part : last_parts(name)) use(part, part == name);
    return named;
}

// PEFT's re.match(r".*?\.layers\.(\d+)\.", name), with each of layers_pattern for "layers": the
// first number after a word that matches.
bool ModuleSelector::is_in_layers(const std::string& name) {
    for (size_t dot = name.find('.'); dot != std::string::npos;) {
        const size_t end = name.find('.', dot + 1);
        if (end == std::string::npos) return false;
        const std::string part = name.substr(dot + 1, end - dot - 1);
        const bool is_number = !part.empty() && part.size() <= 15 &&
                               part.find_first_not_of("0123456789") == std::string::npos;
        if (is_number)
            for (const Pattern& pattern : layer_patterns_)
                if (pattern.matches(name.substr(0, dot), &steps_))
                    return std::find(layers_.begin(), layers_.end(), std::stoll(part)) !=
                           layers_.end();
        dot = end;
    }
    return false;
}

bool ModuleSelector::selects(const std::string& name, bool is_linear,
                             const std::vector<std::string>& aliases) {
    bool wanted = names(targets_, name, is_linear, true);
    bool excluded = is_excluded(name, is_linear);
    if (targets_.pattern.empty())
        for (const std::string& alias : aliases)
            wanted = names(targets_, alias, is_linear, true) || wanted;
    if (exclusions_.pattern.empty())
        for (const std::string& alias : aliases)
            excluded = is_excluded(alias, is_linear) || excluded;
    return wanted && !excluded && !is_saved_whole(name);
}

bool ModuleSelector::is_excluded(const std::string& name, bool is_linear) {
    return names(exclusions_, name, is_linear, false);
}

bool ModuleSelector::is_saved_whole(const std::string& name) {
    bool saved = false;
    for (size_t end = name.find('.'); !saved; end = name.find('.', end + 1)) {
        saved = names(saved_, name.substr(0, end), false, false);
        if (end == std::string::npos) break;
    }
    return saved;
}

template <class Value>
Value ModuleSelector::override_of(std::vector<Override<Value>>& overrides, const std::string& name,
                                  Value otherwise) {
    bool decided = false;
    for (Override<Value>& one : overrides) {
        if ((decided && one.used) || !one.pattern.matches(name, &steps_)) continue;
        if (!decided) otherwise = one.value;
        decided = one.used = true;
    }
    return otherwise;
}

AdapterConfig ModuleSelector::config_for(const std::string& name) {
    AdapterConfig config = config_;
    config.rank = override_of(ranks_, name, config.rank);
    config.alpha = override_of(alphas_, name, config.alpha);
    return config;
}

// ---- what has matched nothing -------------------------------------------------------------------

std::vector<std::string> ModuleSelector::Names::unused() const {
    std::vector<std::string> sentences;
    for (const auto& [entry, used] : entries)
        if (!used)
            sentences.push_back(key + ": \"" + entry.substr(0, 100) + "\" matches no module");
    if (!pattern.empty() && !pattern_used)
        sentences.push_back(key + ": the pattern \"" + pattern_text + "\" matches no module");
    return sentences;
}

std::vector<std::string> ModuleSelector::unused_targets() const { return targets_.unused(); }
std::vector<std::string> ModuleSelector::unused_exclusions() const { return exclusions_.unused(); }
std::vector<std::string> ModuleSelector::unused_saves() const { return saved_.unused(); }

std::vector<std::string> ModuleSelector::unused_patterns() const {
    std::vector<std::string> sentences;
    const auto add = [&](const char* pattern, const auto& overrides) {
        for (const auto& one : overrides)
            if (!one.used)
                sentences.push_back(std::string(pattern) + ": \"" + one.key.substr(0, 100) +
                                    "\" matches no adapted module");
    };
    add("rank_pattern", ranks_);
    add("alpha_pattern", alphas_);
    return sentences;
}

}  // namespace slim
