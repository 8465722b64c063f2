// Sequential (modules one after another), and the multilayer perceptron, which is made with it.
#pragma once

#include "nn/module.h"

namespace slim {

// Children are named 0, 1, 2, ... (torch.nn.Sequential)
struct Sequential : Module {
    std::vector<ModulePtr> layers;

    explicit Sequential(std::vector<ModulePtr> layers) : layers(std::move(layers)) {}

    // Child i, to read or to exchange; throws when there is none. An adapter goes in with
    //     model.layers[0] = std::make_shared<LinearWithLoRA>(model.layers[0], config, rng);
    ModulePtr& operator[](size_t i);

    std::string name() const override { return "Sequential"; }
    std::vector<Member> members() override;
    Tensor forward(const Tensor& x) override;
};

// Linear layers with a ReLU between each two, named layers.0, layers.2, ... as in the tutorials.
// x [batch, widths.front()] -> logits [batch, widths.back()].
struct MultilayerPerceptron : Module {
    Sequential layers;

    MultilayerPerceptron(const std::vector<int64_t>& widths, Rng& rng);
    // The model of the tutorials: three layers.
    MultilayerPerceptron(int64_t inputs, int64_t hidden_1, int64_t hidden_2, int64_t classes,
                         Rng& rng);

    std::string name() const override { return "MultilayerPerceptron"; }
    std::vector<Member> members() override { return {{"layers", layers}}; }
    Tensor forward(const Tensor& x) override { return layers.forward(x); }
};
using MLP = MultilayerPerceptron;

}  // namespace slim
