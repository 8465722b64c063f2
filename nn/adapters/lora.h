// LoRA: low-rank adaptation of a frozen Linear (Hu et al. 2021, arXiv 2106.09685).
//
//     y = x W^T + b  +  s x A^T B^T        W [out, in] frozen, A [rank, in], B [out, rank] trained
//
// The product B A is a change of W of low rank; it is never formed while training. B starts at
// zero, so a fresh adapter changes nothing.
//
// LoRALayer holds A and B. LinearAdapter holds a LoRALayer and the Linear: it is the base class of
// LinearWithLoRA here and of DoRA's two classes in dora.h. It does not freeze the Linear:
// AdapterSet::add() and freeze_linear_layers() do.
#pragma once

#include "core/random.h"
#include "nn/adapters/adapter.h"
#include "nn/linear.h"

namespace slim {

// The adapter's own branch: x [batch, in] -> s dropout(x) A^T B^T [batch, out].
struct LoRALayer : Module {
    Tensor A, B;  // [rank, in], [out, rank]
    AdapterConfig config;
    Rng rng;  // for dropout

    LoRALayer(int64_t in_features, int64_t out_features, AdapterConfig config, Rng& rng);

    double scaling() const { return config.scaling_factor(); }
    Tensor delta_weight() const;  // s B A [out, in], what merging adds to W; differentiable

    std::string name() const override { return "LoRALayer"; }
    std::string extra() const override;
    std::vector<Member> members() override { return {{"A", A}, {"B", B}, {"rng", rng}}; }
    Tensor forward(const Tensor& x) override;
    Tensor input(const Tensor& x);          // what the branch sees: x, or dropout(x) while training
    Tensor project(const Tensor& x) const;  // the branch, without dropout
};

// The base class of LoRA and DoRA around a Linear.
struct LinearAdapter : Adapter {
    std::shared_ptr<Linear> linear;
    LoRALayer lora;

    // Around this module (throws if it is not a Linear), or around a new Linear.
    LinearAdapter(const ModulePtr& linear, const AdapterConfig& config, Rng& rng);
    LinearAdapter(int64_t in_features, int64_t out_features, const AdapterConfig& config,
                  Rng& rng, bool with_bias = true);

    virtual Tensor merged_weight() const = 0;  // [out, in]; differentiable
    Tensor base_weight() const;                // W, dequantised if it is quantised

    std::vector<Member> members() override { return {{"linear", *linear}, {"lora", lora}}; }
    const AdapterConfig& config() const override { return lora.config; }
    const char* magnitude_per() const override {
        return lora.config.axis == Axis::kOut ? "output" : "input";
    }
    ModulePtr base() const override { return linear; }
    ModulePtr merged() const override;
    std::vector<AdapterTensor> adapter_tensors() override;
};

struct LinearWithLoRA : LinearAdapter {
    using LinearAdapter::LinearAdapter;
    std::string name() const override { return "LinearWithLoRA"; }
    Tensor merged_weight() const override;  // W + s B A
    Tensor forward(const Tensor& x) override;
};

}  // namespace slim
