// Choosing modules, attaching adapters to them, freezing, and the report of what is trained.
#include "nn/adapters/adapt.h"

#include "nn/activation.h"
#include "nn/sequential.h"
#include "optim/adam.h"
#include "tests/nn/adapters.h"

namespace slim {

namespace {

const std::vector<std::string> kLinears{"layers.0", "layers.2", "layers.4"};

AdapterConfig adapter(Method method, int64_t rank = 2) {
    return {.method = method, .rank = rank, .alpha = 6};
}

std::vector<std::string> names_of(const AdapterSet& adapters) {
    std::vector<std::string> names;
    for (const AdaptedPlace& place : adapters.places()) names.push_back(place.name);
    return names;
}

const Method kMethods[] = {Method::kLoRA, Method::kDoRA, Method::kDoRAMerged};

std::vector<std::string> trainable_names(Module& model) {
    std::vector<std::string> names;
    for (const NamedParameter& p : model.named_parameters())
        if (p.tensor.requires_grad()) names.push_back(p.name);
    return names;
}

// A child held by value: there is no slot through which it could be exchanged.
struct Fixed : Module {
    Linear linear;
    explicit Fixed(Rng& rng) : linear(3, 2, rng) {}
    std::string name() const override { return "Fixed"; }
    std::vector<Member> members() override { return {{"linear", linear}}; }
};

}  // namespace

TEST_CASE("attach: every Linear gets an adapter, and their names come back in order") {
    for (const Method method : kMethods) {
        Rng rng(1);
        MLP model(5, 7, 3, 2, rng);
        const Tensor weight = model.state_dict().at("layers.2.weight");
        const AdapterConfig config = adapter(method);
        CHECK(select_modules(model, config) == kLinears);  // a dry run: nothing happens yet
        CHECK(model.state_dict().size() == 6);
        CHECK(names_of(attach(model, config, rng)) == kLinears);
        const StateDict state = model.state_dict();
        CHECK(state.size() == (method == Method::kLoRA ? 12 : 15));
        for (const std::string layer : {"layers.0.", "layers.2.", "layers.4."})
            for (const std::string last : {"linear.weight", "linear.bias", "lora.A", "lora.B"})
                CHECK(state.count(std::string(layer) + last) == 1);
        CHECK(state.count("layers.4.m") == (method == Method::kLoRA ? 0 : 1));
        CHECK(state.at("layers.2.linear.weight").impl == weight.impl);  // wrapped, not copied
        CHECK(state.at("layers.2.lora.A").shape() == Shape{2, 7});
        CHECK(model.layers[1]->name() == "ReLU");
    }
}

TEST_CASE("attach: a freshly adapted model answers as before, to the bit") {
    for (const Method method : kMethods) {
        Rng rng(2);
        MLP model(784, 128, 256, 10, rng);
        const Tensor x = random_tensor({64, 784}, rng, false);
        const Tensor before = model(x);
        attach(model, adapter(method, 4), rng);
        CHECK(same_bits(model(x), before));
        model.eval();
        NoGrad no_grad;
        CHECK(same_bits(model(x), before));
    }
}

TEST_CASE("attach: the layers' adapters are drawn one after another, each different") {
    Rng rng(3), again(3);
    Sequential a({std::make_shared<Linear>(5, 5, rng), std::make_shared<Linear>(5, 5, rng)});
    Sequential b({std::make_shared<Linear>(5, 5, again), std::make_shared<Linear>(5, 5, again)});
    attach(a, adapter(Method::kLoRA), rng);
    attach(b, adapter(Method::kLoRA), again);
    StateDict first = a.state_dict(), second = b.state_dict();
    CHECK(!same_bits(first.at("0.lora.A"), first.at("1.lora.A")));
    CHECK(same_bits(first.at("0.lora.A"), second.at("0.lora.A")));
    CHECK(same_bits(first.at("1.lora.A"), second.at("1.lora.A")));
}

TEST_CASE("attach: targets by full name, by the last parts of it, and by a regular expression") {
    Rng rng(4);
    MLP model(5, 7, 3, 2, rng);
    using Names = std::vector<std::string>;
    CHECK(select_modules(model, {.target_modules = {"layers.4", "layers.0"}}) ==
          Names{"layers.0", "layers.4"});
    CHECK(select_modules(model, {.target_modules = {"2"}}) == Names{"layers.2"});
    CHECK(select_modules(model, {.target_pattern = "layers\\.[02]"}) ==
          Names{"layers.0", "layers.2"});
    CHECK(select_modules(model, {.exclude_modules = {"layers.2"}}) ==
          Names{"layers.0", "layers.4"});
    CHECK(select_modules(model, {.exclude_pattern = ".*4"}) == Names{"layers.0", "layers.2"});
    // Half a word is not a part of a name, and a pattern is for the whole name.
    CHECK_ERROR(select_modules(model, {.target_modules = {"ayers.0"}}), "\"ayers.0\"",
                "matches no module", "layers.0, layers.2, layers.4");
    CHECK_ERROR(select_modules(model, {.target_pattern = "layers"}),
                "\"layers\" matches no module");
    CHECK_ERROR(select_modules(model, {.target_pattern = "("}), "not a regular expression");
}

TEST_CASE("attach: rank and alpha of single modules") {
    Rng rng(5);
    MLP model(5, 7, 3, 2, rng);
    AdapterConfig config = adapter(Method::kLoRA);
    config.rank_pattern = {{"layers.2", 3}};
    config.alpha_pattern = {{"4", 10}};
    attach(model, config, rng);
    const auto options = [&](size_t layer) {
        return dynamic_cast<LinearWithLoRA&>(*model.layers[layer]).lora.config;
    };
    CHECK((options(0).rank == 2 && options(0).alpha == 6));
    CHECK((options(2).rank == 3 && options(2).alpha == 6));
    CHECK((options(4).rank == 2 && options(4).alpha == 10));
}

TEST_CASE("attach: a layer that stands in two places is adapted once, in both") {
    Rng rng(6);
    auto shared = std::make_shared<Linear>(3, 3, rng);
    Sequential model({shared, std::make_shared<ReLU>(), shared});
    CHECK(attach(model, adapter(Method::kLoRA), rng).places().size() == 1);
    CHECK(model.layers[0] == model.layers[2]);
    CHECK(model.layers[0]->name() == "LinearWithLoRA");
}

TEST_CASE("attach: without a Linear that can be exchanged it is an error, and nothing changes") {
    Rng rng(7);
    Sequential none({std::make_shared<ReLU>()});
    CHECK_ERROR(attach(none, {}, rng), "attach", "all-linear", "there are none");
    Fixed fixed(rng);
    CHECK_ERROR(attach(fixed, {}, rng), "attach", "linear is held by value", "hint");
    CHECK(fixed.linear.weight.requires_grad());
    MLP model(5, 7, 3, 2, rng);
    CHECK_ERROR(attach(model, adapter(Method::kLoRA, 0), rng), "rank 0");
    CHECK(trainable_names(model).size() == 6);
    attach(model, adapter(Method::kLoRA), rng);
    CHECK_ERROR(attach(model, adapter(Method::kLoRA), rng), "attach");  // all are adapted already
}

TEST_CASE("freeze_linear_layers: freezes weights and biases at any depth, and no adapter") {
    Rng rng(5);
    MLP plain(5, 7, 3, 2, rng);
    freeze_linear_layers(plain);
    CHECK(trainable_names(plain).empty());

    MLP model(5, 7, 3, 2, rng);
    attach(model, adapter(Method::kDoRA), rng);
    model.set_requires_grad(true);
    freeze_linear_layers(model);  // the Linears inside adapters too
    CHECK(trainable_names(model) ==
          std::vector<std::string>{"layers.0.m", "layers.0.lora.A", "layers.0.lora.B",
                                   "layers.2.m", "layers.2.lora.A", "layers.2.lora.B",
                                   "layers.4.m", "layers.4.lora.A", "layers.4.lora.B"});
}

TEST_CASE("trainable_report: PEFT's line, to the character") {
    Rng rng(6);
    MLP model(784, 128, 256, 10, rng);
    CHECK(trainable_report(model) ==
          "trainable params: 136,074 || all params: 136,074 || trainable%: 100.0000");
    freeze_linear_layers(model);
    CHECK(trainable_report(model) ==
          "trainable params: 0 || all params: 136,074 || trainable%: 0.0000");
    attach(model, adapter(Method::kLoRA, 4), rng);
    CHECK(trainable_report(model) ==
          "trainable params: 6,248 || all params: 142,322 || trainable%: 4.3900");
    Sequential empty({});
    CHECK(trainable_report(empty) == "trainable params: 0 || all params: 0 || trainable%: 0.0000");
    Linear thousand(999, 1, rng);
    CHECK(trainable_report(thousand) ==
          "trainable params: 1,000 || all params: 1,000 || trainable%: 100.0000");
}

TEST_CASE("trainable_listing: a line for each parameter") {
    Rng rng(7);
    Sequential model({std::make_shared<Linear>(3, 2, rng)});
    attach(model, adapter(Method::kDoRA), rng);
    CHECK(trainable_listing(model) ==
          "0.m: True\n0.linear.weight: False\n0.linear.bias: False\n0.lora.A: True\n"
          "0.lora.B: True\n");
}

TEST_CASE("training an adapted model leaves frozen parameters as they were, without gradients") {
    for (const Method method : kMethods) {
        Rng rng(8);
        MLP model(5, 7, 3, 2, rng);
        attach(model, adapter(method), rng);
        std::map<std::string, std::vector<real>> before;
        for (const auto& [name, tensor] : model.state_dict()) before[name] = tensor.to_vector();

        Adam adam(model.parameters(), {.lr = 0.05});
        const Tensor x = random_tensor({6, 5}, rng, false);
        const int labels[] = {0, 1, 1, 0, 1, 0};
        for (int step = 0; step < 5; step++) {
            adam.zero_grad();
            backward(cross_entropy(model(x), labels));
            adam.step();
        }
        for (const NamedParameter& p : model.named_parameters()) {
            INFO(p.name);
            const bool same = p.tensor.to_vector() == before[p.name];
            if (p.tensor.requires_grad()) CHECK(!same);
            else CHECK((same && p.tensor.grad_data() == nullptr));
        }
    }
}

TEST_CASE("attach: the state of one adapted model, loaded into another, makes it the same") {
    for (const Method method : kMethods) {
        Rng rng(9);
        MLP from(5, 7, 3, 2, rng), to(5, 7, 3, 2, rng);
        attach(from, adapter(method), rng);
        attach(to, adapter(method), rng);
        for (const ModulePtr& layer : from.layers.layers) train_by_chance(*layer, rng);
        const Tensor x = random_tensor({6, 5}, rng, false);
        NoGrad no_grad;
        CHECK(largest_difference(from(x), to(x)) > 0);
        to.load_state_dict(from.state_dict());
        CHECK(same_bits(from(x), to(x)));
    }
}

TEST_CASE("fault: quantising a model names the layer that is not finite, and changes nothing") {
    Rng rng(30);
    MLP model(5, 7, 3, 2, rng);
    model.state_dict().at("layers.2.weight").mutable_data()[4] = real(INFINITY);
    const StateDict before = model.state_dict();
    CHECK_ERROR(quantize_linear_layers(model, Quantization::kInt8), "layers.2", "element 4", "inf");
    const StateDict after = model.state_dict();
    REQUIRE(after.size() == before.size());
    for (const auto& [name, tensor] : before) CHECK(after.at(name).impl == tensor.impl);
}

TEST_CASE("fault: a quantised layer is frozen, its bias too") {
    Rng rng(31);
    MLP model(5, 7, 3, 2, rng);
    quantize_linear_layers(model, Quantization::kInt8);
    CHECK(!model.parameters().empty());
    for (const NamedParameter& p : model.named_parameters()) {
        INFO(p.name);
        CHECK(!p.tensor.requires_grad());
    }
}

TEST_CASE("fault: quantising a quantised model again changes nothing") {
    Rng rng(32);
    MLP model(5, 7, 3, 2, rng);
    const Tensor x = normal({4, 5}, 0, 1, rng);
    quantize_linear_layers(model, Quantization::kNF4);
    NoGrad no_grad;
    const Tensor before = model(x);
    quantize_linear_layers(model, Quantization::kInt8, {"layers.2"});
    CHECK(same_bits(model(x), before));
}

}  // namespace slim
