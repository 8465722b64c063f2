// Gradient checkpointing. See recompute.h.
#include "nn/recompute.h"

#include "core/autograd.h"
#include "core/random.h"

namespace slim {

namespace {

std::vector<uint64_t> rng_states(Module& block) {
    std::vector<uint64_t> states;
    for (const Rng* rng : block.rngs()) states.push_back(rng->state);
    return states;
}

void set_rng_states(Module& block, const std::vector<uint64_t>& states) {
    const std::vector<Rng*> rngs = block.rngs();
    for (size_t i = 0; i < rngs.size(); i++) rngs[i]->state = states[i];
}

// The parameters are inputs too, so that the node is kept when x requires no gradient.
std::vector<Tensor> x_and_parameters(const Tensor& x, Module& block) {
    std::vector<Tensor> inputs{x};
    for (const Tensor& p : block.parameters()) inputs.push_back(p);
    return inputs;
}

}  // namespace

struct CheckpointNode : Node {
    Module& block;
    bool training;                     // the block's mode in the forward pass
    std::vector<uint64_t> rngs_before;  // its generators' states at the start of it

    CheckpointNode(Module& block, const Tensor& x)
        : Node("checkpoint", x_and_parameters(x, block)),
          block(block),
          training(block.training),
          rngs_before(rng_states(block)) {}

    void backward(const Tensor& y) override {
        for (size_t i = 0; i < inputs.size(); i++) saved(i);  // throws if one has changed since

        // Compute y again, this time with a graph, whose only inputs are a copy of x's handle and
        // the parameters themselves.
        Tensor x = inputs[0].detach();
        x.set_requires_grad(needs_grad(0));
        const std::vector<uint64_t> rngs_now = rng_states(block);
        const bool training_now = block.training;
        set_rng_states(block, rngs_before);
        block.train(training);
        GradMode with_grad(true);
        const Tensor again = block(x);
        block.train(training_now);
        set_rng_states(block, rngs_now);

        // The parameters collect their gradients in this inner pass; x's is handed on.
        slim::backward(again, y.grad());
        if (!needs_grad(0)) return;
        const real* share = x.grad_data();
        if (!share) return;  // the block does not use x
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < x.size(); i++) dx[i] += share[i];
    }
};

Tensor checkpoint(Module& block, const Tensor& x) {
    auto node = std::make_shared<CheckpointNode>(block, x);
    Tensor y;
    {
        NoGrad no_grad;
        y = block(x);
    }
    return record(y.detach(), node);  // detached, should the block return x itself
}

}  // namespace slim
