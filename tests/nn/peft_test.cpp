// Parameters and adapters in files: what is written, to the byte, what is read, and what is
// refused.
#include "nn/peft.h"

#include <sys/wait.h>  // WEXITSTATUS
#include <unistd.h>    // readlink

#include <fstream>
#include <limits>

#include "nn/activation.h"
#include "nn/peft_report.h"
#include "nn/sequential.h"
#include "nn/state_file.h"
#include "tests/data/scratch.h"
#include "tests/nn/net.h"
#include "tests/testing.h"

namespace slim {

namespace {

using Names = std::vector<std::string>;

const std::string kPrefix = "base_model.model.";

std::string text_of(const std::string& path) { return std::string(as_text(read_file(path))); }

// write_file() waits for the disk, which is too long for a loop over the bytes of a file.
void overwrite(const std::string& path, std::string_view text) { std::ofstream(path) << text; }

// An adapter folder of a Net, made by hand: every test can spoil what it likes. Ranks 2, alpha 6.
struct Folder {
    ScratchFolder scratch;
    std::string path = scratch / "adapter";
    Json::Object config{{"peft_type", "LORA"},
                        {"r", 2},
                        {"lora_alpha", 6},
                        {"use_dora", false},
                        {"target_modules", Json::List{"encoder.fc1", "head"}}};
    TensorFile file;

    explicit Folder(bool dora = false) {
        Rng rng(99);
        file.metadata = {{"format", "pt"}};
        config["use_dora"] = dora;
        for (const auto& [name, in, out] : {std::tuple("encoder.fc1", 5, 7), {"head", 4, 2}}) {
            put(std::string(name) + ".lora_A.weight", normal({2, in}, 0, 1, rng));
            put(std::string(name) + ".lora_B.weight", normal({out, 2}, 0, 1, rng));
            if (dora) put(std::string(name) + ".lora_magnitude_vector", uniform({out}, 1, 2, rng));
        }
    }

    void put(const std::string& name, const Tensor& x) {
        file.tensors[kPrefix + name] = store(x, "F32");
    }
    void write() const {
        make_folders(path);
        write_file(path + "/adapter_config.json", {Json(config).dump()});
        write_safetensors(path + "/adapter_model.safetensors", file);
    }
    LoadedAdapter load() const {
        write();
        return load_adapter(path);
    }
};

// The folder is refused with these words, by load_adapter() if it can see the fault without the
// model, else by attach_adapter(), which leaves the model as it was.
void check_refused(const Folder& folder, const Names& words) {
    Rng rng(3);
    Net net(rng);
    Adapters adapters(net);
    adapters.add("other", {.options = {.rank = 1}, .target_modules = {"fc1"}}, rng);
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

// In the float build files hold exactly what is in memory; in the double build, what fits into F32.
void check_answers(const Tensor& got, const Tensor& want) {
    if (kDouble)
        check_close(got, want, 1e-5, 1e-5);
    else
        CHECK(same_bits(got, want));
}

}  // namespace

// ---- parameters
// ----------------------------------------------------------------------------------

TEST_CASE("save_parameters, load_parameters: back to the bit, also adapted") {
    ScratchFolder folder;
    for (bool adapted : {false, true}) {
        Rng rng(1);
        Net from(rng), to(rng);
        if (adapted)
            for (Net* net : {&from, &to})
                attach(*net, {.method = Method::kDoRA, .options = {.rank = 2, .alpha = 6}}, rng);
        perturb_trained(from, rng);
        CHECK(largest_difference(from.answer(), to.answer()) > 0);
        save_parameters(from, folder / "state");
        load_parameters(to, folder / "state");
        CHECK(same_bits(from.answer(), to.answer()));
        CHECK(snapshot(from) == snapshot(to));
        const TensorFile file = read_safetensors(folder / "state");
        CHECK(file.metadata == std::map<std::string, std::string>{{"format", "pt"}});
        CHECK(file.stored("embed.weight").dtype == kRealDtype);
        CHECK(file.tensors.count(adapted ? "fc1.lora.A" : "fc1.weight") == 1);
    }
}

TEST_CASE("load_parameters: another precision is converted") {
    ScratchFolder folder;
    Rng rng(2);
    Linear linear(2, 1, rng);
    TensorFile file;
    file.tensors["weight"] = store(tensor({1.5, -2}, {1, 2}), kDouble ? "F32" : "F64");
    file.tensors["bias"] = {"BF16", {1}, {0x40, 0x40}};  // 3
    write_safetensors(folder / "state", file);
    load_parameters(linear, folder / "state");
    CHECK(linear.weight.to_vector() == std::vector<real>{1.5, -2});
    CHECK(linear.bias.item() == 3);
}

TEST_CASE("load_parameters: a name or a shape that differs is an error with the file's name") {
    ScratchFolder folder;
    Rng rng(3);
    const std::string path = folder / "state";
    Net net(rng);
    save_parameters(net, path);
    const TensorFile good = read_safetensors(path);
    const std::string before = snapshot(net);
    const auto refused = [&](const TensorFile& file, const Names& words) {
        write_safetensors(path, file);
        check_words(error_of([&] { load_parameters(net, path); }), words);
        CHECK(snapshot(net) == before);
    };
    TensorFile file = good;
    file.tensors["encoder.fc1.wieght"] = file.tensors["fc1.weight"];
    refused(file,
            {path, "unexpected", "\"encoder.fc1.wieght\"", "did you mean \"encoder.fc1.weight\""});
    file = good;
    file.tensors.erase("head.weight");
    refused(file, {path, "\"head.weight\" of shape (2, 4) is missing"});
    file = good;
    file.tensors["head.weight"].shape = {4, 2};
    refused(file, {path, "\"head.weight\"", "(4, 2)", "(2, 4)"});
    file = good;
    file.tensors["head.weight"] = store(std::vector<int64_t>{1});
    refused(file, {path, "head.weight", "I64"});
    CHECK_ERROR(load_parameters(net, folder / "none"), folder / "none", "no such file");
}

TEST_CASE("save_parameters: refuses a quantised model, whose weights are not in its state") {
    ScratchFolder folder;
    Rng rng(4);
    Net net(rng);
    quantize_linear_layers(net, Quantization::kInt8);
    CHECK_ERROR(save_parameters(net, folder / "state"), folder / "state", "\"encoder.fc1\"",
                "quantised", "hint");
    CHECK(folder.names().empty());
}

// ---- saving adapters
// -----------------------------------------------------------------------------

TEST_CASE("save_adapter: the two files that PEFT reads, to the byte") {
    ScratchFolder folder;
    Rng rng(5);
    Net net(rng);
    const AdapterConfig config{.method = Method::kDoRA,
                               .options = {.rank = 2, .alpha = 6, .dropout = 0.25},
                               .target_modules = {"fc2", "embed", "^fc1", "head"},
                               .rank_pattern = {{"head", 1}},
                               .alpha_pattern = {{"fc2", 1.5}}};
    AdapterConfig plain = config;
    plain.target_modules = {"fc2", "embed", "head"};
    const std::vector<AdaptedPlace> places = attach(net, plain, rng);
    perturb_trained(net, rng);
    save_adapter(folder / "a/b", plain, places, "my/base");

    CHECK(text_of(folder / "a/b/adapter_config.json") == R"({
  "alpha_pattern": {
    "encoder.fc2": 1.5
  },
  "base_model_name_or_path": "my/base",
  "bias": "none",
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "lora_alpha": 6,
  "lora_dropout": 0.25,
  "peft_type": "LORA",
  "r": 2,
  "rank_pattern": {
    "head": 1
  },
  "target_modules": [
    "embed",
    "encoder.fc2",
    "head"
  ],
  "task_type": null,
  "use_dora": true,
  "use_rslora": false
}
)");
    const TensorFile file = read_safetensors(folder / "a/b/adapter_model.safetensors");
    CHECK(file.metadata == std::map<std::string, std::string>{{"format", "pt"}});
    const std::map<std::string, Shape> wanted{{kPrefix + "embed.lora_embedding_A", {2, 11}},
                                              {kPrefix + "embed.lora_embedding_B", {5, 2}},
                                              {kPrefix + "embed.lora_magnitude_vector", {5}},
                                              {kPrefix + "encoder.fc2.lora_A.weight", {2, 7}},
                                              {kPrefix + "encoder.fc2.lora_B.weight", {3, 2}},
                                              {kPrefix + "encoder.fc2.lora_magnitude_vector", {3}},
                                              {kPrefix + "head.lora_A.weight", {1, 4}},
                                              {kPrefix + "head.lora_B.weight", {2, 1}},
                                              {kPrefix + "head.lora_magnitude_vector", {2}}};
    std::map<std::string, Shape> got;
    for (const auto& [name, stored] : file.tensors) {
        got[name] = stored.shape;
        CHECK(stored.dtype == "F32");
    }
    CHECK(got == wanted);
    // An Embedding's A is [num_embeddings, rank] here, and the other way round in the file.
    const Tensor A = net.state_dict().at("embed.lora.A");
    const Tensor stored = file.tensor(kPrefix + "embed.lora_embedding_A");
    for (int64_t token = 0; token < 11; token++)
        for (int64_t k = 0; k < 2; k++)
            CHECK(float(stored.at({k, token})) == float(A.at({token, k})));
}

TEST_CASE("save_adapter: every scaling is written so that PEFT comes to the same s") {
    struct Case {
        Scaling scaling;
        Json r, alpha, use_rslora, ranks, alphas;
    };
    // PEFT: s = lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora.
    const Case cases[] = {{Scaling::kAlphaOverRank, 4, 6, false, Json::Object{{"head", 1}},
                           Json::Object{{"fc1", 2.5}}},
                          {Scaling::kAlphaOverSqrtRank, 4, 6, true, Json::Object{{"head", 1}},
                           Json::Object{{"fc1", 2.5}}},
                          {Scaling::kAlpha, 4, 24, false, Json::Object{{"head", 1}},
                           Json::Object{{"fc1", 10}, {"head", 6}}}};  // 2.5 * 4, 6 * 1
    for (const Case& c : cases) {
        ScratchFolder folder;
        Rng rng(6);
        Net net(rng);
        const AdapterConfig config{.options = {.rank = 4, .alpha = 6, .scaling = c.scaling},
                                   .exclude_modules = {"encoder.fc1", "encoder.fc2"},
                                   .rank_pattern = {{"head", 1}},
                                   .alpha_pattern = {{"fc1", 2.5}}};
        const std::vector<AdaptedPlace> places = attach(net, config, rng);
        perturb_trained(net, rng);
        save_adapter(folder.path, config, places);
        const LoadedAdapter loaded = load_adapter(folder.path);
        CHECK(loaded.json.at("r", "") == c.r);
        CHECK(loaded.json.at("lora_alpha", "") == c.alpha);
        CHECK(loaded.json.at("use_rslora", "") == c.use_rslora);
        CHECK(loaded.json.at("rank_pattern", "") == c.ranks);
        CHECK(loaded.json.at("alpha_pattern", "") == c.alphas);
        for (const char* module : {"fc1", "head"})
            CHECK(options_for(loaded.config, module).scaling_factor() ==
                  doctest::Approx(options_for(config, module).scaling_factor()).epsilon(1e-15));
    }
}

TEST_CASE("save_adapter: PEFT's name of the initialisation, and null for a base without a name") {
    ScratchFolder folder;
    Rng rng(7);
    for (const InitA init : {InitA::kKaiming, InitA::kGaussian, InitA::kTutorial}) {
        MLP model(5, 7, 3, 2, rng);
        const AdapterConfig config{.options = {.rank = 2, .init = init}};
        save_adapter(folder.path, config, attach(model, config, rng));
        const LoadedAdapter loaded = load_adapter(folder.path);
        CHECK(loaded.json.at("init_lora_weights", "") ==
              (init == InitA::kGaussian ? Json("gaussian") : Json(true)));
        CHECK(loaded.json.at("base_model_name_or_path", "").is_null());
        CHECK((loaded.config.options.init == InitA::kGaussian) == (init == InitA::kGaussian));
    }
}

TEST_CASE("save_adapter: a magnitude per input is refused, and nothing is written") {
    ScratchFolder folder;
    Rng rng(8);
    for (const Method method : {Method::kDoRA, Method::kDoRAMerged}) {
        MLP model(5, 7, 3, 2, rng);
        const AdapterConfig config{.method = method, .options = tutorial_preset(2, 6)};
        const std::vector<AdaptedPlace> places = attach(model, config, rng);
        CHECK_ERROR(save_adapter(folder / "a", config, places), folder / "a", "layers.0",
                    "magnitude per input", "PEFT", "only the merged weight", "hint");
        CHECK(folder.names().empty());
    }
    // LoRA has no magnitudes, and an Embedding has one axis only.
    MLP model(5, 7, 3, 2, rng);
    const AdapterConfig lora{.options = tutorial_preset(2, 6)};
    save_adapter(folder / "a", lora, attach(model, lora, rng));
    Net net(rng);
    const AdapterConfig embed{
        .method = Method::kDoRA, .options = tutorial_preset(2, 6), .target_modules = {"embed"}};
    save_adapter(folder / "b", embed, attach(net, embed, rng));
    CHECK_ERROR(save_adapter(folder / "c", embed, {}), folder / "c", "no adapter");
}

TEST_CASE("save_adapter: a failed write is a sentence, and leaves the old file") {
    ScratchFolder folder;
    Rng rng(9);
    MLP model(5, 7, 3, 2, rng);
    const AdapterConfig config{.options = {.rank = 2, .alpha = 6}};
    const std::vector<AdaptedPlace> places = attach(model, config, rng);
    save_adapter(folder / "a", config, places);
    const std::string before = text_of(folder / "a/adapter_model.safetensors");
    perturb_trained(model, rng);
    std::filesystem::permissions(
        folder.path, std::filesystem::perms::others_all | std::filesystem::perms::owner_all);
    {
        const AsNobody nobody;
        if (!nobody.is_root)
            MESSAGE("not root: a part of this test did nothing");
        else
            CHECK_ERROR(save_adapter(folder / "a", config, places), folder / "a", "no permission");
    }
    if (geteuid() == 0) CHECK(text_of(folder / "a/adapter_model.safetensors") == before);
    write_file(folder / "file", {"in the way"});
    CHECK_ERROR(save_adapter(folder / "file", config, places), folder / "file", "folder is needed");
}

// ---- there and back
// ------------------------------------------------------------------------------

TEST_CASE("an adapter that is saved and attached to the same base gives the same answers") {
    for (const Method method : {Method::kLoRA, Method::kDoRA, Method::kDoRAMerged})
        for (const Scaling scaling :
             {Scaling::kAlpha, Scaling::kAlphaOverRank, Scaling::kAlphaOverSqrtRank})
            for (const BiasTraining bias :
                 {BiasTraining::kNone, BiasTraining::kAll, BiasTraining::kLoRAOnly}) {
                ScratchFolder folder;
                Rng rng(10);
                Net net(rng);
                save_parameters(net, folder / "base");
                const AdapterConfig config{.method = method,
                                           .options = {.rank = 2, .alpha = 3, .scaling = scaling},
                                           .target_modules = {"embed", "encoder.fc1", "head"},
                                           .rank_pattern = {{"head", 1}},
                                           .alpha_pattern = {{"encoder.fc1", 5}},
                                           .bias = bias};
                const std::vector<AdaptedPlace> places = attach(net, config, rng);
                perturb_trained(net, rng);
                save_adapter(folder / "a", config, places);
                const Tensor want = net.answer();

                Net other(rng);
                load_parameters(other, folder / "base");
                const LoadedAdapter loaded = load_adapter(folder / "a");
                CHECK(loaded.notes.empty());
                CHECK(loaded.config.bias == bias);
                CHECK(loaded.layers.size() == 3);
                CHECK(attach_adapter(other, loaded, rng).size() == places.size());
                // kAlphaOverRank and kAlpha divide and multiply by a rank of 1 or 2: exact.
                if (method == Method::kDoRAMerged)
                    check_close(other.answer(), want, 1e-4, 1e-5);
                else
                    check_answers(other.answer(), want);
                CHECK(trainable_report(other) == trainable_report(net));

                // What is loaded and saved again is the same folder.
                Net third(rng);
                save_adapter(folder / "again", loaded.config, attach_adapter(third, loaded, rng));
                for (const char* name : {"adapter_config.json", "adapter_model.safetensors"})
                    CHECK(text_of(folder / "a/" + name) == text_of(folder / "again/" + name));
            }
}

TEST_CASE("save_adapter: trained biases have PEFT's names") {
    for (const BiasTraining bias :
         {BiasTraining::kNone, BiasTraining::kAll, BiasTraining::kLoRAOnly}) {
        ScratchFolder folder;
        Rng rng(11);
        Net net(rng);
        const AdapterConfig config{.options = {.rank = 2},
                                   .target_modules = {"encoder.fc1", "head", "embed"},
                                   .bias = bias};
        save_adapter(folder.path, config, attach(net, config, rng));
        Names biases;
        for (const auto& [name, stored] :
             read_safetensors(folder / "adapter_model.safetensors").tensors)
            if (name.ends_with("bias")) biases.push_back(name);
        const Names all{kPrefix + "encoder.fc1.base_layer.bias", kPrefix + "encoder.fc2.bias",
                        kPrefix + "fc1.bias"};  // head has none
        CHECK(biases == (bias == BiasTraining::kAll    ? all
                         : bias == BiasTraining::kNone ? Names{}
                                                       : Names{all[0]}));
    }
}

TEST_CASE(
    "save_adapter: names that are the last part of others are written so that they stay apart") {
    ScratchFolder folder;
    Rng rng(12);
    Net net(rng), other(rng);
    other.load_state_dict(net.state_dict());
    // fc1 alone, and not encoder.fc1: in a list, "fc1" would be both.
    const AdapterConfig one{.options = {.rank = 2, .alpha = 6}, .target_pattern = "fc1|head"};
    const std::vector<AdaptedPlace> places = attach(net, one, rng);
    perturb_trained(net, rng);
    save_adapter(folder / "one", one, places);
    const LoadedAdapter loaded = load_adapter(folder / "one");
    CHECK(loaded.json.at("target_modules", "") == Json("fc1|head"));
    attach_adapter(other, loaded, rng);
    check_answers(other.answer(), net.answer());

    // Both, of different ranks: a key "fc1" would be both.
    Net third(rng), fourth(rng);
    fourth.load_state_dict(third.state_dict());
    const AdapterConfig both{.options = {.rank = 3},
                             .exclude_pattern = "encoder\\.fc2",
                             .rank_pattern = {{"encoder.fc1", 1}, {"fc1", 2}}};
    const std::vector<AdaptedPlace> both_places = attach(third, both, rng);
    perturb_trained(third, rng);
    save_adapter(folder / "both", both, both_places);
    const LoadedAdapter loaded_both = load_adapter(folder / "both");
    CHECK(loaded_both.json.at("rank_pattern", "") ==
          Json(Json::Object{{"^fc1", 2}, {"encoder.fc1", 1}}));
    CHECK(loaded_both.json.at("target_modules", "") == Json("encoder\\.fc1|fc1|head"));
    attach_adapter(fourth, loaded_both, rng);
    check_answers(fourth.answer(), third.answer());
}

TEST_CASE("add_adapter: one more beside others, of one base") {
    Rng rng(13);
    Net net(rng);
    const Tensor base = net.answer();
    Adapters adapters(net);
    adapters.add("own", {.options = {.rank = 1}}, rng);
    perturb_trained(net, rng);
    const Tensor own = net.answer();
    const Folder folder;
    add_adapter(adapters, "loaded", folder.load(), rng);
    CHECK(adapters.active() == "loaded");
    const Tensor loaded = net.answer();
    CHECK(largest_difference(loaded, base) > 0.01);
    adapters.activate("own");
    CHECK(same_bits(net.answer(), own));
    adapters.disable();
    attach_adapter(net, folder.load(), rng);
    CHECK(same_bits(net.answer(), loaded));
}

// ---- reading what PEFT writes
// --------------------------------------------------------------------

TEST_CASE("load_adapter: what is absent has PEFT's default, and what is there is used") {
    Folder folder;
    const LoadedAdapter plain = folder.load();
    CHECK(plain.notes.empty());
    CHECK(plain.config.method == Method::kLoRA);
    CHECK(plain.config.options.rank == 2);
    CHECK(plain.config.options.alpha == 6);
    CHECK(plain.config.options.scaling == Scaling::kAlphaOverRank);
    CHECK(plain.config.options.dropout == 0);
    CHECK(plain.config.options.axis == Axis::kOut);
    CHECK(plain.config.bias == BiasTraining::kNone);
    CHECK(plain.config.target_modules == Names{"encoder.fc1", "head"});
    CHECK(plain.layers.size() == 2);
    CHECK(plain.layers[0].module == "encoder.fc1");
    CHECK(!plain.layers[0].is_embedding);

    folder.config.erase("lora_alpha");
    CHECK(folder.load().config.options.alpha == 8);
    folder.config["lora_alpha"] = 2.5;
    folder.config["lora_dropout"] = 0.125;
    folder.config["use_rslora"] = true;
    folder.config["init_lora_weights"] = "gaussian";
    folder.config["rank_pattern"] = Json();
    folder.config["alpha_pattern"] = Json::Object{{"fc1", 7}};
    folder.config["exclude_modules"] = Json::List{"fc2"};
    folder.config["target_modules"] = "encoder.*|head";
    const AdapterConfig config = folder.load().config;
    CHECK(config.options.alpha == 2.5);
    CHECK(config.options.dropout == 0.125);
    CHECK(config.options.scaling == Scaling::kAlphaOverSqrtRank);
    CHECK(config.options.init == InitA::kGaussian);
    CHECK(config.target_modules.empty());
    CHECK(config.target_pattern == "encoder.*|head");
    CHECK(config.exclude_modules == Names{"fc2"});
    CHECK(options_for(config, "encoder.fc1").alpha == 7);
    Rng rng(14);
    Net net(rng);
    CHECK(attach_adapter(net, folder.load(), rng).size() == 2);

    folder.config["exclude_modules"] = "encoder\\.fc2";
    Net other(rng);
    CHECK(attach_adapter(other, folder.load(), rng).size() == 2);
    folder.config["target_modules"] = "all-linear";
    CHECK(folder.load().config.target_modules == Names{"all-linear"});
    CHECK(folder.load().config.target_pattern.empty());
}

TEST_CASE(
    "load_adapter: PEFT's other keys do not matter while they are off; unknown ones are noted") {
    Folder folder;
    for (const char* key :
         {"alora_invocation_tokens", "arrow_config", "auto_mapping", "corda_config", "eva_config",
          "exclude_modules", "layer_replication", "layers_pattern", "layers_to_transform",
          "megatron_config", "modules_to_save", "revision", "target_parameters", "task_type",
          "trainable_token_indices", "runtime_config", "some_new_config"})
        folder.config[key] = Json();
    for (const char* key : {"fan_in_fan_out", "lora_bias", "use_qalora", "ensure_weight_tying"})
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
        {"layers_to_transform", 0},  // which is a layer's number, not "off"
        {"lora_bias", true},
        {"megatron_config", Json::Object{{"a", 1}}},
        {"modules_to_save", Json::List{"head"}},
        {"target_parameters", Json::List{"weight"}},
        {"trainable_token_indices", Json::List{1}},
        {"use_bdlora", true},
        {"use_qalora", true}};
    for (const auto& [key, value] : lacking) {
        Folder folder;
        folder.config[key] = value;
        check_refused(folder, {"adapter_config.json: " + key, value.dump(-1), "slimgrad does not"});
    }
    // These initialisations change the base's weights: the adapter is not for the original base.
    for (const char* init : {"pissa", "pissa_niter_16", "olora", "loftq", "corda", "novel"}) {
        Folder folder;
        folder.config["init_lora_weights"] = init;
        check_refused(folder, {"init_lora_weights", init, "base's weights", "hint"});
    }
    for (const Json& init : {Json(true), Json(false), Json("eva"), Json("orthogonal")}) {
        Folder folder;
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
        {"target_modules", Json::List{"head", "fc7"}, {"\"fc7\"", "embed, encoder.fc1"}},
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
        Folder folder;
        folder.config[wrong.key] = wrong.value;
        check_refused(folder, wrong.words);
    }
    Folder folder;
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
    const auto refused = [&](const Folder& folder, const Names& words) {
        check_refused(folder, words);
    };
    {
        Folder f;
        f.file.tensors.erase(A);  // B tells that it should be there
        refused(f, {"missing tensor " + A});
    }
    {
        Folder f;
        f.file.tensors.erase(B);
        refused(f, {"missing tensor " + B});
    }
    {
        Folder f;  // a whole module is not there: only the model can tell
        f.file.tensors.erase(B);
        f.file.tensors.erase(kPrefix + "head.lora_A.weight");
        refused(f, {"missing tensor " + kPrefix + "head.lora_A.weight", "(2, 4)",
                    "the most similar is"});
    }
    {
        Folder f;  // too many modules
        f.put("encoder.fc3.lora_A.weight", ones({2, 5}));
        f.put("encoder.fc3.lora_B.weight", ones({7, 2}));
        f.put("head.lora_A.weight", ones({2, 4}));
        refused(f, {"unexpected tensor " + kPrefix + "encoder.fc3.lora_A.weight",
                    "does not call for it", "the most similar is " + A});
    }
    for (const char* name :
         {"encoder.fc1.lora_A.default.weight", "encoder.fc1.lora_C.weight", "encoder.fc1.lora_A",
          "encoder.fc1.weight", "encoder.fc1.bias", "encoder.fc1.base_layer.bias"}) {
        Folder f;
        f.put(name, ones({2}));
        refused(f, {"unexpected tensor " + kPrefix + name, "the most similar is"});
    }
    for (const char* name : {"lora_A.weight", "base_model.encoder.fc1.lora_A.weight",
                             "base_model.model.lora_A.weight", "base_model.model..lora_A.weight"}) {
        Folder f;
        f.file.tensors[name] = store(one, "F32");
        refused(f, {name, "tensor"});
    }
    for (const Shape& shape :
         {Shape{5, 2}, Shape{2, 6}, Shape{10}, Shape{2, 5, 1}, Shape{0, 5}, Shape{}}) {
        Folder f;
        f.put("encoder.fc1.lora_A.weight", ones(shape));
        refused(f, {A, "has shape " + to_text(shape)});
    }
    for (const Shape& shape : {Shape{2, 2}, Shape{2, 7}, Shape{8, 2}, Shape{7}}) {
        Folder f;
        f.put("encoder.fc1.lora_B.weight", ones(shape));
        refused(f, {"encoder.fc1.lora_B.weight has shape " + to_text(shape)});
    }
    {
        Folder f;
        f.file.tensors.clear();
        refused(f, {"adapter_model.safetensors", "no adapter"});
    }
    {
        Folder f;
        f.file.tensors[A] = {"I32", {2, 5}, Bytes(40)};
        refused(f, {A, "I32"});
    }
}

TEST_CASE("load_adapter: magnitudes and use_dora belong together") {
    {
        Folder folder(true);
        folder.config["use_dora"] = false;
        check_refused(folder,
                      {"lora_magnitude_vector", "use_dora is false", "PEFT would load it as LoRA"});
        folder.config.erase("use_dora");
        check_refused(folder, {"lora_magnitude_vector", "use_dora"});
    }
    Folder folder(true);
    folder.file.tensors.erase(kPrefix + "head.lora_magnitude_vector");
    check_refused(folder, {"missing tensor", "head.lora_magnitude_vector", "(2)"});
    folder.put("head.lora_magnitude_vector", ones({4}));  // one per input
    check_refused(folder, {"head.lora_magnitude_vector", "(4)", "(2)"});
    folder.put("head.lora_magnitude_vector", ones({2}));
    folder.put("fc1.lora_magnitude_vector", ones({4}));
    check_refused(folder, {"unexpected tensor", "fc1.lora_magnitude_vector"});
}

TEST_CASE("load_adapter: biases must be all there; those that PEFT forgets are noted") {
    Folder folder;
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
    Folder folder;
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
    Folder folder(true);
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
            CHECK(double(got.at({0, d})) == doctest::Approx(want).epsilon(1e-5));
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
    const Folder folder;
    folder.write();
    std::filesystem::remove(folder.path + "/adapter_model.safetensors");
    CHECK_ERROR(load_adapter(folder.path), "adapter_model.safetensors", "no such file");
    write_file(folder.path + "/adapter_model.bin", {"PK"});
    CHECK_ERROR(load_adapter(folder.path), folder.path, "adapter_model.bin", "pickle", "hint");
}

TEST_CASE("load_adapter: files cut off at any byte, and configurations with any byte changed") {
    Folder folder(true);
    folder.config["rank_pattern"] = Json::Object{{"he.*", 2}};
    folder.write();
    const std::string config_path = folder.path + "/adapter_config.json";
    const std::string tensor_path = folder.path + "/adapter_model.safetensors";
    const std::string config = text_of(config_path), tensors = text_of(tensor_path);
    for (size_t n = 0; n < config.size(); n++) {
        overwrite(config_path, std::string_view(config).substr(0, n));
        CHECK_ERROR(load_adapter(folder.path), config_path);
    }
    // Any other byte may still be a valid configuration, but never a crash.
    for (size_t n = 0; n < config.size(); n++)
        for (const char byte : {'\0', '"', '{', '9', '-', '\x80', char(config[n] ^ 1)}) {
            std::string changed = config;
            changed[n] = byte;
            overwrite(config_path, changed);
            try {
                load_adapter(folder.path);
            } catch (const Error& e) {
                CHECK(std::string(e.what()).find("adapter_") != std::string::npos);
            }
        }
    overwrite(config_path, config);
    for (size_t n = 0; n < tensors.size(); n++) {
        overwrite(tensor_path, std::string_view(tensors).substr(0, n));
        CHECK_ERROR(load_adapter(folder.path), tensor_path);
    }
}

// ---- merging files
// -------------------------------------------------------------------------------

TEST_CASE("merge_into: the same weights as merging the modules, for all kinds of adapters") {
    for (const Method method : {Method::kLoRA, Method::kDoRA})
        for (const BiasTraining bias : {BiasTraining::kNone, BiasTraining::kAll}) {
            ScratchFolder folder;
            Rng rng(19);
            Net net(rng);
            save_parameters(net, folder / "base");
            const AdapterConfig config{.method = method,
                                       .options = {.rank = 3, .alpha = 2},
                                       .target_modules = {"embed", "fc1"},
                                       .rank_pattern = {{"encoder.fc1", 1}},
                                       .alpha_pattern = {{"embed", 5}},
                                       .bias = bias};
            Adapters adapters(net);
            adapters.add("a", config, rng);
            perturb_trained(net, rng);
            save_adapter(folder / "a", config, adapters.places("a"));
            adapters.merge();

            const TensorFile base = read_safetensors(folder / "base");
            const TensorFile merged = merge_into(base, load_adapter(folder / "a"));
            CHECK(merged.metadata.at("format") == "pt");
            CHECK(merged.tensors.size() == base.tensors.size());
            for (const auto& entry : net.state_dict()) {
                const auto& [name, tensor] = entry;
                INFO(entry.first);
                CHECK(merged.stored(name).dtype == kRealDtype);
                check_answers(merged.tensor(name), tensor);
                const bool same = merged.stored(name).bytes == base.stored(name).bytes;
                const bool is_other = name.starts_with("encoder.fc2.") || name == "head.weight";
                CHECK(same == (name.ends_with("bias") ? bias == BiasTraining::kNone : is_other));
            }
            write_safetensors(folder / "merged", merged);
            Net plain(rng);
            load_parameters(plain, folder / "merged");
            check_answers(plain.answer(), net.answer());
        }
}

TEST_CASE("merge_into: a row of zeros under DoRA stays finite") {
    Folder folder(true);
    TensorFile base;
    Tensor W = ones({7, 5}), head = ones({2, 4});
    std::fill_n(W.mutable_data() + 5, 5, real(0));
    base.tensors["encoder.fc1.weight"] = store(W);
    base.tensors["head.weight"] = store(head);
    Tensor B = ones({7, 2});
    std::fill_n(B.mutable_data() + 2, 2, real(0));
    folder.put("encoder.fc1.lora_B.weight", B);
    const Tensor merged = merge_into(base, folder.load()).tensor("encoder.fc1.weight");
    for (int64_t j = 0; j < 5; j++) CHECK(merged.at({1, j}) == 0);
    for (real v : merged.to_vector()) CHECK(std::isfinite(v));
}

TEST_CASE("merge_into: 16-bit weights become F32, and what is not adapted stays to the byte") {
    const Folder folder;
    TensorFile base;
    base.metadata = {{"author", "me"}};
    base.tensors["encoder.fc1.weight"] = {"BF16", {7, 5}, Bytes(70)};  // zeros
    base.tensors["head.weight"] = store(zeros({2, 4}), "F64");
    base.tensors["other"] = {"F16", {3}, {1, 2, 3, 4, 5, 6}};
    base.tensors["ids"] = store(std::vector<int64_t>{1, 2});
    const LoadedAdapter adapter = folder.load();
    const TensorFile merged = merge_into(base, adapter);
    CHECK(merged.stored("encoder.fc1.weight").dtype == "F32");
    CHECK(merged.stored("head.weight").dtype == "F64");
    CHECK(merged.stored("other").bytes == base.stored("other").bytes);
    CHECK(merged.stored("ids").bytes == base.stored("ids").bytes);
    CHECK(merged.metadata.at("author") == "me");
    // Zero plus s B A, with s = 6 / 2.
    const Tensor want = 3 * matmul(adapter.B({"head", false}), adapter.A({"head", false}));
    check_close(merged.tensor("head.weight"), want, 1e-6, 1e-6);
}

TEST_CASE("merge_into: another base, and what is not finite, are refused") {
    const Folder folder;
    TensorFile base;
    base.path = "base.safetensors";
    base.tensors["encoder.fc1.weight"] = store(ones({7, 5}));
    base.tensors["head.weigth"] = store(ones({2, 4}));
    CHECK_ERROR(merge_into(base, folder.load()), "base.safetensors", "head.weight", folder.path,
                "the most similar is head.weigth");
    base.tensors["head.weight"] = store(ones({4, 2}));
    CHECK_ERROR(merge_into(base, folder.load()), "base.safetensors", "head.weight", "(4, 2)",
                "(2, 4)");
    base.tensors["head.weight"] = {"I64", {2, 4}, Bytes(64)};
    CHECK_ERROR(merge_into(base, folder.load()), "head.weight", "I64");
    for (const double poison :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        base.tensors["head.weight"] = store(full({2, 4}, poison));
        CHECK_ERROR(merge_into(base, folder.load()), folder.path, "head.weight", "not finite");
        base.tensors["head.weight"] = store(ones({2, 4}));
        for (const char* name : {"head.lora_A.weight", "head.lora_B.weight"}) {
            Folder spoiled;
            spoiled.put(name, full(spoiled.file.tensors.at(kPrefix + name).shape, poison));
            CHECK_ERROR(merge_into(base, spoiled.load()), "head.weight", "not finite");
        }
    }
    Folder bias;
    bias.config["bias"] = "all";
    bias.put("fc1.bias", full({4}, std::numeric_limits<double>::quiet_NaN()));
    base.tensors["fc1.bias"] = store(ones({4}));
    CHECK_ERROR(merge_into(base, bias.load()), "fc1.bias", "not finite");
    bias.put("fc1.bias", ones({4}));
    base.tensors["fc1.bias"] = store(ones({5}));
    CHECK_ERROR(merge_into(base, bias.load()), "fc1.bias", "(5)", "(4)");
    base.tensors["fc1.bias"] = store(zeros({4}));
    CHECK(merge_into(base, bias.load()).tensor("fc1.bias").to_vector() == std::vector<real>(4, 1));
}

// ---- reports
// -------------------------------------------------------------------------------------

TEST_CASE("describe_adapter: the configuration, every tensor and every module") {
    Folder folder(true);
    folder.config["alpha_pattern"] = Json::Object{{"head", 5}};
    folder.config["novelty"] = 1;
    folder.put("head.lora_A.weight", tensor({1, 2, 0, 0, 0, 0, 0, 0}, {2, 4}));
    folder.put("head.lora_B.weight", tensor({3, 0, 4, 0}, {2, 2}));
    folder.put("head.lora_magnitude_vector", tensor({1.5, 0.25}));
    // A has norm sqrt(5), B has 5, and B A, of rank 1, 5 sqrt(5); s = 5 / 2.
    check_words(
        describe_adapter(folder.load()),
        {folder.path + ": DoRA on 2 modules, 6 tensors, trainable params: 45\n",
         "\"lora_alpha\": 6",
         "head.lora_A.weight                               (2, 4)         F32        2.23607\n",
         "head.lora_B.weight                               (2, 2)         F32              5\n",
         "head.lora_magnitude_vector                       (2)            F32        1.52069\n",
         "\nhead                                  2        5      2.5      27.9508  0.25 to 1.5\n",
         "\nencoder.fc1                           2        6        3", "note: ", "novelty"});
}

TEST_CASE("check_adapter: what PEFT would do, and a tensor that is not finite") {
    Folder folder(true);
    folder.file.metadata.clear();
    check_words(check_adapter(folder.load()),
                {"DoRA on 2 modules", "PeftModel.from_pretrained(base, \"" + folder.path + "\")",
                 "metadata", "all zeros is NaN in PEFT"});
    Folder plain;
    const std::string text = check_adapter(plain.load());
    for (const char* word : {"metadata", "NaN", "bias", "dropout", "padding", "16-bit"})
        CHECK(text.find(word) == std::string::npos);
    plain.config["bias"] = "lora_only";
    check_words(check_adapter(plain.load()), {"note: ", "peft#3306"});
    plain.put("encoder.fc1.base_layer.bias", ones({7}));
    check_words(check_adapter(plain.load()), {"leaves them out", "does not put those back"});

    Folder embed;
    embed.config["lora_dropout"] = 0.1;
    embed.config["target_modules"] = Json::List{"embed"};
    embed.file.tensors.clear();
    embed.put("embed.lora_embedding_A", ones({2, 11}));
    embed.file.tensors[kPrefix + "embed.lora_embedding_B"] = {"F16", {5, 2}, Bytes(20)};
    check_words(check_adapter(embed.load()), {"ignores lora_dropout on an Embedding", "16-bit"});

    folder.put("head.lora_magnitude_vector",
               tensor({1, real(std::numeric_limits<double>::quiet_NaN())}));
    CHECK_ERROR(check_adapter(folder.load()), folder.path, "head.lora_magnitude_vector",
                "element 1", "nan", "finite");
}

TEST_CASE("compare_adapters: nothing for equals, else each key and tensor that differs") {
    Folder a, b;
    CHECK(compare_adapters(a.load(), b.load()).empty());
    CHECK(compare_adapters(a.load(), a.load()).empty());
    a.put("head.lora_A.weight", tensor({3, 4, 0, 0, 0, 0, 0, 0}, {2, 4}));
    b.put("head.lora_A.weight", tensor({3, 4, 0, 0, 0, -0.5, 0, 0}, {2, 4}));
    b.config["lora_alpha"] = 7;
    b.config["bias"] = "none";
    b.config["target_modules"] = Json::List{"encoder.fc1", "head", "embed"};
    b.put("embed.lora_embedding_A", ones({2, 11}));
    b.put("embed.lora_embedding_B", ones({5, 2}));
    b.put("encoder.fc1.lora_A.weight", ones({2, 6}));
    CHECK(compare_adapters(a.load(), b.load()) ==
          "bias: absent | \"none\"\n"
          "lora_alpha: 6 | 7\n"
          "target_modules: [\"encoder.fc1\",\"head\"] | [\"encoder.fc1\",\"head\",\"embed\"]\n"
          "embed.lora_embedding_A: only in " +
              b.path + "\n" + "embed.lora_embedding_B: only in " + b.path + "\n" +
              "encoder.fc1.lora_A.weight: (2, 5) | (2, 6)\n"
              "head.lora_A.weight: largest difference 0.5, relative 0.1\n");
}

// ---- an independent reader
// -----------------------------------------------------------------------

TEST_CASE("an independent reader computes the same logits, and what it writes is read") {
    if (std::system("/usr/bin/python3 -c 'import numpy' >/dev/null 2>&1") != 0) {
        MESSAGE("/usr/bin/python3 with numpy is not there, so this test did nothing");
        return;
    }
    ScratchFolder folder;
    const std::string log = folder / "log";
    const auto python = [&](const std::string& arguments) {
        const std::string command =
            "/usr/bin/python3 tests/python/peft_round_trip.py " + arguments + " >" + log + " 2>&1";
        const int status = std::system(command.c_str());
        INFO(command << "\n" << text_of(log));
        CHECK(status == 0);
    };
    Rng rng(20);
    MLP base(11, 7, 13, 5, rng);
    save_parameters(base, folder / "base");
    const Tensor x = random_tensor({17, 11}, rng, false);

    struct Run {
        const char* name;
        Method method;
        Scaling scaling;
        BiasTraining bias;
    };
    const Run runs[] = {{"lora", Method::kLoRA, Scaling::kAlphaOverRank, BiasTraining::kNone},
                        {"tutorial", Method::kLoRA, Scaling::kAlpha, BiasTraining::kLoRAOnly},
                        {"rslora", Method::kLoRA, Scaling::kAlphaOverSqrtRank, BiasTraining::kAll},
                        {"dora", Method::kDoRA, Scaling::kAlphaOverRank, BiasTraining::kNone},
                        {"rsdora", Method::kDoRA, Scaling::kAlphaOverSqrtRank, BiasTraining::kAll}};
    for (const Run& run : runs) {
        MLP model(11, 7, 13, 5, rng);
        model.load_state_dict(base.state_dict());
        const AdapterConfig config{.method = run.method,
                                   .options = {.rank = 3, .alpha = 2, .scaling = run.scaling},
                                   .target_modules = {"layers.0", "4"},
                                   .rank_pattern = {{"layers.4", 2}},
                                   .alpha_pattern = {{"0", 3}},
                                   .bias = run.bias};
        const std::vector<AdaptedPlace> places = attach(model, config, rng);
        perturb_trained(model, rng);
        save_adapter(folder / run.name, config, places, "base");
        NoGrad no_grad;
        TensorFile io;
        io.tensors = {{"x", store(x)}, {"logits", store(model(x))}};
        write_safetensors(folder / "io", io);
        python("check " + folder / run.name + " " + folder / "base" + " " + folder / "io");
        MESSAGE(text_of(log));
    }
    for (const std::string method : {"lora", "dora", "rslora"}) {
        const std::string from = folder / ("python_" + method);
        python("write " + from + " " + folder / "base" + " " + folder / "io" + " " + method);
        MLP model(11, 7, 13, 5, rng);
        model.load_state_dict(base.state_dict());
        const LoadedAdapter loaded = load_adapter(from);
        CHECK(loaded.notes.empty());
        attach_adapter(model, loaded, rng);
        model.eval();
        NoGrad no_grad;
        const Tensor want = read_safetensors(folder / "io.out").tensor("logits");
        CHECK(largest_difference(base(x), want) > 0.01);
        check_close(model(x), want, 1e-5, kDouble ? 1e-12 : 1e-5);
        MESSAGE(method << " from Python: largest difference "
                       << largest_difference(model(x), want));
    }
}

// ---- the program
// ---------------------------------------------------------------------------------

TEST_CASE("build/adapter: inspect, check, diff and merge; bad input is one sentence and status 1") {
    char self[4096];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self);
    REQUIRE(length > 0);
    const std::string program =
        std::filesystem::path(std::string(self, size_t(length))).parent_path() / "adapter";
    if (!file_exists(program)) {
        MESSAGE(program << " is not there, so this test did nothing. hint: make all");
        return;
    }
    const Folder folder;
    folder.write();
    const ScratchFolder& scratch = folder.scratch;
    const auto run = [&](const std::string& arguments, int wanted) {
        const std::string out = scratch / "out", err = scratch / "err";
        const int status =
            std::system((program + " " + arguments + " >" + out + " 2>" + err).c_str());
        INFO(arguments << "\n" << text_of(out) << text_of(err));
        CHECK(WEXITSTATUS(status) == wanted);
        const std::string error = text_of(err);
        CHECK(std::count(error.begin(), error.end(), '\n') == wanted);  // a sentence, or nothing
        return text_of(wanted == 0 ? out : err);
    };
    check_words(run("inspect " + folder.path, 0), {"LoRA on 2 modules", "head.lora_A.weight"});
    check_words(run("check " + folder.path, 0), {"PeftModel.from_pretrained"});
    CHECK(run("diff " + folder.path + " " + folder.path, 0) == "no difference\n");

    Rng rng(21);
    Net net(rng);
    save_parameters(net, scratch / "base");
    const std::string merge = "merge " + folder.path + " --base " + scratch / "base" + " --out ";
    check_words(run(merge + scratch / "merged", 0),
                {"encoder.fc1.weight: merged\n", "head.weight: merged\n", "8 tensors"});
    Net adapted(rng), merged(rng);
    adapted.load_state_dict(net.state_dict());
    attach_adapter(adapted, load_adapter(folder.path), rng);
    load_parameters(merged, scratch / "merged");
    check_close(merged.answer(), adapted.answer(), 1e-4, 1e-5);

    check_words(run("", 1), {"inspect, check", "--help"});
    check_words(run("inspect", 1), {"--help"});
    check_words(run("inspect a b", 1), {"2 folders"});
    check_words(run("explode " + folder.path, 1), {"\"explode\""});
    check_words(run("inspect " + scratch / "none", 1), {"none/adapter_config.json"});
    check_words(run("merge " + folder.path, 1), {"--base", "--out"});
    check_words(run(merge + scratch / "base", 1), {"replace the base"});
    check_words(run(merge + "/dev/full", 1), {"/dev/full", "no space"});
    check_words(run("--explode", 1), {"--explode"});
}

}  // namespace slim
