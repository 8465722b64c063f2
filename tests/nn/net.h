// A model with everything that makes naming hard: an Embedding, a module within a module, and fc1
// twice, once as the last part of a longer name.
#pragma once

#include <string>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/adapters/embedding_adapter.h"
#include "nn/linear.h"
#include "nn/module.h"

namespace slim {

struct Encoder : Module {
    ModulePtr fc1, fc2;
    explicit Encoder(Rng& rng)
        : fc1(std::make_shared<Linear>(5, 7, rng)), fc2(std::make_shared<Linear>(7, 3, rng)) {}
    std::string name() const override { return "Encoder"; }
    std::vector<Member> members() override { return {{"fc1", fc1}, {"fc2", fc2}}; }
    Tensor forward(const Tensor& x) override { return (*fc2)(tanh((*fc1)(x))); }
};

struct Net : Module {
    ModulePtr embed, encoder, fc1, head;
    explicit Net(Rng& rng)
        : embed(std::make_shared<Embedding>(11, 5, rng)),
          encoder(std::make_shared<Encoder>(rng)),
          fc1(std::make_shared<Linear>(3, 4, rng)),
          head(std::make_shared<Linear>(4, 2, rng, false)) {}  // without a bias
    std::string name() const override { return "Net"; }
    std::vector<Member> members() override {
        return {{"embed", embed}, {"encoder", encoder}, {"fc1", fc1}, {"head", head}};
    }
    Tensor lookup(std::span<const int> ids) override {
        return (*head)(tanh((*fc1)((*encoder)(embed->lookup(ids)))));
    }
    Tensor answer() {  // to some fixed ids, in evaluation mode, without history
        NoGrad no_grad;
        eval();
        const int ids[] = {3, 0, 10, 3, 7};
        return lookup(ids);
    }
};

// Moves every trained parameter to where training might have left it: no B is zero, no magnitude is
// the norm that it began as.
inline void perturb_trained(Module& model, Rng& rng) {
    for (NamedParameter p : model.named_parameters()) {
        if (!p.tensor.requires_grad()) continue;
        const bool is_magnitude = p.name.ends_with(".m");
        real* values = p.tensor.mutable_data();
        for (int64_t i = 0; i < p.tensor.size(); i++)
            values[i] = is_magnitude ? values[i] * real(1 + 0.3 * rng.normal())
                                     : values[i] + real(0.4 * rng.normal());
    }
}

// Everything in which a failed operation could have left a trace: structure, names, numbers and
// what is trained.
inline std::string snapshot(Module& model) {
    std::string text = to_string(model) + "\n";
    for (const auto& [name, tensor] : model.state_dict()) {
        text += name + (tensor.requires_grad() ? " trained" : " frozen");
        text += " " + to_text(tensor.shape()) + " ";
        text.append(reinterpret_cast<const char*>(tensor.data()),
                    size_t(tensor.size()) * sizeof(real));
        text += "\n";
    }
    return text;
}

}  // namespace slim
