// Linear: y = x W^T + b, and the same op with LoRA's branch.
#pragma once

#include "nn/module.h"
#include "nn/weight.h"

namespace slim {

// ---- the ops ------------------------------------------------------------------------------------

// x [batch, in], W [out, in], bias [out] or undefined: x W^T + bias [batch, out]. Gradients go to
// x, to bias and to a dense W. (torch.nn.functional.linear; add_row(matmul_nt(x, W), bias))
Tensor linear(const Tensor& x, const Weight& W, const Tensor& bias = {});

// The same with LoRA's branch: x W^T + bias + s xa A^T B^T, where xa is what the branch sees: x
// itself, or dropout(x). A [rank, in], B [out, rank]. Equal to the composition
// linear(x, W, bias) + scale(matmul_nt(matmul_nt(xa, A), B), s) to rounding, and to the bit while B
// is zero. Gradients go to A, B and xa too.
Tensor lora_linear(const Tensor& x, const Weight& W, const Tensor& bias, const Tensor& xa,
                   const Tensor& A, const Tensor& B, double s);

// ---- the layer ----------------------------------------------------------------------------------

// weight [out, in], bias [out] or undefined; x [batch, in] -> [batch, out]. Both are drawn from
// uniform(-1/sqrt(in), 1/sqrt(in)), as torch.nn.Linear does.
struct Linear : Module {
    Weight weight;
    Tensor bias;

    Linear(int64_t in_features, int64_t out_features, Rng& rng, bool with_bias = true);
    explicit Linear(Weight weight, Tensor bias = {});  // shares both

    int64_t in_features() const { return weight.in(); }
    int64_t out_features() const { return weight.out(); }

    std::string name() const override { return "Linear"; }
    std::string extra() const override;
    std::vector<Member> members() override { return {{"weight", weight}, {"bias", bias}}; }
    Tensor forward(const Tensor& x) override { return linear(x, weight, bias); }
};

// Returns the module as a Linear. Throws, with the name of what it is, if it is something else.
std::shared_ptr<Linear> as_linear(const ModulePtr& module);

}  // namespace slim
