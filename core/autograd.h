// Reverse-mode automatic differentiation.
//
// Every op that has an input which requires a gradient leaves a Node on its result: the inputs, and
// how to push the result's gradient back to them. Nodes are numbered as they are made, and an op is
// made after its inputs. So backward() visits the nodes newest first: all users of a value have
// added their shares to its gradient before the op that made the value passes it on. The order of
// creation is a topological order, and needs no recursion to be found.
#pragma once

#include <memory>
#include <vector>

#include "core/tensor.h"

namespace slim {

struct Node {
    Node(const char* op, std::vector<Tensor> inputs);
    virtual ~Node() = default;

    // Given dL/dy in y.grad_data(), adds dL/dinput to inputs[i].mutable_grad() for each input that
    // requires a gradient, and only for those.
    virtual void backward(const Tensor& y) = 0;

    // inputs[i], whose elements are those of the forward pass. Throws if they were changed since.
    const Tensor& saved_tensor(size_t i) const;
    // Its elements; null for an input that is undefined, as an absent bias is.
    const real* saved(size_t i) const;
    // The same for the op's result, for ops whose gradient is easiest to write with y.
    const real* saved_result(const Tensor& y) const;
    bool needs_grad(size_t i) const {
        return inputs[i].defined() && inputs[i].requires_grad();
    }
    // Throws if an input was made to require a gradient after this op ran. Other ops may have used
    // it before without leaving a node, and their share of its gradient would be missing.
    void check_inputs() const;

    const char* op;              // for messages and printing: "relu"
    uint64_t number;             // order of creation
    std::vector<Tensor> inputs;
    std::vector<uint64_t> versions;  // of the inputs' data in the forward pass
    std::vector<bool> needed;        // needs_grad of the inputs in the forward pass
    uint64_t result_version = 0;     // of the result
};

// Ends every op: attaches the node to the result y if an input requires a gradient and gradients
// are being recorded; otherwise the node is dropped. Returns y.
Tensor record(Tensor y, std::shared_ptr<Node> node);

// Returns y and every tensor that it was computed from: leaves first, then the results of ops in
// the order in which they were made. Results of nodes numbered up_to or below count as leaves.
// Throws in the name of `caller` if a backward pass has freed part of the graph.
std::vector<Tensor> tensors_behind(const char* caller, const Tensor& y, uint64_t up_to = 0);

// Computes dloss/dleaf for every leaf that requires a gradient, and adds it to the leaf's gradient.
// loss has one element. The graph serves one backward pass and is freed on the way; a second pass
// over any part of it throws. (PyTorch: loss.backward())
void backward(const Tensor& loss);

// The same from any y, given dL/dy of y's shape. (PyTorch: y.backward(gradient=dy)) The results of
// nodes numbered `up_to` or below are taken for leaves: they get their gradients and keep their
// graph. (Gradient checkpointing uses this, nn/recompute.h: its backward goes through the part that
// it has just computed again, and stops there.)
void backward(const Tensor& y, const Tensor& dy, uint64_t up_to = 0);

uint64_t newest_node();  // the number of the node that was made last, by any thread

// Turns the recording of graphs on or off while it lives. (PyTorch: torch.set_grad_enabled)
class GradMode {
public:
    explicit GradMode(bool on);
    ~GradMode();
    GradMode(const GradMode&) = delete;
    GradMode& operator=(const GradMode&) = delete;

private:
    bool before_;
};

// (PyTorch: torch.no_grad())
struct NoGrad : GradMode {
    NoGrad() : GradMode(false) {}
};

bool grad_enabled();

}  // namespace slim
