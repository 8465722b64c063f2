// Sets of adapters on models that change, and the names that a configuration selects.
#include <chrono>

#include "nn/activation.h"
#include "nn/sequential.h"
#include "tests/nn/adapter_folder.h"

namespace slim {

// ---- a set of adapters on a model that changes --------------------------------------------------

TEST_CASE("fault: layers may be added to a model while an adapter is active") {
    Rng rng(1);
    Sequential model({linear(3, 3, rng), linear(3, 3, rng)});
    const std::vector<ModulePtr> base = model.layers;
    AdapterSet adapters = attach(model, {.rank = 2}, rng);
    for (int i = 0; i < 100; i++) model.layers.push_back(std::make_shared<Tanh>());  // moves all
    model.layers.insert(model.layers.begin(), linear(3, 3, rng));
    const ModulePtr front = model.layers[0];
    CHECK(adapters.places()[0].name == "1");
    CHECK(adapters.places()[1].name == "2");
    adapters.disable();
    CHECK((model.layers[0] == front && model.layers[1] == base[0] && model.layers[2] == base[1]));
    adapters.activate("default");
    CHECK((model.layers[0] == front && model.layers[1] != base[0] && model.layers[2] != base[1]));
    CHECK(model.layers.size() == 103);
}

TEST_CASE("fault: a module that its owner has exchanged stays, and cannot be saved with the rest") {
    Rng rng(2);
    Net net(rng);
    AdapterSet adapters = attach(net, {.rank = 2}, rng);
    const ModulePtr head = linear(4, 5, rng);
    net.head = head;
    ScratchFolder folder;
    CHECK_ERROR(save_adapter(folder.path, adapters), "head", "no longer in the model");
    adapters.merge();
    adapters.unmerge();
    adapters.disable();
    CHECK(net.head == head);
    CHECK(dynamic_cast<Linear*>(net.fc1.get()) != nullptr);
}

TEST_CASE("fault: an add() that fails leaves the active adapter as it was, merged or not") {
    for (const bool merged : {false, true}) {
        Rng rng(3);
        Net net(rng);
        AdapterSet adapters(net);
        adapters.add("a", {.rank = 2}, rng);
        perturb_trained(net, rng);
        if (merged) adapters.merge();
        const std::string before = snapshot(net);
        const Tensor answer = net.answer();
        CHECK_ERROR(adapters.add("b", {.target_modules = {"nothing"}}, rng), "\"nothing\"");
        CHECK_ERROR(adapters.add("a", {}, rng), "\"a\"", "must be new");
        CHECK(adapters.is_merged() == merged);
        CHECK(adapters.active() == "a");
        CHECK(snapshot(net) == before);
        CHECK(same_bits(net.answer(), answer));
        adapters.add("c", {.rank = 1}, rng);
        adapters.activate("a");
        CHECK(!adapters.is_merged());  // one that was switched off comes back unmerged
    }
}

TEST_CASE("fault: a set is moved, not copied") {
    static_assert(!std::is_copy_constructible_v<AdapterSet>);
    static_assert(!std::is_copy_assignable_v<AdapterSet>);
    Rng rng(4);
    Net net(rng);
    const Tensor base = net.answer();
    AdapterSet first = attach(net, {.rank = 2}, rng);
    perturb_trained(net, rng);
    AdapterSet second = std::move(first);
    second.disable();
    CHECK(same_bits(net.answer(), base));
}

TEST_CASE("fault: attaching twice says that the model is already adapted") {
    Rng rng(5);
    Net net(rng);
    attach(net, {.target_modules = {"head"}}, rng);
    const std::string before = snapshot(net);
    for (const Names& targets : {Names{"head"}, Names{"encoder.fc1"}, Names{"all-linear"}})
        CHECK_ERROR(attach(net, {.target_modules = targets}, rng), "head is already adapted",
                    "LinearWithLoRA", "hint");
    CHECK(snapshot(net) == before);
}

TEST_CASE("fault: what attach returns is merged and unmerged without attaching anew") {
    for (const Method method : {Method::kLoRA, Method::kDoRA, Method::kDoRAMerged}) {
        Rng rng(6);
        Net net(rng);
        AdapterSet adapters = attach(
            net, {.method = method, .target_modules = {"all-linear", "embed"}}, rng);
        perturb_trained(net, rng);
        const Tensor adapted = net.answer();
        CHECK(!adapters.is_merged());
        adapters.merge();
        CHECK(adapters.is_merged());
        for (const AdaptedPlace& place : adapters.places()) {
            CHECK(place.adapter()->is_merged());
            CHECK(place.adapter()->extra().ends_with("merged"));
        }
        check_close(net.answer(), adapted, kDouble ? 1e-12 : 1e-4, kDouble ? 1e-13 : 1e-5);
        adapters.unmerge();
        CHECK(!adapters.is_merged());
        CHECK(same_bits(net.answer(), adapted));

        adapters.merge();
        const Tensor merged = net.answer();
        adapters.merge_and_unload();  // plain modules, and no adapter
        CHECK(same_bits(net.answer(), merged));
        CHECK(adapters.names().empty());
        CHECK(dynamic_cast<Linear*>(net.fc1.get()) != nullptr);
        CHECK(dynamic_cast<Embedding*>(net.embed.get()) != nullptr);
        attach(net, {}, rng);
    }
    Rng rng(7);
    LinearWithLoRA layer(linear(3, 2, rng), {.rank = 2}, rng);  // a layer alone
    layer.merge_weights();
    CHECK(layer.is_merged());
    CHECK(layer.extra() == "merged");
    layer.unmerge_weights();
    CHECK(!layer.is_merged());
}

// ---- names --------------------------------------------------------------------------------------

TEST_CASE("fault: patterns, exclusions and modules to save that match nothing are errors") {
    Rng rng(8);
    Net net(rng);
    const auto refused = [&](const AdapterConfig& config, const char* key) {
        CHECK_ERROR(attach(net, config, rng), std::string(key), "\"fc9\"", "matches no");
    };
    refused({.rank_pattern = {{"fc9", 3}}}, "rank_pattern");
    refused({.alpha_pattern = {{"fc9", 3}}}, "alpha_pattern");
    refused({.exclude_modules = {"fc9"}}, "exclude_modules");
    refused({.exclude_pattern = "fc9"}, "exclude_modules");
    refused({.modules_to_save = {"fc9"}}, "modules_to_save");
    refused({.target_modules = {"fc1", "fc9"}}, "target_modules");
    // A pattern that another one hides has matched all the same.
    attach(net, {.rank_pattern = {{"fc.", 3}, {"fc1", 4}}}, rng);
}

TEST_CASE("fault: layers_to_transform selects layers by their number, as in PEFT") {
    Rng rng(9);
    const auto selects = [](const AdapterConfig& config, const std::string& name) {
        return ModuleSelector(config).selects(name, true);
    };
    const AdapterConfig any{.target_modules = {"fc1", "x.h.0.fc2"}, .layers_to_transform = {1, 12}};
    CHECK(selects(any, "model.layers.1.fc1"));
    CHECK(selects(any, "model.h.12.mlp.fc1"));
    CHECK(!selects(any, "model.layers.2.fc1"));
    CHECK(!selects(any, "layers.1.fc1"));   // PEFT wants something before the word
    CHECK(!selects(any, "model.layers.fc1"));
    CHECK(!selects(any, "model.layers.11.fc1"));
    CHECK(selects(any, "x.h.0.fc2"));       // a full name is not asked for its number
    CHECK(selects(any, "model.layers.1.experts.7.fc1"));  // the first number is the layer's
    CHECK(!selects(any, "model.layers.7.experts.1.fc1"));
    const AdapterConfig named{.target_modules = {"fc1"},
                              .layers_to_transform = {1},
                              .layers_pattern = {"h", "blocks?"}};
    CHECK(selects(named, "model.h.1.fc1"));
    CHECK(selects(named, "model.block.1.fc1"));
    CHECK(!selects(named, "model.layers.1.fc1"));
    CHECK(selects(named, "model.layers.7.h.1.fc1"));
    CHECK_ERROR(ModuleSelector({.target_pattern = "fc1", .layers_to_transform = {1}}),
                "layers_to_transform", "pattern");
    CHECK_ERROR(ModuleSelector({.target_modules = {"fc1"}, .layers_pattern = {"h"}}),
                "layers_pattern", "without layers_to_transform");

    AdapterFolder folder;
    folder.config["target_modules"] = Json::List{"fc1", "head"};
    folder.config["layers_to_transform"] = 0;
    CHECK_ERROR(folder.load(), "unexpected tensor", "encoder.fc1.lora_A.weight");
    folder.config["layers_to_transform"] = "0";
    CHECK_ERROR(folder.load(), "layers_to_transform", "whole number");
    folder.config["layers_to_transform"] = Json::List{0, 1};
    folder.config["target_modules"] = "head";
    CHECK_ERROR(folder.load(), "layers_to_transform", "pattern");
    folder.config["layers_to_transform"] = Json();
    folder.config["layers_pattern"] = "h";
    CHECK_ERROR(folder.load(), "layers_pattern", "without layers_to_transform");
}

TEST_CASE("fault: the time that a file's patterns take is bounded, and so are its names") {
    const auto start = std::chrono::steady_clock::now();
    AdapterFolder folder;
    folder.config["target_modules"] = "(((((((.*)*)*)*)*)*)*)*x";
    CHECK_ERROR(folder.load(), "unexpected tensor");
    folder.config["target_modules"] = "(a+)+b|encoder.fc1|head";
    folder.load();
    Json::Object patterns;
    for (int i = 0; i < 5000; i++)
        patterns["((((a|b)*)*|x" + std::to_string(i) + ")*)*(.*.*.*)*y"] = 3;
    folder.config["rank_pattern"] = patterns;
    for (int i = 0; i < 2000; i++)
        for (const char* end : {".lora_A.weight", ".lora_B.weight"})
            folder.put("encoder" + std::string(100, 'a') + std::to_string(i) + end, ones({2, 2}));
    folder.config["target_modules"] = ".*";
    CHECK_ERROR(folder.load(), "take too long", "hint");
    CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 20);

    for (const size_t length : {1000u, 60000u, 200000u}) {
        AdapterFolder long_name;
        long_name.config["rank_pattern"] = Json::Object{{"x", 3}};
        long_name.put(std::string(length, 'n') + ".lora_A.weight", ones({2, 5}));
        CHECK_ERROR(long_name.load(), "a tensor's name has", "at most 1000");
        AdapterFolder long_target;
        long_target.config["target_modules"] = Json::List{std::string(length + 1, 'n')};
        CHECK_ERROR(long_target.load(), "target_modules", "at most 1000");
    }
    for (const auto& [pattern, word] :
         {std::pair("(?i)head", "flag"), {"(?P<b>head)", "named group"}, {"head\\Z", "\\Z"},
          {"(?<=x)head", "lookbehind"}}) {
        AdapterFolder refused;
        refused.config["target_modules"] = pattern;
        CHECK_ERROR(refused.load(), "adapter_config.json", std::string(word), "not supported");
    }
}

TEST_CASE("fault: the most similar name is found in bounded time") {
    const std::string letters(200000, 'a');
    CHECK(nearest_name(letters, {"fc1", "fc2"}).empty());
    CHECK(nearest_name("fc1", {letters, "fc2"}) == "fc2");
    std::vector<std::string> many(20000, std::string(200, 'a'));
    many.push_back("b");
    nearest_name(std::string(200, 'b'), many);
}

TEST_CASE("fault: a rank of 0 is refused wherever it comes from") {
    Rng rng(20);
    Net net(rng);
    CHECK_ERROR(attach(net, {.rank = 0}, rng), "rank 0", "at least 1");
    CHECK_ERROR(attach(net, {.rank_pattern = {{"head", 0}}}, rng), "rank 0", "at least 1");
    CHECK_ERROR(ModuleSelector({.rank = -1}), "rank -1");
}

}  // namespace slim
