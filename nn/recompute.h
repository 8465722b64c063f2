// Gradient checkpointing: trades time for memory (Chen et al. 2016, arXiv 1604.06174).
#pragma once

#include "nn/module.h"

namespace slim {

// Runs block(x) without keeping activations; backward recomputes them. The gradients are the same
// to the bit, dropout included: the block's modes and generators are set back for the second run.
// The block's parameters get their gradients, also when x requires none, and so do tensors that it
// has captured. (torch.utils.checkpoint.checkpoint)
//
// The block must not change between forward and backward, and must outlive both.
Tensor checkpoint(Module& block, const Tensor& x);

// The same as a module, to put around a child: its names gain ".block".
struct Checkpointed : Module {
    ModulePtr block;

    explicit Checkpointed(ModulePtr block) : block(std::move(block)) {}

    std::string name() const override { return "Checkpointed"; }
    std::vector<Member> members() override { return {{"block", block}}; }
    Tensor forward(const Tensor& x) override { return checkpoint(*block, x); }
};

}  // namespace slim
