// Sequential, modules one after another, and the multilayer perceptron made with it.
#pragma once

#include "nn/module.h"

namespace slim {

// Children are named 0, 1, 2, ... (torch.nn.Sequential)
struct Sequential : Module {
    std::vector<ModulePtr> layers;

    explicit Sequential(std::vector<ModulePtr> layers) : layers(std::move(layers)) {}

    std::string name() const override { return "Sequential"; }
    std::vector<Member> members() override;
    Tensor forward(const Tensor& x) override;
};

// The tutorials' MultilayerPerceptron: Linear, ReLU, Linear, ReLU, Linear, named layers.0 to
// layers.4. x [batch, inputs] -> logits [batch, classes].
struct MLP : Module {
    Sequential layers;

    MLP(int64_t inputs, int64_t hidden_1, int64_t hidden_2, int64_t classes, Rng& rng);

    std::string name() const override { return "MLP"; }
    std::vector<Member> members() override { return {{"layers", layers}}; }
    Tensor forward(const Tensor& x) override { return layers.forward(x); }
};

}  // namespace slim
