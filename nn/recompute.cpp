// Gradient checkpointing. See recompute.h.
#include "nn/recompute.h"

#include <set>

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

// The state of a block that its forward pass depends on. An InState puts the block in that
// state; its destructor restores the state before.
struct BlockState {
    TrainingModes modes;
    std::vector<uint64_t> rngs;
    explicit BlockState(Module& block) : modes(block), rngs(rng_states(block)) {}
};

class InState {
public:
    InState(Module& block, const BlockState& state) : block_(block), before_(block) { set(state); }
    ~InState() { set(before_); }
    InState(const InState&) = delete;
    InState& operator=(const InState&) = delete;

private:
    void set(const BlockState& state) {
        state.modes.restore();
        set_rng_states(block_, state.rngs);
    }
    Module& block_;
    BlockState before_;
};

// The tensors from outside that the block's graph uses, except x: parameters, and results of
// earlier ops that the block has captured. `up_to` is the newest node from before the block ran.
std::vector<Tensor> captured(const Tensor& y, const Tensor& x, uint64_t up_to) {
    std::vector<Tensor> found = tensors_behind("checkpoint", y, up_to);
    std::erase_if(found, [&](const Tensor& t) {
        const bool inside = t.impl->node && t.impl->node->number > up_to;
        return inside || !t.requires_grad() || t.impl == x.impl;
    });
    return found;
}

std::vector<Tensor> with_first(const Tensor& x, std::vector<Tensor> rest) {
    rest.insert(rest.begin(), x);
    return rest;
}

}  // namespace

struct CheckpointNode : Node {
    Module& block;
    BlockState before;  // the block's state at the start of the forward pass

    CheckpointNode(Module& block, const BlockState& before, const Tensor& x,
                   const std::vector<Tensor>& outside)
        : Node("checkpoint", with_first(x, outside)), block(block), before(before) {}

    void backward(const Tensor& y) override {
        for (size_t i = 0; i < inputs.size(); i++) saved(i);  // throws if one has changed since

        // Compute y again, this time keeping the graph.
        Tensor x = inputs[0].detach();
        x.set_requires_grad(needs_grad(0));
        const uint64_t up_to = newest_node();
        Tensor again;
        {
            const InState as_then(block, before);
            const GradMode with_grad(true);
            again = block(x);
        }
        // The inner pass stops at the captured tensors and keeps their graph for the outer pass.
        // Then the gradient of x is added to the input's.
        slim::backward(again, y.grad(), up_to);
        if (!needs_grad(0)) return;
        const real* share = x.grad_data();
        if (!share) return;  // the block does not use x
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < x.size(); i++) dx[i] += share[i];
    }
};

Tensor checkpoint(Module& block, const Tensor& x) {
    if (!grad_enabled()) return block(x);
    const BlockState before(block);
    const uint64_t up_to = newest_node();
    Tensor inner = x.detach();
    inner.set_requires_grad(x.requires_grad());
    const Tensor y = block(inner);  // its graph is dropped below
    auto node =
        std::make_shared<CheckpointNode>(block, before, x, captured(y, inner, up_to));
    return record(y.detach(), node);
}

}  // namespace slim
