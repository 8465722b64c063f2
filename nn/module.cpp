// Walks over a module's members: parameters, names, state dict, modes, freezing. See module.h.
#include "nn/module.h"

#include <algorithm>  // max, min
#include <functional>
#include <ostream>
#include <set>  // what was met already

#include "core/random.h"

namespace slim {

namespace {

std::string join(const std::string& prefix, const std::string& name) {
    return prefix.empty() ? name : prefix + "." + name;
}

// Calls f(path, member) for every member below the module, in PyTorch's order: a module's own
// parameters first, then its children, depth first; both in the order of members().
void walk(Module& module, const std::string& prefix,
          const std::function<void(const std::string&, const Member&)>& f) {
    const std::vector<Member> members = module.members();
    for (const Member& member : members)
        if (!member.child) f(join(prefix, member.name), member);
    for (const Member& member : members) {
        if (!member.child) continue;
        const std::string path = join(prefix, member.name);
        f(path, member);
        walk(*member.child, path, f);
    }
}

// Edits (insertions, deletions, replacements) that lead from a to b (Levenshtein's distance).
size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); j++) row[j] = j;
    for (size_t i = 1; i <= a.size(); i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.size(); j++) {
            const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
        }
    }
    return row[b.size()];
}

}  // namespace

// Names may come from files: the time is bounded, and names of more than 200 characters are not
// compared.
std::string nearest_name(const std::string& wanted, const std::vector<std::string>& names) {
    constexpr size_t kLongest = 200, kMaxWork = 100'000'000;
    std::string best;
    size_t least = 0, work = 0;
    for (const std::string& name : names) {
        work += wanted.size() * name.size();
        if (std::max(wanted.size(), name.size()) > kLongest || work > kMaxWork) continue;
        const size_t distance = edit_distance(wanted, name);
        if (!best.empty() && distance >= least) continue;
        best = name;
        least = distance;
    }
    return best;
}

Tensor Module::forward(const Tensor&) { fail(name(), ": has no forward(Tensor)"); }

Tensor Module::lookup(std::span<const int>) {
    fail(name(), ": does not take ids; lookup is for Embedding and modules made of it");
}

std::vector<NamedParameter> Module::named_parameters() {
    std::vector<NamedParameter> found;
    std::set<const TensorImpl*> met;
    walk(*this, "", [&](const std::string& path, const Member& member) {
        if (member.parameter && member.parameter->defined() &&
            met.insert(member.parameter->impl.get()).second)
            found.push_back({path, *member.parameter});
    });
    return found;
}

std::vector<Tensor> Module::parameters() {
    std::vector<Tensor> tensors;
    for (const NamedParameter& p : named_parameters()) tensors.push_back(p.tensor);
    return tensors;
}

std::vector<NamedModule> Module::named_modules() {
    std::vector<NamedModule> found{{"", this, {}, {}}};
    std::map<const Module*, size_t> met{{this, 0}};
    walk(*this, "", [&](const std::string& path, const Member& member) {
        if (!member.child) return;
        const auto [at, is_new] = met.insert({member.child, found.size()});
        if (is_new) found.push_back({path, member.child, {}, {}});
        else found[at->second].aliases.push_back(path);
        if (member.slot) found[at->second].slots.push_back(member.slot);
    });
    return found;
}

std::vector<Rng*> Module::rngs() {
    std::vector<Rng*> found;
    for (const NamedModule& m : named_modules())
        for (const Member& member : m.module->members())
            if (member.rng) found.push_back(member.rng);
    return found;
}

StateDict Module::state_dict() {
    StateDict state;
    walk(*this, "", [&](const std::string& path, const Member& member) {
        if (member.parameter && member.parameter->defined()) state[path] = *member.parameter;
    });
    return state;
}

void Module::load_state_dict(const StateDict& state) {
    StateDict own = state_dict();
    std::vector<std::string> names;
    for (const auto& [name, tensor] : own) names.push_back(name);
    for (const auto& [name, tensor] : state) {
        const std::string nearest = own.count(name) ? name : nearest_name(name, names);
        check(own.count(name) > 0, "load_state_dict: unexpected name \"", name, "\"; ",
              this->name(), " has no such parameter",
              nearest.empty() ? "" : ". hint: did you mean \"" + nearest + "\"?");
        check(own[name].shape() == tensor.shape(), "load_state_dict: \"", name, "\" has shape ",
              tensor.shape(), " in the state, but ", own[name].shape(), " in the ", this->name());
    }
    for (const auto& [name, tensor] : own)
        check(state.count(name) > 0, "load_state_dict: \"", name, "\" of shape ", tensor.shape(),
              " is missing from the state, which has ", state.size(), " tensors");
    for (auto& [name, tensor] : own) copy_values(state.at(name), tensor);
}

void Module::train(bool on) {
    for (const NamedModule& m : named_modules()) m.module->training = on;
}

TrainingModes::TrainingModes(Module& model) {
    for (const NamedModule& m : model.named_modules())
        modes_.push_back({m.module, m.module->training});
}

void TrainingModes::restore() const {
    for (const auto& [module, training] : modes_) module->training = training;
}

void Module::zero_grad() {
    for (Tensor& p : parameters()) p.zero_grad();
}

void Module::set_requires_grad(bool on) {
    for (Tensor& p : parameters()) p.set_requires_grad(on);
}

// ---- printing -----------------------------------------------------------------------------------

// The extra text stands in the module's own line if there are no children, else in one of its own.
static std::string print_module(Module& module, const std::string& indent) {
    const std::string inner = "\n" + indent + "  ";
    std::string children;
    for (const Member& member : module.members())
        if (member.child)
            children += inner + "(" + member.name +
                        "): " + print_module(*member.child, indent + "  ");
    const std::string extra = module.extra();
    if (children.empty()) return module.name() + "(" + extra + ")";
    return module.name() + "(" + (extra.empty() ? "" : inner + extra) + children + "\n" + indent +
           ")";
}

std::string to_string(Module& module) { return print_module(module, ""); }
std::ostream& operator<<(std::ostream& out, Module& module) { return out << to_string(module); }

}  // namespace slim
