// Ops that change a tensor's shape or storage and leave its numbers as they are. For both, the
// gradient is handed back unchanged, element by element.
#include <algorithm>  // copy_n, count

#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

struct PassThroughNode : Node {
    PassThroughNode(const char* op, const Tensor& x) : Node(op, {x}) {}
    void backward(const Tensor& y) override {
        const real* dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < y.size(); i++) dx[i] += dy[i];
    }
};

// ---- reshape ------------------------------------------------------------------------------------
// The same numbers in the same order, hence the same storage; the gradients are kept apart.

Tensor reshape(const Tensor& x, const Shape& shape) {
    check(std::count(shape.begin(), shape.end(), -1) <= 1, "reshape: to ", shape,
          "; at most one dimension can be -1, which is then worked out");
    Shape wanted = shape;
    for (int64_t& n : wanted) {
        if (n != -1) continue;
        n = 1;
        int64_t rest = checked_size(wanted);
        check(rest > 0 && x.size() % rest == 0, "reshape: from ", x.shape(), " to ", shape,
              "; no size for -1 makes the ", x.size(), " elements fit");
        n = x.size() / rest;
    }
    check(checked_size(wanted) == x.size(), "reshape: from ", x.shape(), " to ", shape,
          "; both must have the same number of elements, which is ", x.size());
    Tensor y = x.detach();
    y.impl->shape = wanted;
    return record(y, std::make_shared<PassThroughNode>("reshape", x));
}

// ---- clone --------------------------------------------------------------------------------------

Tensor clone(const Tensor& x) {
    Tensor y(x.shape());
    std::copy_n(x.data(), x.size(), y.mutable_data());
    return record(y, std::make_shared<PassThroughNode>("clone", x));
}

}  // namespace slim
