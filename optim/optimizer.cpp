// The loop that every optimiser shares. See optimizer.h. What checkpoints need of an optimiser is
// in optimizer_state.cpp.
#include "optim/optimizer.h"

#include "core/row_gradient.h"

#include <cmath>   // isfinite
#include <cstdio>  // the warning

namespace slim {

void Optimizer::add_group(const std::vector<Tensor>& parameters, size_t tensors_of_state) {
    for (const Tensor& p : parameters) {
        check(p.is_leaf(), "optimizer: a tensor of shape ", p.shape(),
              " is the result of an op; only leaves can be optimised");
        for (const Slot& slot : slots_)
            check(slot.parameter.impl != p.impl, "optimizer: a parameter of shape ", p.shape(),
                  " was given twice; it would be updated twice in each step");
        slots_.push_back({p, groups_, tensors_of_state, 0, {}});
    }
    groups_++;
}

void Optimizer::step() {
    check(std::isfinite(lr_factor) && lr_factor >= 0, "optimizer: lr_factor = ", lr_factor,
          "; it must be a number, 0 or more");
    bool any = slots_.empty();
    for (Slot& slot : slots_) {
        if (!slot.parameter.has_grad()) continue;  // not part of this step's loss
        any = true;
        while (slot.state.size() < slot.state_count)
            slot.state.push_back(zeros_like(slot.parameter));
        slot.steps++;
        update(slot);
    }
    check(any, "optimizer: step: none of the ", slots_.size(), " parameters has a gradient",
          ". hint: call backward() first; after attach(), make a new optimiser of the model's ",
          "parameters");
    report_unreached();
}

void Optimizer::report_unreached() {
    std::string list;
    for (size_t i = 0; i < slots_.size(); i++) {
        Slot& slot = slots_[i];
        if (slot.reported || slot.steps > 0 || !slot.parameter.requires_grad()) continue;
        slot.reported = true;
        list += (list.empty() ? "" : ", ") + to_text(i) + " (shape " +
                to_text(slot.parameter.shape()) + ")";
    }
    if (list.empty()) return;
    std::fprintf(stderr,
                 "optimizer: the loss does not reach these of its %zu parameters (counted from 0): "
                 "%s; they are not trained\n",
                 slots_.size(), list.c_str());
}

std::vector<Optimizer::Piece> Optimizer::pieces(const Tensor& parameter) {
    const RowGradient* sparse = row_gradient(parameter);
    if (!sparse) return {{0, parameter.size(), parameter.grad_data()}};
    const int64_t width = parameter.size(1);
    const real* grad = sparse->values.data();
    std::vector<Piece> list;
    for (int64_t row : sparse->rows) {
        list.push_back({row * width, width, grad});
        grad += width;
    }
    return list;
}

void Optimizer::zero_grad() {
    for (Slot& slot : slots_) slot.parameter.zero_grad();
}

std::vector<Tensor> Optimizer::parameters() const {
    std::vector<Tensor> list;
    for (const Slot& slot : slots_) list.push_back(slot.parameter);
    return list;
}

void check_option(const char* optimizer, const char* name, double value, double low, double high) {
    check(std::isfinite(value) && value >= low && value <= high, optimizer, ": ", name, " = ",
          value, "; it must be a number between ", low, " and ", high);
}

}  // namespace slim
