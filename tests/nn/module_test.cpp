// What derives from a module's description: names, state dict, modes, exchanging a child, printing.
#include "nn/module.h"

#include <algorithm>  // count
#include <sstream>

#include "nn/activation.h"
#include "nn/dropout.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "tests/testing.h"

namespace slim {

namespace {

std::vector<std::string> parameter_names(Module& module) {
    std::vector<std::string> names;
    for (const NamedParameter& p : module.named_parameters()) names.push_back(p.name);
    return names;
}

std::vector<std::string> module_names(Module& module) {
    std::vector<std::string> names;
    for (const NamedModule& m : module.named_modules()) names.push_back(m.name);
    return names;
}

// The values of a whole model, to see that none has changed.
std::map<std::string, std::vector<real>> snapshot(Module& module) {
    std::map<std::string, std::vector<real>> values;
    for (const auto& [name, tensor] : module.state_dict()) values[name] = tensor.to_vector();
    return values;
}

StateDict copy_of(const StateDict& state) {
    StateDict copy;
    for (const auto& [name, tensor] : state) copy[name] = clone(tensor.detach());
    return copy;
}

// Two children that share one weight matrix, as an embedding and an output layer often do.
struct Tied : Module {
    std::shared_ptr<Linear> first, second;
    explicit Tied(Rng& rng)
        : first(std::make_shared<Linear>(3, 3, rng)), second(std::make_shared<Linear>(3, 3, rng)) {
        second->weight = first->weight;
    }
    std::string name() const override { return "Tied"; }
    std::vector<Member> members() override { return {{"first", *first}, {"second", *second}}; }
    Tensor forward(const Tensor& x) override { return (*second)((*first)(x)); }
};

struct Bare : Module {
    std::string name() const override { return "Bare"; }
};

}  // namespace

TEST_CASE("module: parameters have PyTorch's dotted names, in PyTorch's order") {
    Rng rng(1);
    MLP model(784, 128, 256, 10, rng);
    CHECK(parameter_names(model) == std::vector<std::string>{"layers.0.weight", "layers.0.bias",
                                                             "layers.2.weight", "layers.2.bias",
                                                             "layers.4.weight", "layers.4.bias"});
    CHECK(module_names(model) == std::vector<std::string>{"", "layers", "layers.0", "layers.1",
                                                          "layers.2", "layers.3", "layers.4"});
}

TEST_CASE("module: a Linear without bias has one parameter and prints as PyTorch prints it") {
    Rng rng(2);
    Linear layer(3, 2, rng, false);
    CHECK(parameter_names(layer) == std::vector<std::string>{"weight"});
    CHECK(layer.state_dict().size() == 1);
    CHECK(to_string(layer) == "Linear(in_features=3, out_features=2, bias=False)");
}

TEST_CASE("module: state dict, loaded into another model, makes it the same model") {
    Rng rng(3);
    MLP from(5, 7, 3, 2, rng), to(5, 7, 3, 2, rng);
    const Tensor x = random_tensor({4, 5}, rng, false);
    CHECK(largest_difference(from(x), to(x)) > 0);
    to.load_state_dict(from.state_dict());
    CHECK(snapshot(to) == snapshot(from));
    CHECK(same_bits(from(x), to(x)));

    from.parameters()[0].mutable_data()[0] += 1;  // the values were copied, not shared
    CHECK(snapshot(to) != snapshot(from));
}

TEST_CASE("module: the state dict shares memory with the model") {
    Rng rng(4);
    Linear layer(3, 2, rng);
    layer.state_dict().at("bias").mutable_data()[1] = 42;
    CHECK(layer.bias.at({1}) == 42);
}

TEST_CASE("module: load_state_dict keeps what optimisers and graphs hold: the same tensors") {
    Rng rng(5);
    Linear layer(3, 2, rng), other(3, 2, rng);
    const Tensor held = layer.weight;
    const uint64_t version = held.version();
    layer.load_state_dict(other.state_dict());
    CHECK(held.impl == layer.weight.impl);
    CHECK(held.version() != version);
    CHECK(layer.weight.requires_grad());
}

TEST_CASE("load_state_dict: a missing name is an error, and nothing was changed") {
    Rng rng(6);
    MLP model(5, 7, 3, 2, rng), other(5, 7, 3, 2, rng);
    StateDict state = copy_of(other.state_dict());
    state.erase("layers.2.bias");
    const auto before = snapshot(model);
    CHECK_ERROR(model.load_state_dict(state), "load_state_dict", "layers.2.bias", "(3)", "missing");
    CHECK(snapshot(model) == before);
}

TEST_CASE("load_state_dict: an unexpected name is an error that suggests the nearest one") {
    Rng rng(7);
    MLP model(5, 7, 3, 2, rng), other(5, 7, 3, 2, rng);
    StateDict state = copy_of(other.state_dict());
    state["layers.2.wieght"] = state["layers.2.weight"];
    const auto before = snapshot(model);
    CHECK_ERROR(model.load_state_dict(state), "unexpected name \"layers.2.wieght\"",
                "MultilayerPerceptron", "did you mean \"layers.2.weight\"?");
    CHECK(snapshot(model) == before);
}

TEST_CASE("load_state_dict: a wrong shape is an error that names both, and nothing was changed") {
    Rng rng(8);
    MLP model(5, 7, 3, 2, rng), other(5, 7, 3, 2, rng);
    StateDict state = copy_of(other.state_dict());
    state["layers.4.weight"] = zeros({3, 2});  // the last by name: the others would be copied first
    const auto before = snapshot(model);
    CHECK_ERROR(model.load_state_dict(state), "layers.4.weight", "(3, 2)", "(2, 3)");
    CHECK(snapshot(model) == before);
}

TEST_CASE("nearest_name: the fewest edits win; nothing to choose from gives nothing") {
    CHECK(nearest_name("layers.0.wieght", {"layers.0.bias", "layers.0.weight"}) ==
          "layers.0.weight");
    CHECK(nearest_name("layer.3.bias", {"layers.0.weight", "layers.3.bias", "layers.0.bias"}) ==
          "layers.3.bias");
    CHECK(nearest_name("", {"ab", "a"}) == "a");
    CHECK(nearest_name("anything", {}) == "");
}

TEST_CASE("module: a tied parameter is listed once, and appears under both names in the state") {
    Rng rng(9);
    Tied model(rng);
    CHECK(parameter_names(model) ==
          std::vector<std::string>{"first.weight", "first.bias", "second.bias"});
    CHECK(model.parameters().size() == 3);
    CHECK(model.state_dict().size() == 4);
    CHECK(model.state_dict().at("second.weight").impl == model.first->weight.impl);

    Tied other(rng);
    other.load_state_dict(model.state_dict());
    CHECK(snapshot(other) == snapshot(model));
    CHECK(other.first->weight.impl == other.second->weight.impl);
}

TEST_CASE("module: a child that is held twice is listed once, with both places and both names") {
    Rng rng(10);
    auto shared = std::make_shared<Linear>(3, 3, rng);
    Sequential model({shared, std::make_shared<ReLU>(), shared});
    CHECK(module_names(model) == std::vector<std::string>{"", "0", "1"});
    CHECK(model.parameters().size() == 2);
    const NamedModule first = model.named_modules()[1];
    CHECK(first.aliases == std::vector<std::string>{"2"});
    CHECK(first.slots == std::vector<ModulePtr*>{&model.layers[0], &model.layers[2]});
}

TEST_CASE("module: train and eval reach every module at any depth") {
    Rng rng(11);
    auto inner = std::make_shared<Sequential>(
        std::vector<ModulePtr>{std::make_shared<Dropout>(0.5, rng)});
    Sequential model({std::make_shared<Linear>(3, 3, rng), inner});
    for (const bool on : {false, true, false}) {
        model.train(on);
        for (const NamedModule& m : model.named_modules()) {
            INFO(m.name);
            CHECK(m.module->training == on);
        }
    }
    model.train();
    model.eval();
    CHECK(!inner->layers[0]->training);
}

TEST_CASE("module: a child is exchanged through its slot") {
    Rng rng(12);
    MLP model(5, 7, 3, 2, rng);
    for (const NamedModule& m : model.named_modules()) {
        const bool by_value = m.name == "" || m.name == "layers";
        REQUIRE(m.slots.size() == (by_value ? 0 : 1));
        if (m.name == "layers.1") *m.slots[0] = std::make_shared<Tanh>();
    }
    CHECK(model.layers[1]->name() == "Tanh");
    CHECK(to_string(model).find("(1): Tanh()") != std::string::npos);

    const Tensor x = random_tensor({4, 5}, rng, false);
    Module& first = *model.layers[0];
    CHECK(same_bits(model(x), (*model.layers[4])(relu((*model.layers.layers[2])(
                                  tanh(first(x)))))));
}

TEST_CASE("module: prints as PyTorch does") {
    Rng rng(13);
    MLP model(784, 128, 256, 10, rng);
    const std::string from_pytorch =
        "MultilayerPerceptron(\n"
        "  (layers): Sequential(\n"
        "    (0): Linear(in_features=784, out_features=128, bias=True)\n"
        "    (1): ReLU()\n"
        "    (2): Linear(in_features=128, out_features=256, bias=True)\n"
        "    (3): ReLU()\n"
        "    (4): Linear(in_features=256, out_features=10, bias=True)\n"
        "  )\n"
        ")";
    CHECK(to_string(model) == from_pytorch);
    std::ostringstream out;
    out << model;
    CHECK(out.str() == from_pytorch);

    Sequential empty({});
    CHECK(to_string(empty) == "Sequential()");
}

// A module with parameters after its children, children and extra text.
struct Gated : Module {
    ModulePtr gate, inner;
    Tensor scale = ones({2}).set_requires_grad();
    explicit Gated(Rng& rng)
        : gate(std::make_shared<ReLU>()), inner(std::make_shared<Linear>(2, 2, rng)) {}
    std::string name() const override { return "Gated"; }
    std::string extra() const override { return "rank=4, alpha=8"; }
    std::vector<Member> members() override {
        return {{"gate", gate}, {"inner", inner}, {"scale", scale}};
    }
};

TEST_CASE("fault: extra text beside children has a line of its own, as in torch 2.13") {
    Rng rng(1);
    auto gated = std::make_shared<Gated>(rng);
    Sequential model({gated});
    CHECK(to_string(model) ==
          "Sequential(\n"
          "  (0): Gated(\n"
          "    rank=4, alpha=8\n"
          "    (gate): ReLU()\n"
          "    (inner): Linear(in_features=2, out_features=2, bias=True)\n"
          "  )\n"
          ")");
}

TEST_CASE("fault: a module's own parameters come before its children's, as in torch") {
    Rng rng(1);
    Gated gated(rng);
    CHECK(parameter_names(gated) ==
          std::vector<std::string>{"scale", "inner.weight", "inner.bias"});
}

TEST_CASE("sequential: a layer that does not exist is an error") {
    Sequential model({std::make_shared<ReLU>()});
    CHECK(model[0]->name() == "ReLU");
    CHECK_ERROR(model[1], "Sequential", "layer 1 of 1");
}

TEST_CASE("module: rngs finds every generator that forward draws from, in order") {
    Rng rng(14);
    auto a = std::make_shared<Dropout>(0.5, rng), b = std::make_shared<Dropout>(0.1, rng);
    Sequential model({a, std::make_shared<Linear>(3, 3, rng), b});
    CHECK(model.rngs() == std::vector<Rng*>{&a->rng, &b->rng});
    CHECK(a->rng.state != b->rng.state);  // each seeded anew

    MLP without(5, 7, 3, 2, rng);
    CHECK(without.rngs().empty());
}

TEST_CASE("module: set_requires_grad and zero_grad reach every parameter") {
    Rng rng(15);
    MLP model(5, 7, 3, 2, rng);
    backward(sum(model(random_tensor({4, 5}, rng, false))));
    for (const NamedParameter& p : model.named_parameters()) {
        INFO(p.name);
        CHECK(p.tensor.grad().defined());
    }
    model.zero_grad();
    for (const Tensor& p : model.parameters()) CHECK(!p.grad().defined());
    model.set_requires_grad(false);
    for (const Tensor& p : model.parameters()) CHECK(!p.requires_grad());
    CHECK(!model(random_tensor({4, 5}, rng, false)).requires_grad());
}

TEST_CASE("module: forward and lookup that a module does not have say so") {
    Bare bare;
    const int ids[] = {1, 2};
    CHECK_ERROR(bare(zeros({1, 1})), "Bare", "no forward");
    CHECK_ERROR(bare.lookup(ids), "Bare", "does not take ids");
    CHECK(to_string(bare) == "Bare()");
}

TEST_CASE("fault: EvalMode puts each module back in the mode that it had, also after an error") {
    Rng rng(1);
    auto frozen = std::make_shared<Dropout>(0.5, rng), active = std::make_shared<Dropout>(0.5, rng);
    Sequential model({frozen, active});
    frozen->eval();
    try {
        const EvalMode eval_mode(model);
        CHECK(!active->training);
        fail("on purpose");
    } catch (const Error&) {
    }
    CHECK(model.training);
    CHECK(active->training);
    CHECK(!frozen->training);
}

}  // namespace slim
