// What a checkpoint saves and restores of an optimiser. See optimizer.h.
#include "optim/optimizer.h"

namespace slim {

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
    check(state.size() == expected, "optimizer: the state has ", state.size(),
          " tensors; expected ", expected, ", for the parameters that have been updated");
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

std::vector<std::string> Optimizer::descriptions() const {
    std::vector<std::string> list;
    for (const Slot& slot : slots_) list.push_back(text(slot.group));
    return list;
}

}  // namespace slim
