// Ops that change a tensor's shape, order or storage and leave its elements as they are.
#include <algorithm>  // copy_n, count

#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

// For reshape and clone: each element of dy goes back to the element of x that it came from.
struct PassThroughNode : Node {
    PassThroughNode(const char* op, const Tensor& x) : Node(op, {x}) {}
    void backward(const Tensor& y) override {
        const real* dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < y.size(); i++) dx[i] += dy[i];
    }
};

// ---- reshape ------------------------------------------------------------------------------------
// The same elements in the same order, so the same storage; the gradients are kept apart.

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

// ---- transpose ----------------------------------------------------------------------------------
// y_ji = x_ij      [rows, cols] -> [cols, rows]
// dx_ij = dy_ji

struct TransposeNode : Node {
    explicit TransposeNode(const Tensor& x) : Node("transpose", {x}) {}
    void backward(const Tensor& y) override {
        const int64_t cols = y.size(0), rows = y.size(1);
        const real* dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++) dx[i * cols + j] += dy[j * rows + i];
    }
};

Tensor transpose(const Tensor& x) {
    check(x.dim() == 2, "transpose: got shape ", x.shape(), "; it must have 2 axes");
    const int64_t rows = x.size(0), cols = x.size(1);
    Tensor y({cols, rows});
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t j = 0; j < cols; j++)
        for (int64_t i = 0; i < rows; i++) out[j * rows + i] = in[i * cols + j];
    return record(y, std::make_shared<TransposeNode>(x));
}

// ---- clone --------------------------------------------------------------------------------------

Tensor clone(const Tensor& x) {
    Tensor y(x.shape());
    std::copy_n(x.data(), x.size(), y.mutable_data());
    return record(y, std::make_shared<PassThroughNode>("clone", x));
}

}  // namespace slim
