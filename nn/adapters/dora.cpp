// DoRA by its definition, and factored. See dora.h.
//
// The definition forms B A, s B A, V and W', each of W's size, in every step. Its backward needs
// the full gradient of the weight, the very product that LoRA exists to avoid. None of that is
// necessary.
// All that DoRA adds to LoRA is the vector c = m / n, because
//
//     per output:  y = c . (x W^T + s x A^T B^T) + b        c scales the columns of y
//     per input:   y = (c . x) W^T + s (c . x) A^T B^T + b  c scales the columns of x
//
// and n follows from small products: dora_scale() in dora_scale.cpp.
#include "nn/adapters/dora.h"

#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

// ---- what both forms hold -----------------------------------------------------------------------

DoRABase::DoRABase(const ModulePtr& module, const AdapterConfig& config, Rng& rng)
    : LinearAdapter(module, config, rng) {
    m = initial_magnitude(linear->weight, config.axis);
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
          "; it forms W' and has no adapter branch to drop from. hint: use LinearWithDoRA");
    return slim::linear(x, merged_weight(), linear->bias);
}

// ---- LinearWithDoRA -----------------------------------------------------------------------------

Tensor LinearWithDoRA::forward(const Tensor& x) {
    if (is_merged()) return merged_form->forward(x);
    const Weight& W = linear->weight;
    const Tensor &bias = linear->bias, &A = lora.A, &B = lora.B;
    const double s = lora.scaling();
    const bool drops = training && lora.config.dropout > 0;
    if (W.is_trained()) {
        check(!drops, "LinearWithDoRA: dropout ", lora.config.dropout,
              " over a weight that is trained; there is no branch to drop from then. hint: freeze ",
              "the weight, or set the dropout to 0");
        return slim::linear(x, merged_weight(), bias);
    }

    const bool fixed = !training && !grad_enabled();  // c stays what it is from call to call
    // c = m / n, by dora_scale(). In backward scale_shift gives dc, and lora_linear dA and dB.
    // After both, dora_scale turns dc into dm (and, if exact, into more of dA and dB).
    const Tensor c = scale_(fixed, W, A, B, m, s, lora.config.axis, lora.config.norm_gradient);
    // With dropout, the base's output x W^T comes from x, and all that DoRA adds to it from
    // xa = dropout(x). (Per output this is what PEFT does.)
    //     y = (x + (c - 1) . xa) W^T + s (c . xa) A^T B^T + b         per input
    //     y = x W^T + (c - 1) . (xa W^T) + c . (s xa A^T B^T) + b     per output
    const Tensor xa = lora.input(x);
    if (lora.config.axis == Axis::kIn) {
        const Tensor scaled = scale_shift(xa, c);
        return lora_linear(drops ? x + (scaled - xa) : scaled, W, bias, scaled, A, B, s);
    }
    if (!drops) return scale_shift(lora_linear(x, W, {}, x, A, B, s), c, bias);
    const Tensor z = slim::linear(xa, W);
    return slim::linear(x, W, bias) + (scale_shift(z + lora.project(xa), c) - z);
}

}  // namespace slim
