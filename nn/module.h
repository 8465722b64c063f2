// Module: the base of every layer and model.
//
// A module describes itself once, in members(): the names of its parameters and of its children.
// Everything else derives from that description: parameter names, state dict, freezing, training
// mode, printing, and exchanging a child for another (which is how adapters get in).
//
// clang-format off
//     struct Net : Module {
//         ModulePtr hidden, output;  // such as std::make_shared<Linear>(784, 128, rng)
//         std::string name() const override { return "Net"; }
//         std::vector<Member> members() override {
//             return {{"hidden", hidden}, {"output", output}};
//         }
//         Tensor forward(const Tensor& x) override { return (*output)(relu((*hidden)(x))); }
//     };
// clang-format on
#pragma once

#include <iosfwd>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace slim {

struct Module;
class Rng;
using ModulePtr = std::shared_ptr<Module>;
using StateDict = std::map<std::string, Tensor>;

// One entry of a module's description. A child held as a ModulePtr can be exchanged for another;
// a child held by value cannot be replaced.
struct Member {
    std::string name;
    Tensor* parameter = nullptr;  // may be undefined (no bias): then it does not count
    Module* child = nullptr;
    ModulePtr* slot = nullptr;  // where the child is held, if it can be exchanged
    Rng* rng = nullptr;         // a generator that forward draws from

    Member(std::string name, Tensor& parameter) : name(std::move(name)), parameter(&parameter) {}
    Member(std::string name, Module& child) : name(std::move(name)), child(&child) {}
    Member(std::string name, ModulePtr& slot)
        : name(std::move(name)), child(slot.get()), slot(&slot) {}
    // An adapter could not take the child's place in such a pointer. Hold it as a ModulePtr.
    template <class M>
    Member(std::string name, std::shared_ptr<M>& child) = delete;
    Member(std::string name, Rng& rng) : name(std::move(name)), rng(&rng) {}
};

struct NamedParameter {
    std::string name;  // dotted path from the root: "layers.0.weight"
    Tensor tensor;
};

struct NamedModule {
    std::string name;  // "" for the root
    Module* module;
    std::vector<ModulePtr*> slots;     // every place that holds it; none if it is held by value
    std::vector<std::string> aliases;  // further names that lead to it
};

struct Module {
    virtual ~Module() = default;
    Module() = default;
    Module(const Module&) = delete;  // a copy would share its tensors; use load_state_dict
    Module& operator=(const Module&) = delete;

    // ---- what a module is: a new one overrides these
    virtual std::string name() const = 0;                   // "Linear"
    virtual std::string extra() const { return ""; }        // "in_features=784, out_features=128"
    virtual std::vector<Member> members() { return {}; }
    virtual Tensor forward(const Tensor& x);                // throws unless overridden
    virtual Tensor lookup(std::span<const int> ids);        // the same for modules that take ids

    // ---- what derives from it
    Tensor operator()(const Tensor& x) { return forward(x); }

    // In PyTorch's order: a module's own parameters, then its children's, in members()' order.
    // A tensor or module that is reached by two names is listed once, under the first.
    std::vector<NamedParameter> named_parameters();
    std::vector<Tensor> parameters();
    std::vector<NamedModule> named_modules();
    std::vector<Rng*> rngs();

    // Name -> tensor, sharing memory with the module. Tied tensors appear under every name.
    StateDict state_dict();

    // Copies the values in. Strict: throws and changes nothing if a name is missing, unexpected
    // (the nearest existing name is suggested) or has another shape.
    void load_state_dict(const StateDict& state);

    void train(bool on = true);  // sets `training` here and in all children: dropout and the like
    void eval() { train(false); }
    void zero_grad();
    void set_requires_grad(bool on);  // of every parameter

    bool training = true;
};

// The training flag of each module of a model, to restore later.
class TrainingModes {
public:
    explicit TrainingModes(Module& model);
    void restore() const;

private:
    std::vector<std::pair<Module*, bool>> modes_;
};

// Puts a model in evaluation mode. The destructor restores each module's mode.
class EvalMode {
public:
    explicit EvalMode(Module& model) : before_(model) { model.eval(); }
    ~EvalMode() { before_.restore(); }
    EvalMode(const EvalMode&) = delete;
    EvalMode& operator=(const EvalMode&) = delete;

private:
    TrainingModes before_;
};

// As PyTorch prints a model: one line per module, children indented.
std::string to_string(Module& module);
std::ostream& operator<<(std::ostream& out, Module& module);

// The existing name most like `wanted`, for error messages; "" if there is none.
std::string nearest_name(const std::string& wanted, const std::vector<std::string>& names);

}  // namespace slim
