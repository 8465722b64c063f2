// The loop that every optimiser shares. See optimizer.h.
#include "optim/optimizer.h"

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
    if (!stepped_) warn_about_unreached();
    stepped_ = true;
}

void Optimizer::warn_about_unreached() {
    std::string list;
    for (size_t i = 0; i < slots_.size(); i++)
        if (slots_[i].steps == 0 && slots_[i].parameter.requires_grad())
            list += (list.empty() ? "" : ", ") + to_text(i) + " of shape " +
                    to_text(slots_[i].parameter.shape());
    if (!list.empty())
        std::fprintf(stderr,
                     "optimizer: the loss does not reach these of its %zu parameters (counted from "
                     "0): %s; they are not trained\n",
                     slots_.size(), list.c_str());
}

std::vector<Optimizer::Piece> Optimizer::pieces(const Tensor& parameter) {
    const RowGradient* sparse = parameter.row_grad();
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

// The name of tensor k of parameter i's state.
static std::string state_name(size_t i, size_t k) {
    return std::to_string(i) + "." + std::to_string(k);
}

std::map<std::string, Tensor> Optimizer::state_dict() const {
    std::map<std::string, Tensor> state;
    for (size_t i = 0; i < slots_.size(); i++)
        for (size_t k = 0; k < slots_[i].state.size(); k++)
            state[state_name(i, k)] = slots_[i].state[k];
    return state;
}

std::vector<int64_t> Optimizer::steps() const {
    std::vector<int64_t> list;
    for (const Slot& slot : slots_) list.push_back(slot.steps);
    return list;
}

void Optimizer::check_state(const std::map<std::string, Tensor>& state,
                            const std::vector<int64_t>& steps) const {
    check(steps.size() == slots_.size(), "optimizer: a state for ", steps.size(),
          " parameters; this optimiser has ", slots_.size());
    size_t expected = 0;
    for (size_t i = 0; i < slots_.size(); i++) {
        check(steps[i] >= 0, "optimizer: the state counts ", steps[i], " steps of parameter ", i,
              "; it must be 0 or more");
        for (size_t k = 0; steps[i] > 0 && k < slots_[i].state_count; k++, expected++) {
            const auto at = state.find(state_name(i, k));
            check(at != state.end(), "optimizer: the state lacks ", state_name(i, k));
            check(at->second.shape() == slots_[i].parameter.shape(), "optimizer: the state's ",
                  at->first, " has shape ", at->second.shape(), "; the parameter has shape ",
                  slots_[i].parameter.shape());
        }
    }
    check(state.size() == expected, "optimizer: a state of ", state.size(), " tensors; ", expected,
          " belong to the parameters that have been updated");
}

void Optimizer::load_state(const std::map<std::string, Tensor>& state,
                           const std::vector<int64_t>& steps) {
    check_state(state, steps);
    for (size_t i = 0; i < slots_.size(); i++) {
        Slot& slot = slots_[i];
        slot.steps = steps[i];
        slot.state.clear();
        for (size_t k = 0; steps[i] > 0 && k < slot.state_count; k++) {
            slot.state.push_back(zeros_like(slot.parameter));
            copy_values(state.at(state_name(i, k)), slot.state.back());
        }
    }
}

void check_option(const char* optimizer, const char* name, double value, double low, double high) {
    check(std::isfinite(value) && value >= low && value <= high, optimizer, ": ", name, " = ",
          value, "; it must be a number between ", low, " and ", high);
}

}  // namespace slim
