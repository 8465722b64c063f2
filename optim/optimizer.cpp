// The loop that every optimiser shares. See optimizer.h.
#include "optim/optimizer.h"

#include <cmath>  // isfinite

namespace slim {

void Optimizer::add_group(const std::vector<Tensor>& parameters, size_t tensors_of_state) {
    for (const Tensor& p : parameters) {
        if (!p.requires_grad()) continue;
        check(p.is_leaf(), "optimizer: a tensor of shape ", p.shape(),
              " is the result of an op; only leaves can be optimised");
        for (const Slot& slot : slots_)
            check(slot.parameter.impl != p.impl, "optimizer: a parameter of shape ", p.shape(),
                  " was given twice; it would be updated twice in each step");
        Slot slot{p, groups_, 0, {}};
        for (size_t i = 0; i < tensors_of_state; i++) slot.state.push_back(zeros_like(p));
        slots_.push_back(slot);
    }
    groups_++;
}

void Optimizer::step() {
    for (Slot& slot : slots_) {
        if (!slot.parameter.has_grad()) continue;  // no gradient: not part of this step's loss
        slot.steps++;
        update(slot);
    }
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

std::map<std::string, Tensor> Optimizer::state_dict() const {
    std::map<std::string, Tensor> state;
    for (size_t i = 0; i < slots_.size(); i++)
        for (size_t k = 0; k < slots_[i].state.size(); k++)
            state[std::to_string(i) + "." + std::to_string(k)] = slots_[i].state[k];
    return state;
}

std::vector<int64_t> Optimizer::steps() const {
    std::vector<int64_t> list;
    for (const Slot& slot : slots_) list.push_back(slot.steps);
    return list;
}

void Optimizer::check_state(const std::map<std::string, Tensor>& state,
                            const std::vector<int64_t>& steps) const {
    const std::map<std::string, Tensor> own = state_dict();
    check(steps.size() == slots_.size() && state.size() == own.size(),
          "optimizer: a state of ", state.size(), " tensors for ", steps.size(),
          " parameters; this optimiser has ", own.size(), " for ", slots_.size());
    for (const auto& [name, tensor] : own) {
        const auto at = state.find(name);
        check(at != state.end(), "optimizer: the state lacks ", name);
        check(at->second.shape() == tensor.shape(), "optimizer: the state's ", name, " has shape ",
              at->second.shape(), ", but this optimiser's has ", tensor.shape());
    }
}

void Optimizer::load_state(const std::map<std::string, Tensor>& state,
                           const std::vector<int64_t>& steps) {
    check_state(state, steps);
    for (auto [name, tensor] : state_dict()) copy_values(state.at(name), tensor);
    for (size_t i = 0; i < slots_.size(); i++) slots_[i].steps = steps[i];
}

void check_option(const char* optimizer, const char* name, double value, double low, double high) {
    check(std::isfinite(value) && value >= low && value <= high, optimizer, ": ", name, " = ",
          value, "; it must be a number between ", low, " and ", high);
}

}  // namespace slim
