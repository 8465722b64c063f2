// Linear: y = x W^T + b.
#pragma once

#include "nn/frozen_weight.h"
#include "nn/module.h"

namespace slim {

// weight [out, in], bias [out] or undefined; x [batch, in] -> [batch, out]. Both are drawn from
// uniform(-1/sqrt(in), 1/sqrt(in)), as torch.nn.Linear does.
//
// A frozen Linear can hold its weight quantised instead: then `weight` is undefined.
struct Linear : Module {
    Tensor weight, bias;
    std::shared_ptr<const QuantizedMatrix> quantized;

    Linear(int64_t in_features, int64_t out_features, Rng& rng, bool with_bias = true);
    explicit Linear(Tensor weight, Tensor bias = {});  // shares both
    Linear(std::shared_ptr<const QuantizedMatrix> weight, Tensor bias);

    FrozenWeight frozen() const { return {weight, quantized}; }
    int64_t in_features() const { return frozen().in(); }
    int64_t out_features() const { return frozen().out(); }

    std::string name() const override { return "Linear"; }
    std::string extra() const override;
    std::vector<Member> members() override { return {{"weight", weight}, {"bias", bias}}; }
    Tensor forward(const Tensor& x) override;
    Tensor product(const Tensor& x) const;  // x W^T, without the bias
};

// Returns the module as a Linear. Throws, with the name of what it is, if it is something else.
std::shared_ptr<Linear> as_linear(const ModulePtr& module);

}  // namespace slim
