// PEFT's adapter_config.json. See peft_config.h.
#include "nn/peft/peft_config.h"

#include <algorithm>  // find
#include <cmath>      // fabs, floor, sqrt
#include <set>        // the keys that are known

namespace slim {

namespace {

// ---- writing ------------------------------------------------------------------------------------

const char* const kBiasWords[] = {"none", "all", "lora_only"};  // in BiasTraining's order

// Returns the lora_alpha for which PEFT's scaling equals s.
Json peft_alpha(const AdapterConfig& config, bool use_rslora) {
    double alpha = config.alpha;
    if (config.scaling == Scaling::kAlpha) alpha *= double(config.rank);
    if (config.scaling == Scaling::kAlphaOverSqrtRank && !use_rslora)
        alpha *= std::sqrt(double(config.rank));
    return alpha == std::floor(alpha) && std::fabs(alpha) < 1e15 ? Json(int64_t(alpha)) : alpha;
}

// Returns a rank_pattern key that matches only this module. PEFT compares a key with the last parts
// of names, too, and reads a dot as any character. If the plain name would match another module,
// the key is a pattern for the whole name.
std::string pattern_key(const std::string& name, const std::vector<std::string>& names) {
    const std::string exact = "^" + escape_pattern(name);
    try {
        const Pattern simple("(.*\\.)?(" + name + ")");
        for (const std::string& other : names)
            if (simple.matches(other) != (other == name)) return exact;
    } catch (const Error&) {
        return exact;
    }
    return name;
}

// The names of a model's modules, without what is inside adapters.
std::vector<std::string> module_names(Module& model) {
    std::vector<std::string> names;
    std::string inside = "\n";  // no name begins like this
    for (const NamedModule& m : model.named_modules()) {
        if (m.name.starts_with(inside)) continue;
        if (dynamic_cast<Adapter*>(m.module)) inside = m.name + ".";
        names.push_back(m.name);
        names.insert(names.end(), m.aliases.begin(), m.aliases.end());
    }
    return names;
}

// Returns the list of names, or, if one would also match another module by its last parts, a
// pattern for just these.
Json targets_of(const std::vector<std::string>& names, Module& model) {
    const std::set<std::string> wanted(names.begin(), names.end());
    bool ambiguous = false;
    for (const std::string& name : module_names(model))
        for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1))
            ambiguous = ambiguous || (!wanted.count(name) && wanted.count(name.substr(dot + 1)));
    if (!ambiguous) return Json::List(names.begin(), names.end());
    std::string pattern;
    for (const std::string& name : names)
        pattern += (pattern.empty() ? "" : "|") + escape_pattern(name);
    return pattern;
}

// The configuration's value; if no layer has it, the first layer's. Layers of another value are
// written as exceptions.
Json common_value(const Json& of_config, const std::vector<Json>& values) {
    const bool has = std::find(values.begin(), values.end(), of_config) != values.end();
    return has ? of_config : values[0];
}

}  // namespace

Json config_to_json(const AdapterSet& adapters, const std::string& base_name) {
    const AdapterConfig& config = adapters.config(adapters.active());
    std::vector<std::string> names, saved;
    std::vector<Adapter*> layers;
    for (const AdaptedPlace& place : adapters.places(adapters.active())) {
        if (place.trained == AdaptedPlace::Trained::kWhole) saved.push_back(place.name);
        if (!place.adapter()) continue;
        names.push_back(place.name);
        layers.push_back(place.adapter());
    }
    check(!layers.empty(), "there is no adapter in the model");
    const AdapterConfig& first = layers[0]->config();
    bool use_rslora = true;
    for (size_t i = 0; i < layers.size(); i++) {
        const AdapterConfig& layer = layers[i]->config();
        check(layers[i]->is_dora() == layers[0]->is_dora() && layer.dropout == first.dropout,
              names[0], " and ", names[i], " differ in their method or dropout, of which PEFT has ",
              "one for all layers");
        use_rslora = use_rslora && layer.scaling == Scaling::kAlphaOverSqrtRank;
    }
    std::vector<Json> ranks, alphas;
    for (const Adapter* layer : layers) {
        ranks.emplace_back(layer->config().rank);
        alphas.push_back(peft_alpha(layer->config(), use_rslora));
    }
    const Json rank = common_value(config.rank, ranks);
    const Json alpha = common_value(peft_alpha(config, use_rslora), alphas);
    Json::Object rank_pattern, alpha_pattern;
    for (size_t i = 0; i < names.size(); i++) {
        if (ranks[i] != rank) rank_pattern[pattern_key(names[i], names)] = ranks[i];
        if (alphas[i] != alpha) alpha_pattern[pattern_key(names[i], names)] = alphas[i];
    }
    const auto text_or_null = [](const std::string& s) { return s.empty() ? Json() : Json(s); };
    return Json::Object{
        {"alpha_pattern", alpha_pattern},
        {"base_model_name_or_path", text_or_null(base_name)},
        {"bias", kBiasWords[int(config.bias)]},
        {"fan_in_fan_out", false},
        {"inference_mode", true},
        {"init_lora_weights", first.init == InitA::kGaussian ? Json("gaussian") : true},
        {"lora_alpha", alpha},
        {"lora_dropout", first.dropout},
        {"modules_to_save",
         saved.empty() ? Json() : Json(Json::List(saved.begin(), saved.end()))},
        {"peft_type", "LORA"},
        {"r", rank},
        {"rank_pattern", rank_pattern},
        {"target_modules", targets_of(names, adapters.model())},
        {"task_type", text_or_null(config.task_type)},
        {"use_dora", layers[0]->is_dora()},
        {"use_rslora", use_rslora},
    };
}

Json meaning_of(const Json& config) {
    Json::Object meaning;
    for (const char* key :
         {"alpha_pattern", "bias", "exclude_modules", "lora_alpha", "modules_to_save", "r",
          "rank_pattern", "target_modules", "use_dora", "use_rslora"})
        if (const Json* value = config.find(key)) meaning[key] = *value;
    return meaning;
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
    {"kasa_config", "KaSA's singular values between A and B"},
    {"layer_replication", "repeated layers"},
    {"lora_bias", "a bias inside the adapter"},
    {"megatron_config", "Megatron's parallel layers"},
    {"monteclora_config", "MonteCLoRA's samples of A"},
    {"target_parameters", "adapters on bare parameters"},
    {"trainable_token_indices", "trained rows of an embedding"},
    {"use_bdlora", "block-diagonal adapters"},
    {"use_qalora", "QALoRA's pooled inputs"},
    {"velora_config", "VeLoRA's compressed activations"},
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
    std::set<std::string> known = {
        "auto_mapping",   "base_model_name_or_path", "corda_config",  "eva_config",
        "inference_mode", "loftq_config",            "lora_ga_config", "megatron_core",
        "peft_type",      "peft_version",            "qalora_group_size", "revision",
        "runtime_config"};

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
        for (const std::string& entry : list)
            check(entry.size() <= Pattern::kMaxName, name(key), ": a name of ", entry.size(),
                  " bytes; at most ", Pattern::kMaxName, " are allowed");
    }

    // layers_to_transform is a number or a list of them, layers_pattern a text or a list.
    void layers(AdapterConfig& config) {
        if (const Json* value = find_or_null("layers_to_transform")) {
            if (std::holds_alternative<Json::List>(value->value))
                for (const Json& item : value->as_list(name("layers_to_transform")))
                    config.layers_to_transform.push_back(item.as_int(name("layers_to_transform")));
            else config.layers_to_transform = {value->as_int(name("layers_to_transform"))};
        }
        std::string pattern;
        modules("layers_pattern", config.layers_pattern, pattern);
        if (!pattern.empty()) config.layers_pattern = {pattern};
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
    const std::set<std::string> harmless{"gaussian", "eva", "orthogonal", "mica"};
    check(!word || harmless.count(*word),
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
    if (reader.flag("use_dora")) config.method = Method::kDoRA;
    if (reader.flag("use_rslora")) config.scaling = Scaling::kAlphaOverSqrtRank;
    config.bias = read_bias(reader);
    config.init = read_init(reader);
    config.alpha = reader.number("lora_alpha", 8);
    config.dropout = reader.number("lora_dropout", 0);
    check(config.dropout >= 0 && config.dropout <= 1, reader.name("lora_dropout"), ": is ",
          config.dropout, "; a probability is between 0 and 1");
    const auto read_rank = [&](const Json& value, const std::string& name) {
        const int64_t rank = value.as_int(name);
        check(rank >= 1, name, ": is ", rank, "; a rank is at least 1");
        return rank;
    };
    if (const Json* r = reader.find("r")) config.rank = read_rank(*r, reader.name("r"));
    if (const Json* pattern = reader.find_or_null("rank_pattern"))
        for (const auto& [key, value] : pattern->as_object(reader.name("rank_pattern")))
            config.rank_pattern[key] = read_rank(value, reader.name("rank_pattern: " + key));
    if (const Json* pattern = reader.find_or_null("alpha_pattern"))
        for (const auto& [key, value] : pattern->as_object(reader.name("alpha_pattern")))
            config.alpha_pattern[key] = value.as_double(reader.name("alpha_pattern: " + key));
    reader.modules("target_modules", config.target_modules, config.target_pattern);
    reader.modules("exclude_modules", config.exclude_modules, config.exclude_pattern);
    if (config.target_pattern == "all-linear") {
        config.target_modules = {"all-linear"};
        config.target_pattern.clear();
    }
    check(!config.target_modules.empty() || !config.target_pattern.empty(), path,
          ": target_modules: there are none, and slimgrad does not guess. hint: list the modules");

    std::string unused;
    reader.modules("modules_to_save", config.modules_to_save, unused);
    check(unused.empty(), reader.name("modules_to_save"), ": is a text; it must be a list");
    reader.layers(config);
    if (const Json* value = reader.find_or_null("task_type"))
        config.task_type = value->as_string(reader.name("task_type"));
    try {
        ModuleSelector compiled(config);  // are the patterns regular expressions?
    } catch (const Error& e) {
        fail(path, ": ", e.what());
    }

    for (const auto& [key, value] : json.as_object(path))
        if (!reader.known.count(key) && !is_off(value))
            notes.push_back(path + ": " + key + ": unknown, and ignored; it is " +
                            value.dump(-1).substr(0, 60));
    return config;
}

}  // namespace slim
