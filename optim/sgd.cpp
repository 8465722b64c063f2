// SGD. See sgd.h.
//
//     g = grad + weight_decay w
//     v = momentum v + g                   in the first step: v = g
//     w = w - lr g                         without momentum
//     w = w - lr v                         with momentum
//     w = w - lr (g + momentum v)          with Nesterov momentum
#include "optim/sgd.h"

namespace slim {

SGD::SGD(const std::vector<Tensor>& parameters, SGDOptions options)
    : SGD(std::vector<ParameterGroup<SGDOptions>>{{parameters, options}}) {}

SGD::SGD(const std::vector<ParameterGroup<SGDOptions>>& groups) {
    for (const auto& [parameters, o] : groups) {
        check_option("SGD", "lr", o.lr, 0, 1e10);
        check_option("SGD", "momentum", o.momentum, 0, 1);
        check_option("SGD", "weight_decay", o.weight_decay, 0, 1e10);
        check(!o.nesterov || o.momentum > 0, "SGD: nesterov with momentum = ", o.momentum,
              "; Nesterov's step needs a momentum above 0");
        add_group(parameters, o.momentum > 0 ? 1 : 0);
        options_.push_back(o);
    }
}

std::string SGD::text(size_t group) const {
    const SGDOptions& o = options_[group];
    return "SGD(lr=" + to_text(o.lr) + ", momentum=" + to_text(o.momentum) + ", weight_decay=" +
           to_text(o.weight_decay) + (o.nesterov ? ", nesterov)" : ")");
}

void SGD::update(Slot& slot) {
    const SGDOptions& o = options_[slot.group];
    const real lr = real(o.lr * lr_factor), momentum = real(o.momentum);
    const real decay = real(o.weight_decay);
    const real kept = slot.steps == 1 ? 0 : momentum;  // v starts as the first gradient
    for (const Piece& piece : pieces(slot.parameter)) {
        const int64_t n = piece.count;
        const real* grad = piece.grad;
        real* w = slot.parameter.mutable_data() + piece.first;
        if (o.momentum == 0) {
            for (int64_t i = 0; i < n; i++) w[i] -= lr * (grad[i] + decay * w[i]);
            continue;
        }
        real* v = slot.state[0].mutable_data() + piece.first;
        for (int64_t i = 0; i < n; i++) {
            const real g = grad[i] + decay * w[i];
            v[i] = kept * v[i] + g;
            w[i] -= lr * (o.nesterov ? g + momentum * v[i] : v[i]);
        }
    }
}

}  // namespace slim
