// The base of SGD and Adam: the loop over the parameters, their state, its checks, and groups of
// parameters with options of their own.
//
//     Adam adam(model.parameters(), {.lr = 0.005});
//     ...
//     adam.zero_grad();  backward(loss);  adam.step();
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace slim {

// An optimiser is a formula for one parameter; the loop over the groups, the state and the checks
// are here. A parameter without a gradient is left as it is; state is made at its first update. One
// that is frozen may be unfrozen later and is trained from then on, as in torch.
class Optimizer {
public:
    virtual ~Optimizer() = default;

    // Updates every parameter that has a gradient. Throws when there are parameters and none has
    // one: nothing would be trained. A warning would scroll away while the run goes on for hours.
    // The likely reasons are an optimiser made before attach(), and a forgotten backward().
    // Says once on stderr which parameters require a gradient and have never had one.
    void step();
    void zero_grad();  // drops the gradients

    std::vector<Tensor> parameters() const;  // of all groups, frozen ones too

    // ---- for checkpoints: optimizer_state.cpp

    // state_dict(): "<i>.<k>" is tensor k of parameter i's state. steps(): updates per parameter.
    // check_state() throws unless load_state() would fit.
    std::map<std::string, Tensor> state_dict() const;
    std::vector<int64_t> steps() const;
    void check_state(const std::map<std::string, Tensor>& state,
                     const std::vector<int64_t>& steps) const;
    void load_state(const std::map<std::string, Tensor>& state, const std::vector<int64_t>& steps);
    // Returns the formula and options of each parameter: "SGD(lr=0.1, momentum=0, ...)".
    std::vector<std::string> descriptions() const;

    // Multiplies the learning rate of every group; a schedule sets it for each step. At least 0.
    double lr_factor = 1;

protected:
    // One parameter, and what the optimiser remembers about it.
    struct Slot {
        Tensor parameter;
        size_t group;               // index into the optimiser's options
        size_t state_count;         // how many tensors it remembers
        int64_t steps = 0;          // updates so far
        std::vector<Tensor> state;  // [state_count] of the parameter's shape, from the first update
        bool reported = false;      // as one that the loss does not reach
    };

    // A stretch of a parameter that this step changes, and its gradient [count]: the whole
    // parameter or, if its gradient is a RowGradient (of an Embedding with sparse = true), one row.
    // The other rows stay as they are: momentum and weight decay do not reach them, and their state
    // waits.
    // torch.optim.SparseAdam skips rows in the same way. It differs in eps, which it adds before
    // v's bias is corrected, and it has no weight decay.
    struct Piece {
        int64_t first, count;
        const real* grad;
    };
    static std::vector<Piece> pieces(const Tensor& parameter);

    void add_group(const std::vector<Tensor>& parameters, size_t tensors_of_state);
    virtual void update(Slot& slot) = 0;  // slot.steps counts this update already
    virtual std::string text(size_t group) const = 0;  // the formula's name and options

    std::vector<Slot> slots_;
    size_t groups_ = 0;

private:
    void report_unreached();
};

template <class Options>
struct ParameterGroup {
    std::vector<Tensor> parameters;
    Options options;
};

// Throws unless the number is finite and in [low, high]: "Adam: lr = nan; it must be ...".
void check_option(const char* optimizer, const char* name, double value, double low, double high);

}  // namespace slim
