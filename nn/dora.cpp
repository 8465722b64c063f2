// DoRA, merged and factored. See dora.h.
//
// The merged form costs three matrices of W's size per step, and its backward needs the full
// gradient of the weight, the very product that LoRA exists to avoid. None of that is necessary.
// All that DoRA adds to LoRA is the vector c = m / n, because
//
//     per output:  y = c . (x W^T + s x A^T B^T) + b        c scales the columns of y
//     per input:   y = (c . x) W^T + s (c . x) A^T B^T + b  c scales the columns of x
//
// and n follows from small products: dora_scale() in dora_scale.cpp.
#include "nn/dora.h"

#include "core/autograd.h"
#include "core/ops.h"
#include "nn/dora_linear.h"
#include "nn/lora_linear.h"

namespace slim {

// ---- what both forms hold -----------------------------------------------------------------------

DoRABase::DoRABase(const ModulePtr& module, const AdapterConfig& config, Rng& seed)
    : LinearAdapter(module, config, seed) {
    m = initial_magnitude(linear->frozen(), config.axis);
}

Tensor DoRABase::merged_weight() const {
    const Tensor V = base_weight() + lora.delta_weight();
    const bool exact = lora.config.norm_gradient == NormGradient::kExact;
    const Tensor n = norm(exact ? V : V.detach(), reduced_axis(lora.config.axis));
    const Tensor c = magnitude_over_norm(m, n);
    return lora.config.axis == Axis::kOut ? mul_col(V, c) : mul_row(V, c);
}

Tensor LinearWithDoRAMerged::forward(const Tensor& x) {
    if (is_merged()) return merged_form->forward(x);
    check(lora.config.dropout == 0, "LinearWithDoRAMerged: dropout ", lora.config.dropout,
          "; the merged form has no adapter branch to drop from. hint: use LinearWithDoRA");
    return slim::linear(x, merged_weight(), linear->bias);
}

// ---- LinearWithDoRA -----------------------------------------------------------------------------

// c, which in evaluation is the same from call to call.
Tensor LinearWithDoRA::scale() {
    return cache_.scale(!training && !grad_enabled(), linear->frozen(), lora.A, lora.B, m,
                        lora.scaling(), lora.config.axis, lora.config.norm_gradient);
}

// From this many numbers in W on, a second pass over them costs more than copying x.
static constexpr int64_t kStackFrom = 512 * 512;

Tensor LinearWithDoRA::forward(const Tensor& x) {
    if (is_merged()) return merged_form->forward(x);
    const FrozenWeight W = linear->frozen();
    const Tensor &bias = linear->bias, &A = lora.A, &B = lora.B;
    const bool per_output = lora.config.axis == Axis::kOut;
    if (!linear->quantized && linear->weight.requires_grad()) {
        check(!training || lora.config.dropout == 0, "LinearWithDoRA: dropout ",
              lora.config.dropout, " over a weight that is trained; there is no branch to drop ",
              "from then. hint: freeze the weight, or set the dropout to 0");
        return slim::linear(x, merged_weight(), bias);
    }

    if (training && lora.config.dropout > 0) {
        // PEFT's form: the base sees x, and what the adapter changes about it sees dropout(x).
        const Tensor c = scale(), dropped = lora.input(x);
        if (per_output) {
            const Tensor z = linear->product(dropped);
            return linear->forward(x) + (mul_row(z + lora.project(dropped), c) - z);
        }
        const Tensor scaled = mul_row(dropped, c);
        return lora_linear(x + (scaled - dropped), W, bias, scaled, A, B, lora.scaling());
    }
    if (!per_output) {
        const Tensor scaled = mul_row(x, scale());
        return lora_linear(scaled, W, bias, scaled, A, B, lora.scaling());
    }
    if (training)
        return dora_linear(x, W, cache_.weight_norms(W, Axis::kOut), bias, A, B, m, lora.scaling(),
                           lora.config.norm_gradient, W.out() * W.in() >= kStackFrom);
    const Tensor y = mul_row(lora_linear(x, W, {}, x, A, B, lora.scaling()), scale());
    return bias.defined() ? add_row(y, bias) : y;
}

}  // namespace slim
