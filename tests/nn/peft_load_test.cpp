// Adapters in files: what is read, and what is refused.
#include "tests/nn/adapter_folder.h"

namespace slim {

namespace {

// The folder is refused with these words, by load_adapter() if it can see the fault without the
// model, else by attach_adapter(), which leaves the model as it was.
void check_refused(const AdapterFolder& folder, const Names& words) {
    Rng rng(3);
    Net net(rng);
    AdapterSet adapters(net);
    adapters.add("other", {.rank = 1, .target_modules = {"fc1"}}, rng);
    perturb_trained(net, rng);
    const std::string with_other = snapshot(net);
    const Names all = [&] {
        Names list = words;
        list.push_back(folder.path);
        return list;
    }();
    check_words(error_of([&] { add_adapter(adapters, "new", folder.load(), rng); }), all);
    CHECK(snapshot(net) == with_other);
    CHECK(adapters.active() == "other");
    CHECK(adapters.names() == Names{"other"});

    Net plain(rng);
    const std::string before = snapshot(plain);
    check_words(error_of([&] { attach_adapter(plain, folder.load(), rng); }), all);
    CHECK(snapshot(plain) == before);
}

}  // namespace

TEST_CASE("load_adapter: what is absent has PEFT's default, and what is there is used") {
    AdapterFolder folder;
    const LoadedAdapter plain = folder.load();
    CHECK(plain.notes.empty());
    CHECK(plain.config.method == Method::kLoRA);
    CHECK(plain.config.rank == 2);
    CHECK(plain.config.alpha == 6);
    CHECK(plain.config.scaling == Scaling::kAlphaOverRank);
    CHECK(plain.config.dropout == 0);
    CHECK(plain.config.axis == Axis::kOut);
    CHECK(plain.config.bias == BiasTraining::kNone);
    CHECK(plain.config.target_modules == Names{"encoder.fc1", "head"});
    CHECK(plain.layers.size() == 2);
    CHECK(plain.layers[0].module == "encoder.fc1");
    CHECK(!plain.layers[0].is_embedding);

    folder.config.erase("lora_alpha");
    CHECK(folder.load().config.alpha == 8);
    folder.config["lora_alpha"] = 2.5;
    folder.config["lora_dropout"] = 0.125;
    folder.config["use_rslora"] = true;
    folder.config["init_lora_weights"] = "gaussian";
    folder.config["rank_pattern"] = Json();
    folder.config["alpha_pattern"] = Json::Object{{"fc1", 7}};
    folder.config["exclude_modules"] = Json::List{"fc2"};
    folder.config["target_modules"] = "encoder.*|head";
    const AdapterConfig config = folder.load().config;
    CHECK(config.alpha == 2.5);
    CHECK(config.dropout == 0.125);
    CHECK(config.scaling == Scaling::kAlphaOverSqrtRank);
    CHECK(config.init == InitA::kGaussian);
    CHECK(config.target_modules.empty());
    CHECK(config.target_pattern == "encoder.*|head");
    CHECK(config.exclude_modules == Names{"fc2"});
    CHECK(config_for(config, "encoder.fc1").alpha == 7);
    Rng rng(14);
    Net net(rng);
    CHECK(attach_adapter(net, folder.load(), rng).places().size() == 2);

    folder.config["exclude_modules"] = "encoder\\.fc2";
    Net other(rng);
    CHECK(attach_adapter(other, folder.load(), rng).places().size() == 2);
    folder.config["target_modules"] = "all-linear";
    CHECK(folder.load().config.target_modules == Names{"all-linear"});
    CHECK(folder.load().config.target_pattern.empty());
}

TEST_CASE(
    "load_adapter: PEFT's other keys do not matter while they are off; unknown ones are noted") {
    AdapterFolder folder;
    for (const std::string key :
         {"alora_invocation_tokens", "arrow_config", "auto_mapping", "corda_config", "eva_config",
          "exclude_modules", "layer_replication", "layers_pattern", "layers_to_transform",
          "megatron_config", "modules_to_save", "revision", "target_parameters", "task_type",
          "trainable_token_indices", "runtime_config", "some_new_config"})
        folder.config[key] = Json();
    for (const std::string key :
         {"fan_in_fan_out", "lora_bias", "use_qalora", "ensure_weight_tying"})
        folder.config[key] = false;
    folder.config["modules_to_save"] = Json::List();
    folder.config["loftq_config"] = Json::Object();
    folder.config["megatron_core"] = "megatron.core";
    folder.config["peft_version"] = "0.18.0";
    folder.config["qalora_group_size"] = 16;
    CHECK(folder.load().notes.empty());
    folder.config["use_telepathy"] = true;
    folder.config["depth"] = 3;
    const Names notes = folder.load().notes;
    CHECK(notes.size() == 2);
    check_words(notes[0], {folder.path, "depth", "unknown", "ignored", "3"});
    check_words(notes[1], {"use_telepathy", "true"});
}

TEST_CASE("load_adapter: what slimgrad does not have is refused, not computed wrongly") {
    const std::map<std::string, Json> lacking{
        {"alora_invocation_tokens", Json::List{1, 2}},
        {"arrow_config", Json::Object{{"top_k", 3}}},
        {"ensure_weight_tying", true},
        {"fan_in_fan_out", true},
        {"layer_replication", Json::List{Json::List{0, 4}}},
        {"kasa_config", Json::Object{{"beta", 1}}},
        {"lora_bias", true},
        {"megatron_config", Json::Object{{"a", 1}}},
        {"monteclora_config", Json::Object{{"num_samples", 8}}},
        {"target_parameters", Json::List{"weight"}},
        {"trainable_token_indices", Json::List{1}},
        {"use_bdlora", true},
        {"use_qalora", true},
        {"velora_config", Json::Object{{"num_groups", 2}}}};
    for (const auto& [key, value] : lacking) {
        AdapterFolder folder;
        folder.config[key] = value;
        check_refused(folder, {"adapter_config.json: " + key, value.dump(-1), "slimgrad does not"});
    }
    // These initialisations change the base's weights: the adapter is not for the original base.
    for (const std::string init : {"pissa", "pissa_niter_16", "olora", "loftq", "corda", "novel"}) {
        AdapterFolder folder;
        folder.config["init_lora_weights"] = init;
        check_refused(folder, {"init_lora_weights", init, "base's weights", "hint"});
    }
    for (const Json& init : {Json(true), Json(false), Json("eva"), Json("orthogonal"),
                             Json("mica")}) {
        AdapterFolder folder;
        folder.config["init_lora_weights"] = init;
        CHECK(folder.load().notes.empty());
    }
}

TEST_CASE("load_adapter: a value of the wrong type or out of bounds is named") {
    struct Wrong {
        const char* key;
        Json value;
        Names words;
    };
    const Json big(int64_t(1) << 60);
    const Wrong cases[] = {
        {"peft_type", "IA3", {"IA3", "only LORA"}},
        {"peft_type", 3, {"3", "text"}},
        {"r", "8", {"\"8\"", "whole number"}},
        {"r", 2.5, {"2.5", "whole number"}},
        {"r", Json(), {"null", "whole number"}},
        {"r", 0, {"is 0", "at least 1"}},
        {"r", -3, {"-3", "at least 1"}},
        {"r", big, {"lora_A.weight", "(2, 5)", "(1152921504606846976, 5)"}},  // and not allocated
        {"r", 3, {"lora_A.weight", "(2, 5)", "(3, 5)"}},
        {"lora_alpha", "6", {"number"}},
        {"lora_alpha", Json(), {"number"}},
        {"lora_dropout", 1.5, {"1.5", "between 0 and 1"}},
        {"lora_dropout", -0.5, {"-0.5", "between 0 and 1"}},
        {"lora_dropout", false, {"number"}},
        {"use_dora", 1, {"true or false"}},
        {"use_dora", Json(), {"true or false"}},
        {"use_rslora", "no", {"true or false"}},
        {"bias", "some", {"\"some\"", "none, all or lora_only"}},
        {"bias", true, {"text"}},
        {"init_lora_weights", 1, {"true or false"}},
        {"target_modules", Json(), {"there are none", "hint"}},
        {"target_modules", Json::List(), {"there are none", "hint"}},
        {"target_modules", "", {"there are none", "hint"}},
        {"target_modules", 5, {"list"}},
        {"target_modules", Json::List{"head", 5}, {"text"}},
        {"target_modules", "(head", {"(head", "not a regular expression"}},
        {"target_modules", Json::List{"encoder.fc1", "head", "fc7"}, {"\"fc7\"", "hint"}},
        {"exclude_modules", true, {"list"}},
        {"exclude_modules", "[", {"not a regular expression"}},
        {"rank_pattern", 3, {"object"}},
        {"rank_pattern", Json::Object{{"head", "1"}}, {"head", "whole number"}},
        {"rank_pattern", Json::Object{{"head", 0}}, {"head", "at least 1"}},
        {"rank_pattern", Json::Object{{"he(ad", 1}}, {"he(ad", "not a regular expression"}},
        {"rank_pattern", Json::Object{{"head", 1}}, {"head.lora_A.weight", "(2, 4)", "(1, 4)"}},
        {"alpha_pattern", Json::List(), {"object"}},
        {"alpha_pattern", Json::Object{{"head", true}}, {"head", "number"}},
    };
    for (const Wrong& wrong : cases) {
        INFO(wrong.key << " = " << wrong.value.dump(-1));
        AdapterFolder folder;
        folder.config[wrong.key] = wrong.value;
        check_refused(folder, wrong.words);
    }
    AdapterFolder folder;
    folder.config.erase("peft_type");
    check_refused(folder, {"adapter_config.json", "\"peft_type\""});
    folder.config["peft_type"] = "LORA";
    folder.config.erase("target_modules");
    check_refused(folder, {"target_modules"});
}

TEST_CASE(
    "load_adapter: tensors missing, too many or of another shape are named, with the nearest") {
    const std::string A = kPrefix + "encoder.fc1.lora_A.weight", B = kPrefix + "head.lora_B.weight";
    Rng rng(15);
    const Tensor one = ones({1});
    const auto refused = [&](const AdapterFolder& folder, const Names& words) {
        check_refused(folder, words);
    };
    {
        AdapterFolder f;
        f.file.tensors.erase(A);  // B tells that it should be there
        refused(f, {"missing tensor " + A});
    }
    {
        AdapterFolder f;
        f.file.tensors.erase(B);
        refused(f, {"missing tensor " + B});
    }
    {
        AdapterFolder f;  // a whole module is not there
        f.file.tensors.erase(B);
        f.file.tensors.erase(kPrefix + "head.lora_A.weight");
        refused(f, {"target_modules: \"head\" matches no module", "hint"});
    }
    {
        AdapterFolder f;  // the same where another module has the entry: only the model can tell
        f.config["target_modules"] = Json::List{"fc1", "head"};
        refused(f, {"missing tensor " + kPrefix + "fc1.lora_A.weight", "(2, 3)",
                    "the most similar is"});
    }
    {
        AdapterFolder f;  // too many modules
        f.put("encoder.fc3.lora_A.weight", ones({2, 5}));
        f.put("encoder.fc3.lora_B.weight", ones({7, 2}));
        f.put("head.lora_A.weight", ones({2, 4}));
        refused(f, {"unexpected tensor " + kPrefix + "encoder.fc3.lora_A.weight",
                    "does not call for it", "the most similar is " + A});
    }
    for (const std::string name :
         {"encoder.fc1.lora_C.weight", "encoder.fc1.lora_A",
          "encoder.fc1.weight", "encoder.fc1.bias", "encoder.fc1.base_layer.bias"}) {
        AdapterFolder f;
        f.put(name, ones({2}));
        refused(f, {"unexpected tensor " + kPrefix + name, "the most similar is"});
    }
    for (const std::string name : {"lora_A.weight", "base_model.encoder.fc1.lora_A.weight",
                             "base_model.model.lora_A.weight", "base_model.model..lora_A.weight"}) {
        AdapterFolder f;
        f.file.tensors[name] = store(one, "F32");
        refused(f, {name, "tensor"});
    }
    for (const Shape& shape :
         {Shape{5, 2}, Shape{2, 6}, Shape{10}, Shape{2, 5, 1}, Shape{0, 5}, Shape{}}) {
        AdapterFolder f;
        f.put("encoder.fc1.lora_A.weight", ones(shape));
        refused(f, {A, "has shape " + to_text(shape)});
    }
    for (const Shape& shape : {Shape{2, 2}, Shape{2, 7}, Shape{8, 2}, Shape{7}}) {
        AdapterFolder f;
        f.put("encoder.fc1.lora_B.weight", ones(shape));
        refused(f, {"encoder.fc1.lora_B.weight has shape " + to_text(shape)});
    }
    {
        AdapterFolder f;
        f.file.tensors.clear();
        refused(f, {"adapter_model.safetensors", "no adapter"});
    }
    {
        AdapterFolder f;
        f.file.tensors[A] = {"I32", {2, 5}, Bytes(40)};
        refused(f, {A, "I32"});
    }
}

TEST_CASE("load_adapter: magnitudes and use_dora belong together") {
    {
        AdapterFolder folder(true);
        folder.config["use_dora"] = false;
        check_refused(folder,
                      {"lora_magnitude_vector", "use_dora is false", "PEFT would load it as LoRA"});
        folder.config.erase("use_dora");
        check_refused(folder, {"lora_magnitude_vector", "use_dora"});
    }
    AdapterFolder folder(true);
    folder.file.tensors.erase(kPrefix + "head.lora_magnitude_vector");
    check_refused(folder, {"missing tensor", "head.lora_magnitude_vector", "(2)"});
    folder.put("head.lora_magnitude_vector", ones({4}));  // one per input
    check_refused(folder, {"head.lora_magnitude_vector", "(4)", "(2)"});
    folder.put("head.lora_magnitude_vector", ones({2}));
    folder.put("fc1.lora_magnitude_vector", ones({4}));
    check_refused(folder, {"unexpected tensor", "fc1.lora_magnitude_vector"});
}

TEST_CASE("load_adapter: biases must be all there; those that PEFT forgets are noted") {
    AdapterFolder folder;
    folder.config["bias"] = "lora_only";
    const LoadedAdapter loaded = folder.load();
    REQUIRE(loaded.notes.size() == 1);
    check_words(loaded.notes[0], {"lora_only", "peft#3306", "base's"});
    CHECK(loaded.config.bias == BiasTraining::kNone);
    Rng rng(16);
    Net net(rng);
    attach_adapter(net, loaded, rng);

    folder.put("encoder.fc1.base_layer.bias", full({7}, 0.5));
    CHECK(folder.load().notes.empty());
    Net other(rng);
    attach_adapter(other, folder.load(), rng);
    CHECK(other.state_dict().at("encoder.fc1.linear.bias").to_vector() ==
          std::vector<real>(7, 0.5));
    folder.put("fc1.bias", ones({4}));
    check_refused(folder, {"unexpected tensor", "fc1.bias"});
    folder.config["bias"] = "all";
    check_refused(folder, {"missing tensor", "encoder.fc2.bias"});
    folder.put("encoder.fc2.bias", full({3}, 0.25));
    Net third(rng);
    attach_adapter(third, folder.load(), rng);
    CHECK(third.state_dict().at("encoder.fc2.bias").to_vector() == std::vector<real>(3, 0.25));
    CHECK(third.state_dict().at("encoder.fc2.bias").requires_grad());
    folder.put("fc1.bias", ones({5}));
    check_refused(folder, {"fc1.bias", "(5)", "(4)"});
    folder.put("fc1.bias", ones({4, 1}));
    check_refused(folder, {"fc1.bias", "(4, 1)"});
}

TEST_CASE("load_adapter: 16-bit tensors are widened") {
    AdapterFolder folder;
    const Tensor A = tensor({1, -2, 0.5, 3, 4, 5, 6, 7}, {2, 4});
    const uint16_t half[] = {0x3c00, 0xc000, 0x3800, 0x4200, 0x4400, 0x4500, 0x4600, 0x4700};
    const uint16_t brain[] = {0x3f80, 0xc000, 0x3f00, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0};
    for (const auto& [dtype, bits] : {std::pair("F16", half), {"BF16", brain}}) {
        const auto* bytes = reinterpret_cast<const uint8_t*>(bits);
        folder.file.tensors[kPrefix + "head.lora_A.weight"] = {dtype, {2, 4}, {bytes, bytes + 16}};
        Rng rng(17);
        Net net(rng);
        attach_adapter(net, folder.load(), rng);
        CHECK(same_bits(net.state_dict().at("head.lora.A"), A));
    }
}

TEST_CASE("load_adapter: an Embedding's tensors, by PEFT's names and orientation") {
    AdapterFolder folder(true);
    Rng rng(18);
    const Tensor A = normal({2, 11}, 0, 1, rng), B = normal({5, 2}, 0, 1, rng);
    folder.config["target_modules"] = Json::List{"embed"};
    folder.config["use_dora"] = false;
    folder.file.tensors.clear();
    folder.put("embed.lora_embedding_A", A);
    folder.put("embed.lora_embedding_B", B);
    Net net(rng);
    const Tensor E = clone(net.state_dict().at("embed.weight").detach());
    attach_adapter(net, folder.load(), rng);
    net.eval();
    for (int token = 0; token < 11; token++) {
        const Tensor got = net.embed->lookup(std::span(&token, 1));
        for (int64_t d = 0; d < 5; d++) {
            double want = double(E.at({token, d}));
            for (int64_t k = 0; k < 2; k++)
                want += 3 * double(B.at({d, k})) * double(A.at({k, token}));  // s = 6 / 2
            CHECK(double(got.at({0, d})) == relative(want, 1e-5));
        }
    }
    folder.put("embed.lora_embedding_A", normal({11, 2}, 0, 1, rng));
    check_refused(folder, {"embed.lora_embedding_A", "(11, 2)"});
    folder.file.tensors.clear();
    folder.put("embed.lora_A.weight", A);  // a Linear's names
    folder.put("embed.lora_B.weight", B);
    check_refused(folder, {"unexpected tensor", "embed.lora_A.weight", "embed.lora_embedding_A"});
}

TEST_CASE("load_adapter: a folder that is none, and tensors in a pickle, are sentences") {
    ScratchFolder scratch;
    CHECK_ERROR(load_adapter(scratch / "none"), "none/adapter_config.json", "no such file");
    write_file(scratch / "file", {"x"});
    CHECK_ERROR(load_adapter(scratch / "file"), "file/adapter_config.json", "cannot be read");
    const AdapterFolder folder;
    folder.write();
    std::filesystem::remove(folder.path + "/adapter_model.safetensors");
    CHECK_ERROR(load_adapter(folder.path), "adapter_model.safetensors", "no such file");
    write_file(folder.path + "/adapter_model.bin", {"PK"});
    CHECK_ERROR(load_adapter(folder.path), folder.path, "adapter_model.bin", "pickle", "hint");
}

}  // namespace slim
