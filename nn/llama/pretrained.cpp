// A Llama's files. See pretrained.h.
#include "nn/llama/pretrained.h"

#include "data/json.h"
#include "data/safetensors.h"
#include "nn/adapters/adapter.h"
#include "nn/linear.h"

namespace slim {

// ---- config.json --------------------------------------------------------------------------------

namespace {

const std::string kConfigFile = "/config.json", kTensorFile = "/model.safetensors";
const std::string kHead = "lm_head.weight";

// The value, or null where config.json has none or null.
const Json* find(const Json& json, const std::string& key) {
    const Json* value = json.find(key);
    return value && !value->is_null() ? value : nullptr;
}

// Refuses what would change the results and is not done here.
void check_supported(const Json& json, const std::string& path) {
    const std::string type = json.at("model_type", path).as_string(path + ": model_type");
    check(type == "llama", path, ": model_type is \"", type,
          "\"; only \"llama\" is supported. hint: SmolLM, TinyLlama and others are of this type");
    for (const char* key : {"attention_bias", "mlp_bias", "rope_interleaved"})
        if (const Json* value = find(json, key))
            check(!value->as_bool(path + ": " + key), path, ": ", key,
                  " is true; only false is supported");
    if (const Json* act = find(json, "hidden_act"))
        check(act->as_string(path + ": hidden_act") == "silu", path, ": hidden_act is \"",
              act->as_string(path), "\"; only \"silu\" is supported");
    check(!find(json, "quantization_config"), path, ": quantization_config: the parameters are ",
          "quantised, which is not supported. hint: load the model's original folder");
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
        const Json* rope = find(json, key);
        if (!rope) continue;
        for (const auto& [name, value] : rope->as_object(path + ": " + key)) {
            const bool plain = name == "rope_theta" || value.is_null() ||
                               ((name == "rope_type" || name == "type") && value == "default");
            check(plain, path, ": ", key, ": ", name, " is ", value.dump(-1),
                  ": rope scaling is not supported; only rope_type \"default\" is");
        }
    }
}

LlamaConfig read_config(const std::string& path) {
    const Json json = parse_json(as_text(read_file(path, 1 << 20)), path);
    json.as_object(path);
    check_supported(json, path);
    const auto integer = [&](const char* key, int64_t otherwise) {
        const Json* value = find(json, key);
        check(value || otherwise >= 0, path, ": ", key, " is missing");
        return value ? value->as_int(path + ": " + key) : otherwise;
    };
    LlamaConfig c;
    c.vocab_size = integer("vocab_size", -1);
    c.hidden_size = integer("hidden_size", -1);
    c.intermediate_size = integer("intermediate_size", -1);
    c.num_hidden_layers = integer("num_hidden_layers", -1);
    c.num_attention_heads = integer("num_attention_heads", -1);
    c.num_key_value_heads = integer("num_key_value_heads", c.num_attention_heads);
    c.head_dim = integer("head_dim", 0);
    c.max_position_embeddings = integer("max_position_embeddings", -1);
    if (const Json* eps = find(json, "rms_norm_eps"))
        c.rms_norm_eps = eps->as_double(path + ": rms_norm_eps");
    const Json* rope = find(json, "rope_parameters");
    const Json* theta = rope && find(*rope, "rope_theta") ? find(*rope, "rope_theta")
                                                          : find(json, "rope_theta");
    if (theta) c.rope_theta = theta->as_double(path + ": rope_theta");
    if (const Json* tied = find(json, "tie_word_embeddings"))
        c.tie_word_embeddings = tied->as_bool(path + ": tie_word_embeddings");
    try {
        c.check_valid();
    } catch (const Error& e) {
        fail(path, ": ", e.what());
    }
    return c;
}

Json config_to_json(const LlamaConfig& c) {
    return Json::Object{{"architectures", Json::List{"LlamaForCausalLM"}},
                        {"model_type", "llama"},
                        {"torch_dtype", sizeof(real) == 8 ? "float64" : "float32"},
                        {"hidden_act", "silu"},
                        {"vocab_size", c.vocab_size},
                        {"hidden_size", c.hidden_size},
                        {"intermediate_size", c.intermediate_size},
                        {"num_hidden_layers", c.num_hidden_layers},
                        {"num_attention_heads", c.num_attention_heads},
                        {"num_key_value_heads", c.num_key_value_heads},
                        {"head_dim", c.head_dim},
                        {"max_position_embeddings", c.max_position_embeddings},
                        {"rms_norm_eps", c.rms_norm_eps},
                        {"rope_theta", c.rope_theta},
                        {"tie_word_embeddings", c.tie_word_embeddings},
                        // Without these, transformers takes ids 1 and 2, which are bytes of a text.
                        {"bos_token_id", Json()},
                        {"eos_token_id", Json()}};
}

// ---- model.safetensors --------------------------------------------------------------------------

void check_tensor(const TensorFile& file, const std::string& name, const Shape& shape) {
    if (file.tensors.count(name) == 0) fail(file.path, ": there is no tensor named ", name,
                                            ", which config.json asks for");
    const Shape& found = file.tensors.at(name).shape;
    check(found == shape, file.path, ": tensor ", name, " has shape ", found,
          ", but config.json asks for ", shape);
}

// Compares the file with config.json, before anything of config.json's sizes is allocated.
void check_tensors(TensorFile& file, const LlamaConfig& c) {
    std::erase_if(file.tensors, [&](const auto& entry) {  // old files hold RoPE's constants
        return entry.first.ends_with(".rotary_emb.inv_freq") ||
               (c.tie_word_embeddings && entry.first == kHead);
    });
    const int64_t dim = c.hidden_size;
    const int64_t d = c.head_dim ? c.head_dim : dim / c.num_attention_heads;
    const int64_t width = d * c.num_attention_heads, kv_width = d * c.num_key_value_heads;
    check_tensor(file, "model.embed_tokens.weight", {c.vocab_size, dim});
    check_tensor(file, "model.norm.weight", {dim});
    if (!c.tie_word_embeddings) check_tensor(file, kHead, {c.vocab_size, dim});
    for (int64_t i = 0; i < c.num_hidden_layers; i++) {
        const std::string layer = "model.layers." + std::to_string(i) + ".";
        check_tensor(file, layer + "self_attn.q_proj.weight", {width, dim});
        check_tensor(file, layer + "self_attn.k_proj.weight", {kv_width, dim});
        check_tensor(file, layer + "self_attn.v_proj.weight", {kv_width, dim});
        check_tensor(file, layer + "self_attn.o_proj.weight", {dim, width});
        check_tensor(file, layer + "mlp.gate_proj.weight", {c.intermediate_size, dim});
        check_tensor(file, layer + "mlp.up_proj.weight", {c.intermediate_size, dim});
        check_tensor(file, layer + "mlp.down_proj.weight", {dim, c.intermediate_size});
        check_tensor(file, layer + "input_layernorm.weight", {dim});
        check_tensor(file, layer + "post_attention_layernorm.weight", {dim});
    }
}

// Says what the folder has instead.
void check_has_tensor_file(const std::string& folder) {
    check(!file_exists(folder + kTensorFile + ".index.json"), folder, ": the parameters are in ",
          "several files (sharded), which is not supported. hint: save it again in Python with ",
          "save_pretrained(folder, max_shard_size=\"1000GB\")");
    check(file_exists(folder + kTensorFile) || !file_exists(folder + "/pytorch_model.bin"), folder,
          ": the parameters are in pytorch_model.bin, a pickle, which can execute code; not loaded",
          ". hint: save it again in Python with a newer transformers");
}

}  // namespace

void save_pretrained(const std::string& folder, LlamaForCausalLM& model) {
    for (const NamedModule& m : model.named_modules()) {
        check(!dynamic_cast<const Adapter*>(m.module), folder, ": not written: ", m.name,
              " is adapted. hint: save_adapter() saves the adapter, merge_and_unload() merges it");
        const auto* linear = dynamic_cast<const Linear*>(m.module);
        check(!linear || !linear->weight.quantized, folder, ": not written: the weight of ",
              m.name, " is quantised. hint: save the model before quantising it");
    }
    TensorFile file;
    file.metadata = {{"format", "pt"}};
    for (const auto& [name, tensor] : model.state_dict())
        if (name != kHead || !model.config.tie_word_embeddings)
            file.tensors[name] = store(tensor);
    make_folders(folder);
    const std::string config = config_to_json(model.config).dump() + "\n";
    std::string header;
    write_files({{folder + kConfigFile, {config}},
                 {folder + kTensorFile, safetensors_pieces(folder + kTensorFile, file, header)}});
}

std::unique_ptr<LlamaForCausalLM> load_pretrained(const std::string& folder) {
    recover_files({folder + kConfigFile, folder + kTensorFile});
    const LlamaConfig config = read_config(folder + kConfigFile);
    check_has_tensor_file(folder);
    TensorFile file = read_safetensors(folder + kTensorFile);
    check_tensors(file, config);
    auto model = std::make_unique<LlamaForCausalLM>(config);
    StateDict state = model->state_dict();
    for (auto at = file.tensors.begin(); at != file.tensors.end();) {
        if (state.count(at->first) == 0)
            fail(file.path, ": unexpected tensor ", at->first, "; a Llama of ",
                 config.num_hidden_layers, " layers has none of this name");
        copy_values(file.tensor(at->first), state[at->first]);
        at = file.tensors.erase(at);  // a large model should not stand in memory twice
    }
    return model;
}

}  // namespace slim
