// DoRA: weight-decomposed low-rank adaptation (Liu et al. 2024, arXiv 2402.09353).
//
// A weight is taken apart into magnitudes and directions. LoRA's product moves the direction; the
// magnitude m, one element per output feature (or per input feature), sets the norm:
//
//     V = W + s B A        n = norm of V's rows (or columns)        W' = V scaled by c = m / n
//     y = x W'^T + b
//
// LinearWithDoRAMerged computes exactly these lines. LinearWithDoRA is the same function. As long
// as W is frozen it does not form V: see dora.cpp for how, and for what that saves.
#pragma once

#include "nn/adapters/dora_scale.h"
#include "nn/adapters/lora.h"

namespace slim {

// The base class of both. m is [out] or [in], by config.axis. It starts at the norm of W, so that a
// fresh adapter changes nothing.
struct DoRABase : LinearAdapter {
    DoRABase(const ModulePtr& linear, const AdapterConfig& config, Rng& rng);

    Tensor merged_weight() const override;  // W'

    std::vector<Member> members() override {
        return {{"linear", *linear}, {"lora", lora}, {"m", m}};
    }
};

// The definition, through ordinary autograd. No dropout: there is no adapter branch to drop from.
struct LinearWithDoRAMerged : DoRABase {
    using DoRABase::DoRABase;
    std::string name() const override { return "LinearWithDoRAMerged"; }
    Tensor forward(const Tensor& x) override;
};

// The same function and gradients, factored: neither V nor a gradient of its size is formed. A step
// on MNIST costs 1.2 times LoRA's, or 1.8 times with a magnitude per input (apps/bench/speed.md).
// A fresh one changes no bit of the output, in training too.
struct LinearWithDoRA : DoRABase {
    using DoRABase::DoRABase;
    std::string name() const override { return "LinearWithDoRA"; }
    Tensor forward(const Tensor& x) override;

private:
    DoraScale scale_;  // c = m / n
};

}  // namespace slim
