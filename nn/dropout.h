// Dropout as a module: active while training, the identity in evaluation mode.
#pragma once

#include "core/ops.h"
#include "core/random.h"
#include "nn/module.h"

namespace slim {

// Draws from a generator of its own, seeded from the one it is made with, so that a copy of its
// state is all that is needed to repeat a forward pass.
struct Dropout : Module {
    double p;  // the probability that an element becomes zero
    Rng rng;

    Dropout(double p, Rng& rng) : p(p), rng(rng.bits()) {
        check(p >= 0 && p <= 1, "Dropout: p = ", p, "; the probability must be between 0 and 1");
    }

    std::string name() const override { return "Dropout"; }
    std::string extra() const override { return "p=" + to_text(p); }
    std::vector<Member> members() override { return {{"rng", rng}}; }
    Tensor forward(const Tensor& x) override { return training ? dropout(x, p, rng) : x; }
};

}  // namespace slim
