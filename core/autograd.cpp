// Recording ops, walking the graph, the backward pass, GradMode. See autograd.h.
#include "core/autograd.h"

#include <algorithm>      // stable_sort
#include <atomic>         // numbers of nodes
#include <unordered_set>  // tensors already found

#include "core/trace.h"

namespace slim {

namespace {

std::atomic<uint64_t> nodes_made{0};  // one count for all threads: a graph may cross them
thread_local bool recording = true;

}  // namespace

Node::Node(const char* op, std::vector<Tensor> inputs_)
    : op(op), number(++nodes_made), inputs(std::move(inputs_)) {
    for (size_t i = 0; i < inputs.size(); i++) {
        versions.push_back(inputs[i].defined() ? inputs[i].version() : 0);
        needed.push_back(needs_grad(i));
    }
}

void Node::check_inputs() const {
    for (size_t i = 0; i < inputs.size(); i++)
        if (needs_grad(i) && !needed[i])
            fail(op, ": its input ", i, " of shape ", inputs[i].shape(),
                 " was asked to require a gradient after the op had run",
                 ". hint: call set_requires_grad() before the forward pass");
}

const Tensor& Node::saved_tensor(size_t i) const {
    if (inputs[i].defined() && inputs[i].version() != versions[i])
        fail(op, ": its input ", i, " of shape ", inputs[i].shape(),
             " was changed in place between the forward and the backward pass",
             ". hint: call backward before the optimiser's step, or work on a clone()");
    return inputs[i];
}

const real* Node::saved(size_t i) const {
    const Tensor& input = saved_tensor(i);
    return input.defined() ? input.data() : nullptr;
}

const real* Node::saved_result(const Tensor& y) const {
    check(y.version() == result_version, op, ": its result of shape ", y.shape(),
          " was changed in place between the forward and the backward pass",
          ". hint: work on a clone()");
    return y.data();
}

Tensor record(Tensor y, std::shared_ptr<Node> node) {
    bool wanted = false;
    for (size_t i = 0; i < node->inputs.size(); i++) wanted = wanted || node->needs_grad(i);
    const bool keep = wanted && recording;
    if (tracing()) trace_forward(*node, y, keep);
    if (!keep) return y;
    node->result_version = y.version();
    y.impl->requires_grad = true;
    y.impl->node = std::move(node);
    return y;
}

std::vector<Tensor> tensors_behind(const char* caller, const Tensor& y, uint64_t up_to) {
    std::vector<Tensor> found, pending{y};
    std::unordered_set<const TensorImpl*> seen;
    const auto number = [&](const Tensor& x) {  // 0 for a leaf
        const Node* node = x.impl->node.get();
        return node && node->number > up_to ? node->number : 0;
    };
    while (!pending.empty()) {
        const Tensor x = std::move(pending.back());
        pending.pop_back();
        if (!x.defined() || !seen.insert(x.impl.get()).second) continue;
        check(!x.impl->graph_used, caller, ": the graph behind a tensor of shape ", x.shape(),
              " was already used; a graph serves one backward pass, which frees it",
              ". hint: run the forward pass again, or add the losses and call backward once");
        found.push_back(x);
        if (number(x) == 0) continue;
        const std::vector<Tensor>& inputs = x.impl->node->inputs;
        // In reverse: what is put on last is taken off first, and that is the first input.
        pending.insert(pending.end(), inputs.rbegin(), inputs.rend());
    }
    std::stable_sort(found.begin(), found.end(), [&](const Tensor& a, const Tensor& b) {
        return number(a) < number(b);
    });
    return found;
}

void backward(const Tensor& loss) {
    check(loss.size() == 1, "backward: the loss has shape ", loss.shape(),
          "; it must have one element. hint: take its sum() or mean(), or pass dL/dy");
    backward(loss, ones(loss.shape()));
}

uint64_t newest_node() { return nodes_made; }

void backward(const Tensor& y, const Tensor& dy, uint64_t up_to) {
    check(y.requires_grad(), "backward: the tensor of shape ", y.shape(),
          " does not depend on anything that requires a gradient",
          ". hint: call set_requires_grad() on a leaf, and compute outside NoGrad");
    check(dy.shape() == y.shape(), "backward: the gradient has shape ", dy.shape(),
          " for a tensor of shape ", y.shape(), "; they must be equal");

    std::vector<Tensor> order = tensors_behind("backward", y, up_to);
    std::erase_if(order, [&](const Tensor& x) {
        return x.is_leaf() || x.impl->node->number <= up_to;
    });
    for (const Tensor& x : order) x.impl->node->check_inputs();

    // Seed: dL/dy. A leaf may hold a gradient already, so this adds as every op does.
    Tensor seeded = y;
    real* seed = seeded.mutable_grad();
    const real* given = dy.data();
    for (int64_t i = 0; i < y.size(); i++) seed[i] += given[i];

    // Newest first. What a node saved, and its result's gradient, are freed as soon as it has run.
    try {
        for (; !order.empty(); order.pop_back()) {
            Tensor& x = order.back();
            const std::shared_ptr<Node> node = std::move(x.impl->node);
            x.impl->graph_used = true;
            x.mutable_grad();  // zeros, if no user of x has added anything
            node->backward(x);
            if (tracing()) trace_backward(*node, x);
            x.zero_grad();
        }
    } catch (...) {
        // Results whose nodes have not run may hold a part of their gradient. Drop it: a later pass
        // would add to it.
        for (Tensor& x : order) x.zero_grad();
        throw;
    }
}

GradMode::GradMode(bool on) : before_(recording) { recording = on; }
GradMode::~GradMode() { recording = before_; }
bool grad_enabled() { return recording; }

}  // namespace slim
