// Llama: names, gradients, masks, checkpointed layers, writing, adapters, and its files.
#include "nn/llama/llama.h"

#include "data/json.h"
#include "data/safetensors.h"
#include "nn/adapters/adapt.h"
#include "nn/llama/generate.h"
#include "nn/llama/pretrained.h"
#include "optim/adam.h"
#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace slim {

namespace {

const LlamaConfig kSmall{.vocab_size = 11, .hidden_size = 16, .intermediate_size = 10,
                         .num_hidden_layers = 2, .num_attention_heads = 4,
                         .num_key_value_heads = 2, .max_position_embeddings = 6};
const std::vector<int> kIds{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8};  // two sequences of 6

// Parameters of size 1, so that no branch of the model is negligible.
void perturb(Module& model, Rng& rng) {
    for (Tensor p : model.parameters())
        for (int64_t i = 0; i < p.size(); i++) p.mutable_data()[i] += real(0.4 * rng.normal());
}

Tensor logits(Module& model, const std::vector<int>& ids) {
    const NoGrad no_grad;
    return model.lookup(ids);
}

std::vector<Tensor> gradients(Module& model, const std::vector<int>& ids) {
    model.zero_grad();
    const std::vector<int> labels(ids.size(), 2);
    backward(cross_entropy(model.lookup(ids), labels));
    std::vector<Tensor> found;
    for (const Tensor& p : model.parameters())
        if (p.requires_grad()) found.push_back(clone(p.grad()));
    return found;
}

}  // namespace

// ---- the model ----------------------------------------------------------------------------------

TEST_CASE("Llama: parameters as transformers names and orders them") {
    Rng rng(1);
    LlamaForCausalLM model(kSmall, &rng);
    std::vector<std::string> names;
    for (const NamedParameter& p : model.named_parameters())
        names.push_back(p.name + " " + to_text(p.tensor.shape()));
    REQUIRE(names.size() == 21);
    CHECK(std::vector<std::string>(names.begin(), names.begin() + 11) ==
          std::vector<std::string>{"model.embed_tokens.weight (11, 16)",
                                   "model.layers.0.self_attn.q_proj.weight (16, 16)",
                                   "model.layers.0.self_attn.k_proj.weight (8, 16)",
                                   "model.layers.0.self_attn.v_proj.weight (8, 16)",
                                   "model.layers.0.self_attn.o_proj.weight (16, 16)",
                                   "model.layers.0.mlp.gate_proj.weight (10, 16)",
                                   "model.layers.0.mlp.up_proj.weight (10, 16)",
                                   "model.layers.0.mlp.down_proj.weight (16, 10)",
                                   "model.layers.0.input_layernorm.weight (16)",
                                   "model.layers.0.post_attention_layernorm.weight (16)",
                                   "model.layers.1.self_attn.q_proj.weight (16, 16)"});
    CHECK(names[19] == "model.norm.weight (16)");
    CHECK(names[20] == "lm_head.weight (11, 16)");
}

TEST_CASE("Llama: the default has 869,504 parameters, and starts as transformers does") {
    Rng rng(1);
    LlamaForCausalLM model({}, &rng);
    CHECK(count_parameters(model).all == 869504);
    for (const NamedParameter& p : model.named_parameters()) {
        INFO(p.name);
        double sum = 0, squares = 0;
        for (real v : p.tensor.to_vector()) {
            sum += double(v);
            squares += double(v) * double(v);
        }
        const double n = double(p.tensor.size()), mean = sum / n;
        const bool is_norm = p.tensor.dim() == 1;
        CHECK(std::fabs(mean - is_norm) < 0.001);
        if (!is_norm) CHECK(std::sqrt(squares / n) == relative(0.02, 0.02));
    }
}

TEST_CASE("Llama: gradients of every parameter") {
    if (!kDouble) return;  // in float the differences drown in rounding
    for (const bool tied : {false, true}) {
        Rng rng(2);
        LlamaConfig config = kSmall;
        config.tie_word_embeddings = tied;
        LlamaForCausalLM model(config, &rng);
        perturb(model, rng);
        check_gradients([&](auto&) { return model.lookup(kIds); }, model.parameters());
    }
}

TEST_CASE("Llama: sequences do not see each other, and no position sees a later one") {
    Rng rng(3);
    LlamaForCausalLM model(kSmall, &rng);
    perturb(model, rng);
    const std::vector<int> first(kIds.begin(), kIds.begin() + 6);
    const std::vector<int> second(kIds.begin() + 6, kIds.end());
    const std::vector<int> start(kIds.begin(), kIds.begin() + 4);
    const Tensor both = logits(model, kIds), a = logits(model, first), b = logits(model, second),
                 short_one = logits(model, start);
    for (int64_t i = 0; i < 6; i++)
        for (int64_t j = 0; j < 11; j++) {
            CHECK(both.at({i, j}) == relative(a.at({i, j}), 1e-4));
            CHECK(both.at({6 + i, j}) == relative(b.at({i, j}), 1e-4));
            if (i < 4) CHECK(a.at({i, j}) == relative(short_one.at({i, j}), 1e-4));
        }
}

TEST_CASE("Llama: the order of earlier ids matters, which attention alone would not see") {
    Rng rng(4);
    LlamaConfig config = kSmall;
    config.num_hidden_layers = 1;
    LlamaForCausalLM model(config, &rng);
    perturb(model, rng);
    CHECK(largest_difference(logits(model, {1, 2, 3}), logits(model, {2, 1, 3})) > 1e-3);
    const Tensor one = logits(model, {1, 2, 3}), other = logits(model, {2, 1, 3});
    CHECK(std::fabs(one.at({2, 0}) - other.at({2, 0})) > 1e-3);
}

TEST_CASE("Llama: checkpointed layers give the same gradients to the bit, names and less memory") {
    const LlamaConfig config{.vocab_size = 50, .hidden_size = 32, .intermediate_size = 64,
                             .num_hidden_layers = 6, .max_position_embeddings = 512};
    std::vector<int> ids;
    for (int i = 0; i < 512; i++) ids.push_back(i * 7 % 50);
    Rng rng(5);
    LlamaForCausalLM model(config, &rng);
    AdapterSet adapters = attach(model, {.rank = 2, .dropout = 0.1,
                                         .target_modules = {"q_proj", "down_proj"}}, rng);
    perturb(model, rng);
    const auto run = [&](bool on) {
        model.model.checkpoint_layers = on;
        for (Rng* r : model.rngs()) r->state = 7;
        model.zero_grad();
        reset_peak_memory();
        const int64_t before = memory_use().live_bytes;
        const std::vector<Tensor> found = gradients(model, ids);
        return std::pair(found, memory_use().peak_bytes - before);
    };
    const std::string names = trainable_listing(model);
    const auto [plain, plain_peak] = run(false);
    const auto [checkpointed, peak] = run(true);
    CHECK(trainable_listing(model) == names);
    REQUIRE(plain.size() == 24);
    for (size_t i = 0; i < plain.size(); i++) CHECK(same_bits(plain[i], checkpointed[i]));
    MESSAGE("peak at context 512: " << plain_peak << " bytes plain, " << peak << " checkpointed");
    CHECK(peak * 2 < plain_peak);
}

TEST_CASE("Llama: learns a text by heart") {
    Rng rng(6);
    LlamaForCausalLM model(kSmall, &rng);
    Adam adam(model.parameters(), {.lr = 0.01});
    const std::vector<int> labels{1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9};
    double loss = 0;
    for (int step = 0; step < 150; step++) {
        adam.zero_grad();
        const Tensor l = cross_entropy(model.lookup(kIds), labels);
        loss = l.item();
        backward(l);
        adam.step();
    }
    CHECK(loss < 0.05);
    CHECK(generate(model, {3}, 5, {.temperature = 0}, rng) == std::vector<int>{1, 4, 1, 5, 9});
}

TEST_CASE("Llama: wrong uses") {
    Rng rng(7);
    LlamaForCausalLM model(kSmall, &rng);
    CHECK_ERROR(model.lookup(std::vector<int>{1, 11}), "id 11", "position 1", "between 0 and 10");
    CHECK_ERROR(model.lookup(std::vector<int>(8, 1)), "8 ids", "sequences of 6 ids");
    CHECK_ERROR(model.lookup(std::vector<int>{}), "0 ids");
    CHECK_ERROR(model.set_context(7), "context: 7", "max_position_embeddings, 6");
    CHECK_ERROR(model.set_context(0), "context: 0");
    model.set_context(4);
    CHECK(model.lookup(std::vector<int>(8, 1)).shape() == Shape{8, 11});
    const auto with = [](auto change) {
        LlamaConfig config = kSmall;
        change(config);
        return LlamaForCausalLM(config).config.head_dim;
    };
    CHECK(with([](LlamaConfig&) {}) == 4);
    CHECK_ERROR(with([](LlamaConfig& c) { c.num_key_value_heads = 3; }), "num_key_value_heads: 3");
    CHECK_ERROR(with([](LlamaConfig& c) { c.hidden_size = 9; }), "num_attention_heads: 4", "9");
    CHECK_ERROR(with([](LlamaConfig& c) { c.head_dim = 3; }), "head_dim: 3", "even");
    CHECK_ERROR(with([](LlamaConfig& c) { c.vocab_size = 0; }), "vocab_size: 0");
    CHECK_ERROR(with([](LlamaConfig& c) { c.rope_theta = 0; }), "rope_theta: 0");
    CHECK_ERROR(with([](LlamaConfig& c) { c.rms_norm_eps = -1; }), "rms_norm_eps: -1");
}

// ---- generate -----------------------------------------------------------------------------------

TEST_CASE("generate: goes on beyond the context, the same from the same seed") {
    Rng rng(8);
    LlamaForCausalLM model(kSmall, &rng);
    perturb(model, rng);
    const auto write = [&](Sampling s, uint64_t seed) {
        Rng draws(seed);
        return generate(model, {1, 2}, 20, s, draws);
    };
    const std::vector<int> most_likely = write({.temperature = 0}, 1);
    CHECK(most_likely.size() == 20);
    CHECK(write({.temperature = 0}, 2) == most_likely);
    CHECK(write({.temperature = 1, .top_k = 1}, 3) == most_likely);
    CHECK(write({.temperature = 1e-4}, 3) == most_likely);
    CHECK(write({}, 4) == write({}, 4));
    CHECK(write({}, 4) != write({}, 5));
    CHECK(model.training);
}

TEST_CASE("generate: draws as often as softmax says, and only from the top k") {
    Rng rng(9);
    LlamaForCausalLM model(kSmall, &rng);
    perturb(model, rng);
    const Tensor p = softmax(logits(model, {5}) / 0.7);
    std::vector<double> counts(11, 0);
    const int n = 4000;
    for (int i = 0; i < n; i++) counts[generate(model, {5}, 1, {.temperature = 0.7}, rng)[0]]++;
    for (size_t i = 0; i < 11; i++) CHECK(std::fabs(counts[i] / n - double(p.data()[i])) < 0.04);
    std::vector<real> sorted = p.to_vector();
    std::sort(sorted.rbegin(), sorted.rend());
    for (int i = 0; i < 300; i++)
        CHECK(p.data()[generate(model, {5}, 1, {.temperature = 0.7, .top_k = 3}, rng)[0]] >=
              sorted[2]);
}

TEST_CASE("generate: wrong uses") {
    Rng rng(10);
    LlamaForCausalLM model(kSmall, &rng);
    CHECK_ERROR(generate(model, {}, 1, {}, rng), "prompt is empty");
    CHECK_ERROR(generate(model, {1}, 1, {.temperature = -1}, rng), "temperature -1");
    CHECK_ERROR(generate(model, {1}, 1, {.top_k = -2}, rng), "top_k -2");
    model.lm_head->parameters()[0].mutable_data()[50] = std::numeric_limits<real>::infinity();
    CHECK_ERROR(generate(model, {1}, 1, {}, rng), "generate", "logit 3", "hint");
}

// ---- adapters -----------------------------------------------------------------------------------

TEST_CASE("Llama: a mistyped target is answered with a short list of what there is") {
    LlamaForCausalLM model(kSmall);
    CHECK_ERROR(select_modules(model, {.target_modules = {"q_porj"}}),
                "\"q_porj\" matches no module that can be adapted; there are model.embed_tokens, "
                "q_proj (2), k_proj (2), v_proj (2), o_proj (2), gate_proj (2), up_proj (2), "
                "down_proj (2), lm_head");
}

TEST_CASE("Llama: LoRA and DoRA on PEFT's default targets, merged and switched off") {
    for (const Method method : {Method::kLoRA, Method::kDoRA}) {
        Rng rng(11);
        LlamaForCausalLM model(kSmall, &rng);
        perturb(model, rng);
        const Tensor before = logits(model, kIds);
        AdapterSet adapters = attach(
            model, {.method = method, .rank = 2, .target_modules = {"q_proj", "v_proj"}}, rng);
        CHECK(largest_difference(logits(model, kIds), before) < 1e-4);
        CHECK(adapters.places().size() == 4);
        CHECK(adapters.places()[0].name == "model.layers.0.self_attn.q_proj");
        for (const Tensor& g : gradients(model, kIds)) CHECK(g.defined());
        perturb(model, rng);
        const Tensor adapted = logits(model, kIds);
        CHECK(largest_difference(adapted, before) > 0.1);
        adapters.merge();
        CHECK(largest_difference(logits(model, kIds), adapted) < 2e-3);
        adapters.unmerge();
        CHECK(same_bits(logits(model, kIds), adapted));
    }
}

TEST_CASE("Llama: QLoRA and QDoRA, an NF4 base without lm_head") {
    for (const bool tied : {false, true})
        for (const Method method : {Method::kLoRA, Method::kDoRA}) {
            Rng rng(15);
            LlamaConfig config = kSmall;
            config.tie_word_embeddings = tied;
            LlamaForCausalLM model(config, &rng);
            perturb(model, rng);
            const Tensor before = logits(model, kIds);
            CHECK_ERROR(quantize_linear_layers(model, Quantization::kNF4, {"lm_haed"}), "lm_haed");
            CHECK(same_bits(logits(model, kIds), before));
            quantize_linear_layers(model, Quantization::kNF4, {"lm_head"});
            CHECK(!as_linear(model.lm_head)->weight.quantized);
            const auto& layer = dynamic_cast<LlamaDecoderLayer&>(*model.model.layers[1]);
            CHECK(as_linear(layer.mlp.down_proj)->weight.quantized);
            const Tensor base = logits(model, kIds);
            CHECK(largest_difference(base, before) > 1e-3);
            attach(model, {.method = method, .rank = 2, .exclude_modules = {"lm_head"}}, rng);
            CHECK(largest_difference(logits(model, kIds), base) < 1e-4);
            CHECK(gradients(model, kIds).size() == (method == Method::kLoRA ? 28 : 42));
        }
}

// ---- files --------------------------------------------------------------------------------------

namespace {

void change_config(const std::string& folder, const std::string& key, const Json& value) {
    Json json = parse_json(text_of(folder + "/config.json"), "config.json");
    std::get<Json::Object>(json.value)[key] = value;
    write_file(folder + "/config.json", {json.dump()});
}

std::string saved(const ScratchFolder& folder, LlamaConfig config = kSmall) {
    Rng rng(12);
    LlamaForCausalLM model(config, &rng);
    perturb(model, rng);
    save_pretrained(folder / "model", model);
    return folder / "model";
}

}  // namespace

TEST_CASE("fault: pretrained: saved and loaded, plain, tied, with another head_dim") {
    for (const bool tied : {false, true}) {
        const ScratchFolder scratch;
        LlamaConfig config = kSmall;
        config.tie_word_embeddings = tied;
        config.head_dim = tied ? 6 : 0;
        config.rope_theta = 500;
        config.rms_norm_eps = 1e-3;
        Rng rng(13);
        LlamaForCausalLM model(config, &rng);
        perturb(model, rng);
        save_pretrained(scratch / "a/b", model);
        const TensorFile file = read_safetensors(scratch / "a/b/model.safetensors");
        CHECK(file.tensors.count("lm_head.weight") == (tied ? 0 : 1));
        const auto loaded = load_pretrained(scratch / "a/b");
        CHECK(same_bits(logits(*loaded, kIds), logits(model, kIds)));
        CHECK(count_parameters(*loaded).all == count_parameters(model).all);
        CHECK(loaded->config.tie_word_embeddings == tied);
    }
}

TEST_CASE("pretrained: rope_theta under rope_parameters, 16-bit files, missing entries") {
    const ScratchFolder scratch;
    const std::string folder = saved(scratch);
    const Tensor plain = logits(*load_pretrained(folder), kIds);
    change_config(folder, "rope_theta", Json());
    change_config(folder, "num_key_value_heads", 2);
    change_config(folder, "rope_parameters",
                  Json::Object{{"rope_theta", 50.0}, {"rope_type", "default"}});
    const auto other = load_pretrained(folder);
    CHECK(other->config.rope_theta == 50);
    CHECK(largest_difference(logits(*other, kIds), plain) > 1e-3);
    change_config(folder, "rope_parameters", Json());
    change_config(folder, "head_dim", Json());
    CHECK(same_bits(logits(*load_pretrained(folder), kIds), plain));

    for (const std::string dtype : {"F16", "BF16"}) {
        TensorFile file = read_safetensors(folder + "/model.safetensors");
        for (auto& [name, stored] : file.tensors) stored = store(file.tensor(name), dtype);
        const ScratchFolder half;
        write_file(half / "config.json", {text_of(folder + "/config.json")});
        write_safetensors(half / "model.safetensors", file);
        const double difference =
            largest_difference(logits(*load_pretrained(half.path), kIds), plain);
        CHECK(difference > 0);
        CHECK(difference < (dtype == "F16" ? 0.05 : 0.4));
    }
}

TEST_CASE("pretrained: what is not supported is refused by its name") {
    const ScratchFolder scratch;
    const std::string folder = saved(scratch);
    const std::string good = text_of(folder + "/config.json");
    const auto refused = [&](const std::string& key, const Json& value,
                             const std::vector<std::string>& words) {
        write_file(folder + "/config.json", {good});
        change_config(folder, key, value);
        const std::string text = error_of([&] { load_pretrained(folder); });
        check_words(text, words);
        check_words(text, {"config.json"});
        CHECK(text.find('\n') == std::string::npos);
    };
    refused("model_type", "gpt2", {"model_type", "gpt2", "llama"});
    refused("rope_scaling", Json::Object{{"type", "linear"}, {"factor", 2.0}}, {"rope scaling"});
    refused("rope_parameters", Json::Object{{"rope_theta", 1e4}, {"rope_type", "llama3"}},
            {"rope_parameters", "llama3", "rope scaling"});
    refused("attention_bias", true, {"attention_bias is true"});
    refused("mlp_bias", true, {"mlp_bias is true"});
    refused("hidden_act", "gelu", {"hidden_act", "gelu"});
    refused("quantization_config", Json::Object{}, {"quantization_config"});
    refused("num_hidden_layers", 3, {"model.layers.2.self_attn.q_proj.weight"});
    refused("vocab_size", 12, {"embed_tokens", "(11, 16)", "(12, 16)"});
    refused("hidden_size", 1 << 30, {"hidden_size"});
    refused("num_hidden_layers", 16000000, {"model.layers.2."});
    refused("num_attention_heads", "4", {"num_attention_heads"});
    refused("vocab_size", Json(), {"vocab_size", "missing"});
    write_file(folder + "/config.json", {good});
    change_config(folder, "num_hidden_layers", 1);
    CHECK_ERROR(load_pretrained(folder), "unexpected tensor model.layers.1.", "1 layers");
}

TEST_CASE("pretrained: damaged, sharded and missing files are one sentence each") {
    const ScratchFolder scratch;
    const std::string folder = saved(scratch);
    CHECK_ERROR(load_pretrained(scratch / "none"), "none/config.json");
    const std::string tensors = text_of(folder + "/model.safetensors");
    for (size_t i = 0; i < 16; i++) {
        write_file(folder + "/model.safetensors", {tensors.substr(0, tensors.size() * i / 16)});
        CHECK_ERROR(load_pretrained(folder), "model.safetensors");
    }
    std::filesystem::remove(folder + "/model.safetensors");
    CHECK_ERROR(load_pretrained(folder), "model.safetensors");
    write_file(folder + "/pytorch_model.bin", {"x"});
    CHECK_ERROR(load_pretrained(folder), "pickle");
    write_file(folder + "/model.safetensors.index.json", {"{}"});
    CHECK_ERROR(load_pretrained(folder), "sharded", "hint");
    write_file(folder + "/config.json", {"[1]"});
    CHECK_ERROR(load_pretrained(folder), "config.json");
}

TEST_CASE("pretrained: an adapted or quantised model is not saved as a plain one") {
    const ScratchFolder scratch;
    Rng rng(14);
    LlamaForCausalLM model(kSmall, &rng);
    AdapterSet adapters = attach(model, {.rank = 2, .target_modules = {"q_proj"}}, rng);
    CHECK_ERROR(save_pretrained(scratch / "m", model), "q_proj is adapted", "hint");
    adapters.merge_and_unload();
    save_pretrained(scratch / "m", model);
    CHECK(same_bits(logits(*load_pretrained(scratch / "m"), kIds), logits(model, kIds)));
    quantize_linear_layers(model, Quantization::kNF4);
    CHECK_ERROR(save_pretrained(scratch / "q", model), "quantised", "hint");
}

}  // namespace slim
