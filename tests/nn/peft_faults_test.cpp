// Adapter folders: what is written is read again, and folders as PEFT's users have them.
#include <cstring>

#include "nn/sequential.h"
#include "tests/nn/adapter_folder.h"

namespace slim {

using Ids = std::vector<int>;

// ---- what is written is read --------------------------------------------------------------------

TEST_CASE("fault: what save_adapter writes, attach_adapter accepts: many layers, exclusions") {
    ScratchFolder folder;
    Rng rng(10);
    const auto make = [&] {
        std::vector<ModulePtr> layers;
        for (int i = 0; i < 300; i++) layers.push_back(linear(2, 2, rng));
        return std::make_shared<Sequential>(layers);
    };
    auto model = make(), other = make();
    other->load_state_dict(model->state_dict());
    const AdapterSet adapters =
        attach(*model, {.rank = 1, .exclude_modules = {"7", "11"}}, rng);
    perturb_trained(*model, rng);
    save_adapter(folder.path, adapters);
    CHECK(attach_adapter(*other, load_adapter(folder.path), rng).places().size() == 298);
    const StateDict state = other->state_dict();
    for (const auto& [name, tensor] : model->state_dict()) check_answers(state.at(name), tensor);
}

TEST_CASE("fault: a name that is also the end of an Embedding's is written as that one name") {
    struct Inner : Module {
        ModulePtr fc;
        explicit Inner(Rng& rng) : fc(std::make_shared<Embedding>(4, 3, rng)) {}
        std::string name() const override { return "Inner"; }
        std::vector<Member> members() override { return {{"fc", fc}}; }
    };
    struct Outer : Module {
        ModulePtr fc, enc;
        explicit Outer(Rng& rng) : fc(linear(3, 3, rng)), enc(std::make_shared<Inner>(rng)) {}
        std::string name() const override { return "Outer"; }
        std::vector<Member> members() override { return {{"fc", fc}, {"enc", enc}}; }
    };
    ScratchFolder folder;
    Rng rng(11);
    Outer model(rng), other(rng);
    save_adapter(folder.path, attach(model, {.rank = 2}, rng));
    const LoadedAdapter loaded = load_adapter(folder.path);
    CHECK(loaded.json.at("target_modules", "") == Json("fc"));  // a pattern: the whole name
    CHECK(attach_adapter(other, loaded, rng).places().size() == 1);
}

TEST_CASE("fault: the file says what the layers are, whatever the configuration said") {
    ScratchFolder folder;
    Rng rng(12);
    Net net(rng), other(rng);
    other.load_state_dict(net.state_dict());
    AdapterSet adapters = attach(net, {.rank = 2, .alpha = 8}, rng);
    perturb_trained(net, rng);
    for (const AdaptedPlace& place : adapters.places()) {
        auto& lora = dynamic_cast<LinearAdapter&>(*place.adapted).lora;
        lora.config.scaling = Scaling::kAlpha;  // changed by hand
        lora.config.alpha = place.name == "head" ? 0.5 : 3;
        if (place.name == "fc1") lora.config.scaling = Scaling::kAlphaOverSqrtRank;
    }
    save_adapter(folder.path, adapters);
    attach_adapter(other, load_adapter(folder.path), rng);
    check_answers(other.answer(), net.answer());

    auto& head = dynamic_cast<LinearAdapter&>(*adapters.places().back().adapted);
    head.lora.config.dropout = 0.5;
    CHECK_ERROR(save_adapter(folder.path, adapters), folder.path, "head", "dropout", "one for all");
}

TEST_CASE("fault: a pair of files that does not belong together is noticed") {
    ScratchFolder folder;
    Rng rng(13);
    for (const auto& [name, alpha] : {std::pair("a", 8.0), {"b", 64.0}}) {
        Net net(rng);
        save_adapter(folder / name, attach(net, {.rank = 2, .alpha = alpha}, rng));
    }
    write_file(folder / "a/adapter_model.safetensors",
               {text_of(folder / "b/adapter_model.safetensors")});
    CHECK_ERROR(load_adapter(folder / "a"), folder / "a", "do not belong together",
                "lora_alpha is 8 in adapter_config.json", "64", "hint");
    // What does not change the meaning may be edited.
    Json config = parse_json(text_of(folder / "b/adapter_config.json"), "b");
    std::get<Json::Object>(config.value)["base_model_name_or_path"] = "elsewhere";
    write_file(folder / "b/adapter_config.json", {config.dump()});
    CHECK(load_adapter(folder / "b").config.alpha == 64);
}

// The state between the two renames of a save: both old files have a second name.
TEST_CASE("fault: after a save that was killed half way, loading gives the old adapter") {
    AdapterFolder old, next;
    next.config["lora_alpha"] = 60;
    old.write();
    next.write();
    const std::string digits = "0123456789abcdef";
    for (const char* name : {"/adapter_model.safetensors", "/adapter_config.json"})
        std::filesystem::copy_file(old.path + name, old.path + name + ".old" + digits);
    std::filesystem::copy_file(next.path + "/adapter_config.json",
                               old.path + "/adapter_config.json",
                               std::filesystem::copy_options::overwrite_existing);
    CHECK(load_adapter(old.path).config.alpha == 6);
}

TEST_CASE("fault: task_type is written and read") {
    ScratchFolder folder;
    Rng rng(14);
    Net net(rng);
    save_adapter(folder.path, attach(net, {.task_type = "SEQ_CLS"}, rng));
    const LoadedAdapter loaded = load_adapter(folder.path);
    CHECK(loaded.json.at("task_type", "") == Json("SEQ_CLS"));
    CHECK(loaded.config.task_type == "SEQ_CLS");
}

// ---- as PEFT's users have them ------------------------------------------------------------------

TEST_CASE("fault: modules_to_save: a head of its own is trained, saved, loaded and merged") {
    for (const Method method : {Method::kLoRA, Method::kDoRA}) {
        ScratchFolder folder;
        Rng rng(15);
        Net net(rng), other(rng);
        other.load_state_dict(net.state_dict());
        save_parameters(net, folder / "base");
        const Tensor base = net.answer();
        AdapterSet adapters = attach(net, {.method = method,
                                           .rank = 2,
                                           .modules_to_save = {"head", "encoder"}}, rng);
        CHECK(adapters.places().size() == 4);  // fc1 is adapted; the encoder's and head are copies
        CHECK(same_bits(net.answer(), base));
        for (const std::string name : {"head.weight", "encoder.fc1.bias", "encoder.fc2.weight"})
            CHECK(net.state_dict().at(name).requires_grad());
        perturb_trained(net, rng);
        const Tensor trained = net.answer();
        CHECK(largest_difference(trained, base) > 0.01);
        save_adapter(folder / "a", adapters);

        const LoadedAdapter loaded = load_adapter(folder / "a");
        CHECK(loaded.file.tensors.count(kPrefix + "head.weight") == 1);
        CHECK(loaded.file.tensors.count(kPrefix + "encoder.fc1.bias") == 1);
        CHECK(loaded.json.at("modules_to_save", "") ==
              Json(Json::List{"encoder.fc1", "encoder.fc2", "head"}));
        AdapterSet attached = attach_adapter(other, loaded, rng);
        check_answers(other.answer(), trained);
        CHECK(other.state_dict().at("head.weight").requires_grad());
        attached.disable();
        CHECK(same_bits(other.answer(), base));  // the base has its own head again

        adapters.merge_and_unload();
        const TensorFile merged =
            merge_into(read_safetensors(folder / "base"), load_adapter(folder / "a"));
        for (const auto& [name, tensor] : net.state_dict())
            check_answers(merged.tensor(name), tensor);
    }
    // PEFT lists names that a model may have; the ones that it has not are noted.
    AdapterFolder folder;
    folder.config["modules_to_save"] = Json::List{"score", "fc1x"};
    folder.put("score.weight", ones({2, 2}));
    const LoadedAdapter loaded = folder.load();
    REQUIRE(loaded.notes.size() == 1);
    check_words(loaded.notes[0], {"modules_to_save", "\"fc1x\""});
    Rng rng(16);
    Net net(rng);
    CHECK_ERROR(attach_adapter(net, loaded, rng), "unexpected tensor", "score.weight");
    struct Odd : Module {
        Tensor scale = ones({2});
        std::string name() const override { return "Odd"; }
        std::vector<Member> members() override { return {{"scale", scale}}; }
    };
    Sequential odd({linear(2, 2, rng), std::make_shared<Odd>()});
    CHECK_ERROR(attach(odd, {.modules_to_save = {"1"}}, rng), "modules_to_save", "Odd", "copied");
}

TEST_CASE("fault: the base's weight beside an adapter is compared with the base, and used") {
    Rng rng(17);
    Net net(rng), again(rng), third(rng);
    again.load_state_dict(net.state_dict());
    third.load_state_dict(net.state_dict());
    AdapterFolder folder;
    folder.config["target_modules"] = Json::List{"encoder.fc1", "head", "embed"};
    folder.put("embed.lora_embedding_A", normal({2, 11}, 0, 1, rng));
    folder.put("embed.lora_embedding_B", normal({5, 2}, 0, 1, rng));
    attach_adapter(net, folder.load(), rng);
    const Tensor want = net.answer();

    const StateDict base = again.state_dict();
    folder.put("embed.base_layer.weight", base.at("embed.weight"));
    folder.put("head.base_layer.weight", base.at("head.weight"));
    attach_adapter(again, folder.load(), rng);
    check_answers(again.answer(), want);

    const Tensor before = third.answer();
    folder.put("embed.base_layer.weight", base.at("embed.weight") + ones({11, 5}));
    folder.put("head.base_layer.weight", base.at("head.weight") + ones({2, 4}));
    AdapterSet adapters = attach_adapter(third, folder.load(), rng);
    CHECK(largest_difference(third.answer(), want) > 0.01);
    for (const AdaptedPlace& place : adapters.places()) {
        const Tensor own = place.adapter()->base()->state_dict().at("weight");
        const Tensor models = place.base->state_dict().at("weight");
        check_close(own - models, full(own.shape(), place.name == "encoder.fc1" ? 0 : 1), 1e-5,
                    1e-5);
    }
    adapters.disable();
    CHECK(same_bits(third.answer(), before));

    TensorFile file;
    for (const auto& [name, tensor] : base) file.tensors[name] = store(tensor);
    adapters.activate("default");
    adapters.merge_and_unload();
    const TensorFile merged = merge_into(file, folder.load());
    for (const auto& [name, tensor] : third.state_dict())
        check_close(merged.tensor(name), tensor, 1e-5, 1e-5);

    folder.put("embed.base_layer.weight", ones({12, 5}));
    CHECK_ERROR(folder.load(), "embed.base_layer.weight", "(12, 5)", "(11, 5)");
}

TEST_CASE("fault: DoRA on an Embedding with padding merges alike as a module and as a file") {
    ScratchFolder folder;
    Rng rng(21);
    Sequential model({std::make_shared<Embedding>(5, 3, rng, EmbeddingOptions{.padding_idx = 2})});
    copy_values(ones({5, 3}), dynamic_cast<Embedding&>(*model.layers[0]).weight);
    save_parameters(model, folder / "base");
    AdapterSet adapters =
        attach(model, {.method = Method::kDoRA, .rank = 2, .target_modules = {"0"}}, rng);
    perturb_trained(model, rng);
    save_adapter(folder / "a", adapters);
    const Ids ids{0, 1, 2, 3, 4};
    const Tensor looked_up = model.layers[0]->lookup(ids).detach();
    adapters.merge_and_unload();
    const Tensor merged = model.state_dict().at("0.weight");
    const TensorFile file =
        merge_into(read_safetensors(folder / "base"), load_adapter(folder / "a"));
    check_answers(file.tensor("0.weight"), merged);
    check_close(merged, looked_up, 1e-5, 1e-5);
}

TEST_CASE("fault: a loaded adapter starts with PEFT's detached norm gradient") {
    AdapterFolder folder(true);
    Rng rng(18);
    Net net(rng);
    for (const AdaptedPlace& place : attach_adapter(net, folder.load(), rng).places())
        CHECK(place.adapter()->config().norm_gradient == NormGradient::kDetached);
}

TEST_CASE("fault: names that PEFT's files do not have are said to be what they are") {
    const auto refused = [](const std::string& name, const Shape& shape, const Names& words) {
        AdapterFolder folder;
        folder.file.tensors[name] = store(ones(shape), "F32");
        check_words(error_of([&] { folder.load(); }), words);
    };
    refused(kPrefix + "fc1.lora_A.default.weight", {2, 3}, {"\"default\"", "save_pretrained"});
    refused(kPrefix + "fc1.lora_embedding_A.default", {2, 3}, {"\"default\"", "save_pretrained"});
    refused("fc1.lora_A.weight", {2, 3}, {"does not begin with base_model.model."});
    refused(kPrefix + "conv.lora_A.weight", {2, 3, 3, 3}, {"(2, 3, 3, 3)", "convolution"});
    refused(kPrefix + "conv.lora_B.weight", {8, 2, 1, 1}, {"convolution"});
    refused(kPrefix + "head.modules_to_save.default.weight", {2, 2}, {"in memory", "hint"});
}

TEST_CASE("fault: check, merge and attach say the same of targets that match nothing") {
    AdapterFolder folder;
    folder.config["target_modules"] = Json::List{"encoder.fc1", "head", "fc9"};
    CHECK_ERROR(folder.load(), "target_modules: \"fc9\" matches no module");  // all three load
    folder.config["target_modules"] = Json::List{"encoder.fc1"};
    CHECK_ERROR(folder.load(), "unexpected tensor", "head.lora_A.weight");
    folder.config["target_modules"] = Json::List{"encoder.fc1", "head"};
    folder.config["exclude_modules"] = Json::List{"head"};
    CHECK_ERROR(folder.load(), "unexpected tensor", "head.lora_A.weight");
    folder.config.erase("exclude_modules");
    folder.config["rank_pattern"] = Json::Object{{"fc9", 3}};
    folder.config["alpha_pattern"] = Json::Object{{"fc8", 3}};
    const Names notes = folder.load().notes;
    REQUIRE(notes.size() == 2);
    check_words(notes[0], {"rank_pattern: \"fc9\" matches no adapted module"});
    check_words(notes[1], {"alpha_pattern: \"fc8\" matches no adapted module"});

    // A module that the base has and the file has not: only the base tells.
    folder.config["target_modules"] = Json::List{"fc1", "head"};
    TensorFile base;
    base.tensors["encoder.fc1.weight"] = store(ones({7, 5}));
    base.tensors["fc1.weight"] = store(ones({4, 3}));
    base.tensors["head.weight"] = store(ones({2, 4}));
    Rng rng(19);
    Net net(rng);
    const std::string missing = "missing tensor " + kPrefix + "fc1.lora_A.weight";
    CHECK_ERROR(attach_adapter(net, folder.load(), rng), missing);
    CHECK_ERROR(merge_into(base, folder.load()), missing);
}

TEST_CASE("fault: PEFT's list for all-linear also names what it excluded or saved whole") {
    AdapterFolder folder;
    folder.config["target_modules"] = Json::List{"encoder.fc1", "encoder.fc2", "fc1", "head"};
    folder.config["exclude_modules"] = "encoder\\.fc2|fc.";
    Rng rng(20);
    Net net(rng);
    CHECK(attach_adapter(net, folder.load(), rng).places().size() == 2);

    folder.config["target_modules"] = Json::List{"encoder.fc1", "head", "score"};
    folder.config["exclude_modules"] = Json();
    CHECK_ERROR(folder.load(), "\"score\" matches no module");
    folder.config["modules_to_save"] = Json::List{"score"};
    folder.put("score.weight", ones({2, 4}));
    CHECK(folder.load().layers.size() == 2);
}

TEST_CASE("fault: copies of a saved module's biases are left aside, as PEFT does") {
    AdapterFolder folder;
    folder.config["bias"] = "all";
    folder.config["modules_to_save"] = Json::List{"score"};
    folder.put("score.weight", ones({2, 4}));
    folder.put("score.modules_to_save.bias", full({2}, 3));
    folder.put("score.original_module.bias", full({2}, 4));
    CHECK_ERROR(folder.load(), "score.modules_to_save.bias", "in memory");
    folder.put("score.bias", full({2}, 5));
    CHECK(folder.load().file.tensors.size() == 6);
}

TEST_CASE("fault: merging writes the base's dtype: BF16 stays BF16, and 3.1 in F64 stays 3.1") {
    AdapterFolder folder;
    folder.put("head.lora_B.weight", zeros({2, 2}));  // changes nothing
    TensorFile base;
    const double third = 3.1;
    Bytes bytes(8 * sizeof third);
    for (size_t i = 0; i < 8; i++) std::memcpy(&bytes[i * sizeof third], &third, sizeof third);
    base.tensors["head.weight"] = {"F64", {2, 4}, bytes};
    base.tensors["encoder.fc1.weight"] = store(ones({7, 5}), "F16");
    const TensorFile merged = merge_into(base, folder.load());
    CHECK(merged.stored("head.weight").bytes == bytes);
    CHECK(merged.stored("encoder.fc1.weight").dtype == "F16");
    base.tensors["encoder.fc1.weight"] = store(full({7, 5}, 65504), "F16");
    folder.put("encoder.fc1.lora_B.weight", full({7, 2}, 1e5));
    folder.put("encoder.fc1.lora_A.weight", ones({2, 5}));
    CHECK_ERROR(merge_into(base, folder.load()), "encoder.fc1.weight", "F16", "65504");
}

}  // namespace slim
