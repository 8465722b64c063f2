// PEFT's adapter_config.json. See peft_config.h.
#include "nn/peft_config.h"

#include <algorithm>  // any_of, find
#include <cmath>      // fabs, floor
#include <set>        // the keys that are known

namespace slim {

namespace {

// ---- writing ------------------------------------------------------------------------------------

const char* const kBiasWords[] = {"none", "all", "lora_only"};  // in BiasTraining's order

// The lora_alpha with which PEFT, which divides by the rank or its root, comes to our s.
Json peft_alpha(const AdapterOptions& options) {
    const double alpha =
        options.scaling == Scaling::kAlpha ? options.alpha * double(options.rank) : options.alpha;
    return alpha == std::floor(alpha) && std::fabs(alpha) < 1e15 ? Json(int64_t(alpha)) : alpha;
}

// PEFT takes the key of a pattern for the last parts of names, too. Where that would catch a second
// module, ^ confines it to the whole name.
std::string pattern_key(const std::string& name, const std::vector<AdaptedPlace>& places) {
    return std::any_of(places.begin(), places.end(),
                       [&](const AdaptedPlace& p) { return p.name.ends_with("." + name); })
               ? "^" + name
               : name;
}

// All names in a list. But PEFT takes these, too, for the last parts of names, which is too much if
// not everything that was in reach was chosen: then one regular expression, for just these.
Json targets_of(const AdapterConfig& config, const std::vector<std::string>& names) {
    const bool all_in_reach = config.target_pattern.empty() && config.exclude_modules.empty() &&
                              config.exclude_pattern.empty();
    if (all_in_reach) return Json::List(names.begin(), names.end());
    std::string pattern;
    for (const std::string& name : names) {
        if (!pattern.empty()) pattern += "|";
        for (char c : name) pattern += c == '.' ? "\\." : std::string(1, c);
    }
    return pattern;
}

}  // namespace

Json config_to_json(const AdapterConfig& config, const std::vector<AdaptedPlace>& places,
                    const std::string& base_name) {
    std::vector<std::string> names;
    Json::Object ranks, alphas;
    for (const AdaptedPlace& place : places) {
        const auto* adapter = dynamic_cast<const AdapterModule*>(place.adapted.get());
        if (!adapter) continue;  // a bias that is trained with the others
        names.push_back(place.name);
        const AdapterOptions& options = adapter->adapter_options();
        const std::string key = pattern_key(place.name, places);
        if (options.rank != config.options.rank) ranks[key] = options.rank;
        if (peft_alpha(options) != peft_alpha(config.options)) alphas[key] = peft_alpha(options);
    }
    return Json::Object{
        {"alpha_pattern", alphas},
        {"base_model_name_or_path", base_name.empty() ? Json() : base_name},
        {"bias", kBiasWords[int(config.bias)]},
        {"fan_in_fan_out", false},
        {"inference_mode", true},
        {"init_lora_weights", config.options.init == InitA::kGaussian ? Json("gaussian") : true},
        {"lora_alpha", peft_alpha(config.options)},
        {"lora_dropout", config.options.dropout},
        {"peft_type", "LORA"},
        {"r", config.options.rank},
        {"rank_pattern", ranks},
        {"target_modules", targets_of(config, names)},
        {"task_type", Json()},
        {"use_dora", config.method != Method::kLoRA},
        {"use_rslora", config.options.scaling == Scaling::kAlphaOverSqrtRank},
    };
}

// ---- reading ------------------------------------------------------------------------------------

namespace {

// What PEFT can do and slimgrad cannot. The keys may be there, with a value that turns them off.
constexpr struct {
    const char *key, *what;
} kLacking[] = {
    {"alora_invocation_tokens", "adapters that wait for certain tokens"},
    {"arrow_config", "a routing among adapters"},
    {"ensure_weight_tying", "adapters tied together"},
    {"fan_in_fan_out", "weights stored as (in, out)"},
    {"layer_replication", "repeated layers"},
    {"layers_to_transform", "a choice of layers by their number"},
    {"lora_bias", "a bias inside the adapter"},
    {"megatron_config", "Megatron's parallel layers"},
    {"modules_to_save", "whole modules beside the adapters"},
    {"target_parameters", "adapters on bare parameters"},
    {"trainable_token_indices", "trained rows of an embedding"},
    {"use_bdlora", "block-diagonal adapters"},
    {"use_qalora", "QALoRA's pooled inputs"},
};

bool is_off(const Json& value) {
    const Json off[] = {Json(), false, "", Json::List(), Json::Object()};
    return std::find(std::begin(off), std::end(off), value) != std::end(off);
}

// Reads members of the configuration, remembering which. A key that is absent has PEFT's default.
struct ConfigReader {
    const Json& json;
    std::string path;
    // At first, the keys that change nothing about what a trained adapter computes.
    std::set<std::string> known = {"auto_mapping",   "base_model_name_or_path",
                                   "corda_config",   "eva_config",
                                   "inference_mode", "layers_pattern",
                                   "loftq_config",   "lora_ga_config",
                                   "megatron_core",  "peft_type",
                                   "peft_version",   "qalora_group_size",
                                   "revision",       "runtime_config",
                                   "task_type"};

    std::string name(const std::string& key) const { return path + ": " + key; }
    const Json* find(const std::string& key) {
        known.insert(key);
        return json.find(key);
    }
    // The same, where null is as good as absent.
    const Json* find_or_null(const std::string& key) {
        const Json* value = find(key);
        return value && value->is_null() ? nullptr : value;
    }
    bool flag(const std::string& key) {
        const Json* value = find(key);
        return value && value->as_bool(name(key));
    }
    double number(const std::string& key, double otherwise) {
        const Json* value = find(key);
        return value ? value->as_double(name(key)) : otherwise;
    }

    // A list of names, or a text that is a regular expression.
    void modules(const std::string& key, std::vector<std::string>& list, std::string& pattern) {
        list.clear();
        const Json* value = find_or_null(key);
        if (value && std::holds_alternative<std::string>(value->value)) {
            pattern = value->as_string(name(key));
        } else if (value) {
            for (const Json& item : value->as_list(name(key)))
                list.push_back(item.as_string(name(key)));
        }
    }
};

BiasTraining read_bias(ConfigReader& reader) {
    const Json* value = reader.find("bias");
    const std::string word = value ? value->as_string(reader.name("bias")) : "none";
    for (int i = 0; i < 3; i++)
        if (word == kBiasWords[i]) return BiasTraining(i);
    fail(reader.name("bias"), ": got \"", word, "\"; it must be none, all or lora_only");
}

// How A and B began no longer matters, unless it was a way that also changes the base's weights:
// then the adapter fits that changed base only, and would be wrong on the original.
InitA read_init(ConfigReader& reader) {
    const Json* value = reader.find("init_lora_weights");
    const auto* word = value ? std::get_if<std::string>(&value->value) : nullptr;
    if (value && !word) value->as_bool(reader.name("init_lora_weights"));
    check(!word || *word == "gaussian" || *word == "eva" || *word == "orthogonal",
          reader.name("init_lora_weights"), ": \"", word ? *word : "",
          "\" may have changed the base's weights, and the adapter would not fit the original. ",
          "hint: PEFT's save_pretrained(path_initial_model_for_weight_conversion=...) converts it");
    return word && *word == "gaussian" ? InitA::kGaussian : InitA::kKaiming;
}

}  // namespace

AdapterConfig config_from_json(const Json& json, const std::string& path,
                               std::vector<std::string>& notes) {
    const std::string& type = json.at("peft_type", path).as_string(path + ": peft_type");
    check(type == "LORA", path, ": peft_type: got \"", type, "\"; only LORA can be read");
    ConfigReader reader{json, path};
    for (const auto& [key, what] : kLacking)
        if (const Json* value = reader.find(key); value && !is_off(*value))
            fail(path, ": ", key, ": is ", value->dump(-1).substr(0, 60), ", which means ", what,
                 "; slimgrad does not have that, and would compute something else");

    AdapterConfig config;
    AdapterOptions& options = config.options;
    if (reader.flag("use_dora")) config.method = Method::kDoRA;
    if (reader.flag("use_rslora")) options.scaling = Scaling::kAlphaOverSqrtRank;
    config.bias = read_bias(reader);
    options.init = read_init(reader);
    options.alpha = reader.number("lora_alpha", 8);
    options.dropout = reader.number("lora_dropout", 0);
    check(options.dropout >= 0 && options.dropout <= 1, reader.name("lora_dropout"), ": is ",
          options.dropout, "; a probability is between 0 and 1");
    const auto read_rank = [&](const Json& value, const std::string& name) {
        const int64_t rank = value.as_int(name);
        check(rank >= 1, name, ": is ", rank, "; a rank is at least 1");
        return rank;
    };
    if (const Json* r = reader.find("r")) options.rank = read_rank(*r, reader.name("r"));
    if (const Json* pattern = reader.find_or_null("rank_pattern"))
        for (const auto& [key, value] : pattern->as_object(reader.name("rank_pattern")))
            config.rank_pattern[key] = read_rank(value, reader.name("rank_pattern: " + key));
    if (const Json* pattern = reader.find_or_null("alpha_pattern"))
        for (const auto& [key, value] : pattern->as_object(reader.name("alpha_pattern")))
            config.alpha_pattern[key] = value.as_double(reader.name("alpha_pattern: " + key));
    try {
        options_for(config, "");  // are the keys regular expressions?
    } catch (const Error& e) {
        fail(path, ": rank_pattern or alpha_pattern: ", e.what());
    }

    reader.modules("target_modules", config.target_modules, config.target_pattern);
    reader.modules("exclude_modules", config.exclude_modules, config.exclude_pattern);
    if (config.target_pattern == "all-linear") {
        config.target_modules = {"all-linear"};
        config.target_pattern.clear();
    }
    check(!config.target_modules.empty() || !config.target_pattern.empty(), path,
          ": target_modules: there are none, and slimgrad does not guess. hint: list the modules");

    for (const auto& [key, value] : json.as_object(path))
        if (!reader.known.count(key) && !is_off(value))
            notes.push_back(path + ": " + key + ": unknown, and ignored; it is " +
                            value.dump(-1).substr(0, 60));
    return config;
}

}  // namespace slim
