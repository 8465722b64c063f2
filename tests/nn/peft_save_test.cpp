// Adapters in files: what is written, to the byte.
#include "nn/sequential.h"
#include "tests/nn/adapter_folder.h"

namespace slim {

TEST_CASE("save_adapter: the two files that PEFT reads, to the byte") {
    ScratchFolder folder;
    Rng rng(5);
    Net net(rng);
    const AdapterConfig config{.method = Method::kDoRA,
                               .rank = 2, .alpha = 6, .dropout = 0.25,
                               .target_modules = {"fc2", "embed", "^fc1", "head"},
                               .rank_pattern = {{"head", 1}},
                               .alpha_pattern = {{"fc2", 1.5}}};
    AdapterConfig plain = config;
    plain.target_modules = {"fc2", "embed", "head"};
    const AdapterSet adapters = attach(net, plain, rng);
    perturb_trained(net, rng);
    save_adapter(folder / "a/b", adapters, "my/base");

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
  "modules_to_save": null,
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
    CHECK(file.metadata.at("format") == "pt");
    CHECK(file.metadata.at("slimgrad_config") ==
          R"({"alpha_pattern":{"encoder.fc2":1.5},"bias":"none","lora_alpha":6,)"
          R"("modules_to_save":null,"r":2,"rank_pattern":{"head":1},)"
          R"("target_modules":["embed","encoder.fc2","head"],"use_dora":true,"use_rslora":false})");
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
                          {Scaling::kAlpha, 4, 10, false, Json::Object{{"head", 1}},
                           Json::Object{{"head", 6}}}};  // 2.5 * 4, 6 * 1
    for (const Case& c : cases) {
        ScratchFolder folder;
        Rng rng(6);
        Net net(rng);
        const AdapterConfig config{.rank = 4, .alpha = 6, .scaling = c.scaling,
                                   .exclude_modules = {"encoder.fc1", "encoder.fc2"},
                                   .rank_pattern = {{"head", 1}},
                                   .alpha_pattern = {{"fc1", 2.5}}};
        const AdapterSet adapters = attach(net, config, rng);
        perturb_trained(net, rng);
        save_adapter(folder.path, adapters);
        const LoadedAdapter loaded = load_adapter(folder.path);
        CHECK(loaded.json.at("r", "") == c.r);
        CHECK(loaded.json.at("lora_alpha", "") == c.alpha);
        CHECK(loaded.json.at("use_rslora", "") == c.use_rslora);
        CHECK(loaded.json.at("rank_pattern", "") == c.ranks);
        CHECK(loaded.json.at("alpha_pattern", "") == c.alphas);
        for (const std::string module : {"fc1", "head"})
            CHECK(config_for(loaded.config, module).scaling_factor() ==
                  relative(config_for(config, module).scaling_factor(), 1e-15));
    }
}

TEST_CASE("save_adapter: PEFT's name of the initialisation, and null for a base without a name") {
    ScratchFolder folder;
    Rng rng(7);
    for (const InitA init : {InitA::kKaiming, InitA::kGaussian, InitA::kTutorial}) {
        MLP model(5, 7, 3, 2, rng);
        const AdapterConfig config{.rank = 2, .init = init};
        save_adapter(folder.path, attach(model, config, rng));
        const LoadedAdapter loaded = load_adapter(folder.path);
        CHECK(loaded.json.at("init_lora_weights", "") ==
              (init == InitA::kGaussian ? Json("gaussian") : Json(true)));
        CHECK(loaded.json.at("base_model_name_or_path", "").is_null());
        CHECK((loaded.config.init == InitA::kGaussian) == (init == InitA::kGaussian));
    }
}

TEST_CASE("save_adapter: a magnitude per input is refused, and nothing is written") {
    ScratchFolder folder;
    Rng rng(8);
    for (const Method method : {Method::kDoRA, Method::kDoRAMerged}) {
        MLP model(5, 7, 3, 2, rng);
        const AdapterConfig config = tutorial_preset(2, 6, method);
        const AdapterSet adapters = attach(model, config, rng);
        CHECK_ERROR(save_adapter(folder / "a", adapters), folder / "a", "layers.0",
                    "magnitude per input", "PEFT", "only the merged weight", "hint");
        CHECK(folder.names().empty());
    }
    // LoRA has no magnitudes, and an Embedding has one axis only.
    MLP model(5, 7, 3, 2, rng);
    const AdapterConfig lora = tutorial_preset(2, 6);
    save_adapter(folder / "a", attach(model, lora, rng));
    Net net(rng);
    AdapterConfig embed = tutorial_preset(2, 6, Method::kDoRA);
    embed.target_modules = {"embed"};
    save_adapter(folder / "b", attach(net, embed, rng));
    AdapterSet none(net);
    CHECK_ERROR(save_adapter(folder / "c", none), folder / "c", "no adapter is active");
}

TEST_CASE("save_adapter: a failed write is a sentence, and leaves the old file") {
    ScratchFolder folder;
    Rng rng(9);
    MLP model(5, 7, 3, 2, rng);
    const AdapterConfig config{.rank = 2, .alpha = 6};
    const AdapterSet adapters = attach(model, config, rng);
    save_adapter(folder / "a", adapters);
    const std::string before = text_of(folder / "a/adapter_model.safetensors");
    perturb_trained(model, rng);
    std::filesystem::permissions(
        folder.path, std::filesystem::perms::others_all | std::filesystem::perms::owner_all);
    {
        const AsNobody nobody;
        if (!nobody.is_root)
            MESSAGE("not root: a part of this test did nothing");
        else
            CHECK_ERROR(save_adapter(folder / "a", adapters), folder / "a", "no permission");
    }
    if (geteuid() == 0) CHECK(text_of(folder / "a/adapter_model.safetensors") == before);
    write_file(folder / "file", {"in the way"});
    CHECK_ERROR(save_adapter(folder / "file", adapters), folder / "file", "folder is needed");
}

}  // namespace slim
