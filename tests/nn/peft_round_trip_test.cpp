// Adapters that are saved and read again, here and by an independent program.
#include "nn/sequential.h"
#include "tests/nn/adapter_folder.h"

namespace slim {

// ---- there and back -----------------------------------------------------------------------------

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
                                           .rank = 2, .alpha = 3, .scaling = scaling,
                                           .target_modules = {"embed", "encoder.fc1", "head"},
                                           .rank_pattern = {{"head", 1}},
                                           .alpha_pattern = {{"encoder.fc1", 5}},
                                           .bias = bias};
                const AdapterSet adapters = attach(net, config, rng);
                perturb_trained(net, rng);
                save_adapter(folder / "a", adapters);
                const Tensor want = net.answer();

                Net other(rng);
                load_parameters(other, folder / "base");
                const LoadedAdapter loaded = load_adapter(folder / "a");
                CHECK(loaded.notes.empty());
                CHECK(loaded.config.bias == bias);
                CHECK(loaded.layers.size() == 3);
                CHECK(attach_adapter(other, loaded, rng).places().size() ==
                      adapters.places().size());
                // kAlphaOverRank and kAlpha divide and multiply by a rank of 1 or 2: exact.
                if (method == Method::kDoRAMerged)
                    check_close(other.answer(), want, 1e-4, 1e-5);
                else
                    check_answers(other.answer(), want);
                CHECK(trainable_report(other) == trainable_report(net));

                // What is loaded and saved again is the same folder.
                Net third(rng);
                save_adapter(folder / "again", attach_adapter(third, loaded, rng));
                for (const std::string name : {"adapter_config.json", "adapter_model.safetensors"})
                    CHECK(text_of(folder / "a/" + name) == text_of(folder / "again/" + name));
            }
}

TEST_CASE("save_adapter: trained biases have PEFT's names") {
    for (const BiasTraining bias :
         {BiasTraining::kNone, BiasTraining::kAll, BiasTraining::kLoRAOnly}) {
        ScratchFolder folder;
        Rng rng(11);
        Net net(rng);
        const AdapterConfig config{.rank = 2,
                                   .target_modules = {"encoder.fc1", "head", "embed"},
                                   .bias = bias};
        save_adapter(folder.path, attach(net, config, rng));
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
    const AdapterConfig one{.rank = 2, .alpha = 6, .target_pattern = "fc1|head"};
    const AdapterSet adapters = attach(net, one, rng);
    perturb_trained(net, rng);
    save_adapter(folder / "one", adapters);
    const LoadedAdapter loaded = load_adapter(folder / "one");
    CHECK(loaded.json.at("target_modules", "") == Json("fc1|head"));
    attach_adapter(other, loaded, rng);
    check_answers(other.answer(), net.answer());

    // Both, of different ranks: a key "fc1" would be both.
    Net third(rng), fourth(rng);
    fourth.load_state_dict(third.state_dict());
    const AdapterConfig both{.rank = 3,
                             .exclude_pattern = "encoder\\.fc2",
                             .rank_pattern = {{"encoder.fc1", 1}, {"fc1", 2}}};
    const AdapterSet both_adapters = attach(third, both, rng);
    perturb_trained(third, rng);
    save_adapter(folder / "both", both_adapters);
    const LoadedAdapter loaded_both = load_adapter(folder / "both");
    CHECK(loaded_both.json.at("rank_pattern", "") ==
          Json(Json::Object{{"^fc1", 2}, {"encoder.fc1", 1}}));
    CHECK(loaded_both.json.at("target_modules", "") ==
          Json(Json::List{"encoder.fc1", "fc1", "head"}));
    attach_adapter(fourth, loaded_both, rng);
    check_answers(fourth.answer(), third.answer());
}

TEST_CASE("add_adapter: one more beside others, of one base") {
    Rng rng(13);
    Net net(rng);
    const Tensor base = net.answer();
    AdapterSet adapters(net);
    adapters.add("own", {.rank = 1}, rng);
    perturb_trained(net, rng);
    const Tensor own = net.answer();
    const AdapterFolder folder;
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

// ---- an independent reader ----------------------------------------------------------------------

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
                                   .rank = 3, .alpha = 2, .scaling = run.scaling,
                                   .target_modules = {"layers.0", "4"},
                                   .rank_pattern = {{"layers.4", 2}},
                                   .alpha_pattern = {{"0", 3}},
                                   .bias = run.bias};
        const AdapterSet adapters = attach(model, config, rng);
        perturb_trained(model, rng);
        save_adapter(folder / run.name, adapters, "base");
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

}  // namespace slim
