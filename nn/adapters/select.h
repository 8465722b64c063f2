// Selects the modules that a configuration adapts.
//
//     "fc1"            in a list: the module of this name, and every module whose name ends in .fc1
//     "all-linear"     in a list: every Linear
//     ".*\.fc[12]"     a pattern: every module whose whole name matches it (pattern.h)
//
// The rules are PEFT's, with three differences. PEFT ignores entries that match nothing; here
// attach() throws. PEFT's all-linear leaves out a transformer's lm_head; here it is every Linear.
// And patterns may use a part of Python's syntax only (pattern.h).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nn/adapters/adapter.h"
#include "nn/adapters/pattern.h"

namespace slim {

// A configuration with its patterns compiled, each once. The configuration may come from an
// untrusted file, so the work for all names together is bounded.
class ModuleSelector {
public:
    // Throws if a pattern is not a regular expression.
    explicit ModuleSelector(const AdapterConfig& config);

    // Whether the module is adapted. Its aliases are further names that lead to it.
    bool selects(const std::string& name, bool is_linear,
                 const std::vector<std::string>& aliases = {});
    bool is_saved_whole(const std::string& name);  // or is inside such a module
    bool is_excluded(const std::string& name, bool is_linear);
    AdapterConfig config_for(const std::string& name);

    // Returns sentences about entries that have matched none of the names so far.
    std::vector<std::string> unused_targets() const;  // of target_modules
    std::vector<std::string> unused_patterns() const;  // of rank_pattern and alpha_pattern
    std::vector<std::string> unused_exclusions() const;
    std::vector<std::string> unused_saves() const;  // of modules_to_save

private:
    // A list of names, or a pattern, and which of them have matched.
    struct Names {
        std::string key;  // "target_modules"
        std::map<std::string, bool> entries;
        std::vector<Pattern> pattern;  // one or none
        std::string pattern_text;
        bool pattern_used = false;
        std::vector<std::string> unused() const;
    };
    template <class Value>
    struct Override {
        std::string key;
        Pattern pattern;
        Value value;
        bool used;
    };

    bool names(Names& names, const std::string& name, bool is_linear, bool only_layers);
    bool is_in_layers(const std::string& name);
    template <class Value>
    Value override_of(std::vector<Override<Value>>& overrides, const std::string& name,
                      Value otherwise);

    AdapterConfig config_;
    Names targets_, exclusions_, saved_;
    std::vector<int64_t> layers_;
    std::vector<Pattern> layer_patterns_;
    std::vector<Override<int64_t>> ranks_;
    std::vector<Override<double>> alphas_;
    int64_t steps_ = 0;  // the patterns' work for all names together
};

}  // namespace slim
