// Adam and AdamW. See adam.h. In step t, for each parameter w:
//
//     w = w - lr weight_decay w                 AdamW only
//     g = grad + weight_decay w                 Adam only; else g = grad
//     m = beta1 m + (1 - beta1) g
//     v = beta2 v + (1 - beta2) g^2
//     w = w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
//
// m and v are running means; DoRA's magnitude m is one of the w. Optimizer::step() calls update()
// for each parameter that has a gradient. One loop does all of it. For small models the square root
// and the division take most of its time, for large ones memory access.
#include "optim/adam.h"

#include <cmath>  // pow, sqrt

namespace slim {

using Groups = std::vector<ParameterGroup<AdamOptions>>;

Adam::Adam(const std::vector<Tensor>& parameters, AdamOptions options)
    : Adam(Groups{{parameters, options}}) {}
Adam::Adam(const Groups& groups) : Adam("Adam", groups, false) {}
AdamW::AdamW(const std::vector<Tensor>& parameters, AdamOptions options)
    : AdamW(Groups{{parameters, options}}) {}
AdamW::AdamW(const Groups& groups) : Adam("AdamW", groups, true) {}

Adam::Adam(const char* name, const Groups& groups, bool decoupled) : decoupled_(decoupled) {
    for (const auto& [parameters, o] : groups) {
        check_option(name, "lr", o.lr, 0, 1e10);
        check_option(name, "beta1", o.beta1, 0, 0.99999);
        check_option(name, "beta2", o.beta2, 0, 0.99999);
        check_option(name, "eps", o.eps, 0, 1e10);
        options_.push_back(o);
        options_.back().weight_decay = o.weight_decay.value_or(decoupled ? 0.01 : 0);
        check_option(name, "weight_decay", *options_.back().weight_decay, 0, 1e10);
        add_group(parameters, 2);
    }
}

std::string Adam::text(size_t group) const {
    const AdamOptions& o = options_[group];
    return (decoupled_ ? "AdamW(lr=" : "Adam(lr=") + to_text(o.lr) + ", beta1=" +
           to_text(o.beta1) + ", beta2=" + to_text(o.beta2) + ", eps=" + to_text(o.eps) +
           ", weight_decay=" + to_text(*o.weight_decay) + ")";
}

void Adam::update(Slot& slot) {
    const AdamOptions& o = options_[slot.group];
    const double lr = o.lr * lr_factor, t = double(slot.steps);
    const real beta1 = real(o.beta1), rest1 = real(1 - o.beta1);
    const real beta2 = real(o.beta2), rest2 = real(1 - o.beta2);
    const real step = real(lr / (1 - std::pow(o.beta1, t)));
    const real unbias = real(1 / std::sqrt(1 - std::pow(o.beta2, t)));
    const real eps = real(o.eps);
    const real shrink = decoupled_ ? real(1 - lr * *o.weight_decay) : 1;
    const real decay = decoupled_ ? 0 : real(*o.weight_decay);

    for (const Piece& piece : pieces(slot.parameter)) {
        const int64_t n = piece.count;
        const real* grad = piece.grad;
        real* w = slot.parameter.mutable_data() + piece.first;
        real* m = slot.state[0].mutable_data() + piece.first;
        real* v = slot.state[1].mutable_data() + piece.first;
        for (int64_t i = 0; i < n; i++) {
            const real g = grad[i] + decay * w[i];
            m[i] = beta1 * m[i] + rest1 * g;
            v[i] = beta2 * v[i] + rest2 * g * g;
            w[i] = shrink * w[i] - step * m[i] / (std::sqrt(v[i]) * unbias + eps);
        }
    }
}

}  // namespace slim
