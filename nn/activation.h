// Activations as modules, for Sequential. Each calls the op of the same name.
#pragma once

#include "core/ops.h"
#include "nn/module.h"

namespace slim {

struct ReLU : Module {
    std::string name() const override { return "ReLU"; }
    Tensor forward(const Tensor& x) override { return relu(x); }
};

struct Tanh : Module {
    std::string name() const override { return "Tanh"; }
    Tensor forward(const Tensor& x) override { return tanh(x); }
};

struct Sigmoid : Module {
    std::string name() const override { return "Sigmoid"; }
    Tensor forward(const Tensor& x) override { return sigmoid(x); }
};

}  // namespace slim
