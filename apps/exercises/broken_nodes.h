// Five ops with a wrong backward, for exercise 3. Do not read: gradcheck has to tell.
#pragma once

#include <memory>

#include "core/autograd.h"
#include "core/ops.h"

namespace slim::broken {

// A node whose backward is a function.
struct FunctionNode : Node {
    void (*f)(FunctionNode&, const Tensor&);
    FunctionNode(const char* op, std::vector<Tensor> in, void (*f)(FunctionNode&, const Tensor&))
        : Node(op, std::move(in)), f(f) {}
    void backward(const Tensor& y) override { f(*this, y); }
};

inline Tensor run(const char* op, const Tensor& y, std::vector<Tensor> in,
                  void (*f)(FunctionNode&, const Tensor&)) {
    return record(y.detach(), std::make_shared<FunctionNode>(op, std::move(in), f));
}

inline Tensor node_1(const Tensor& a, const Tensor& b) {  // a - b
    return run("node_1", a - b, {a, b}, [](FunctionNode& n, const Tensor& y) {
        for (Tensor& x : n.inputs)
            for (int64_t i = 0; i < y.size(); i++) x.mutable_grad()[i] += y.grad_data()[i];
    });
}
inline Tensor node_2(const Tensor& a, const Tensor&) {  // exp(a)
    return run("node_2", exp(a), {a}, [](FunctionNode& n, const Tensor& y) {
        for (int64_t i = 0; i < y.size(); i++) n.inputs[0].mutable_grad()[i] += y.data()[i];
    });
}
inline Tensor node_3(const Tensor& a, const Tensor&) {  // a * a
    return run("node_3", a * a, {a}, [](FunctionNode& n, const Tensor& y) {
        for (int64_t i = 0; i < y.size(); i++)
            n.inputs[0].mutable_grad()[i] += n.saved(0)[i] * y.grad_data()[i];
    });
}
inline Tensor node_4(const Tensor& a, const Tensor&) {  // 3 a
    return run("node_4", 3 * a, {a}, [](FunctionNode& n, const Tensor& y) {
        for (int64_t i = 0; i < y.size(); i++)
            n.inputs[0].mutable_grad()[i] = 3 * y.grad_data()[i];
    });
}
inline Tensor node_5(const Tensor& a, const Tensor&) {  // tanh(a)
    return run("node_5", tanh(a), {a}, [](FunctionNode& n, const Tensor& y) {
        for (int64_t i = 0; i + 1 < y.size(); i++)
            n.inputs[0].mutable_grad()[i] += (1 - y.data()[i] * y.data()[i]) * y.grad_data()[i];
    });
}

inline Tensor (*const kNodes[])(const Tensor&, const Tensor&) = {node_1, node_2, node_3, node_4,
                                                                 node_5};
inline const char* const kMistakes = "dacbe";

}  // namespace slim::broken
