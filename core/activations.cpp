// Functions of one tensor, element by element: relu, tanh, sigmoid, exp, log, sqrt; and dropout.
#include <cmath>  // exp, log, sqrt, tanh

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"

namespace slim {

// ---- relu ---------------------------------------------------------------------------------------
// y = max(x, 0)
// dx = dy where x > 0, else 0       (at x == 0 we choose 0, as PyTorch does)

struct ReluNode : Node {
    explicit ReluNode(const Tensor& x) : Node("relu", {x}) {}
    void backward(const Tensor& y) override {
        const real* x = saved(0);
        const real* dy = y.grad_data();
        const Tensor::GradSlot dx = inputs[0].grad_slot();
        for (int64_t i = 0; i < y.size(); i++) dx.add(i, x[i] > 0 ? dy[i] : 0);
    }
};

Tensor relu(const Tensor& x) {
    Tensor y(x.shape());
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) {
        out[i] = in[i] < 0 ? 0 : in[i];  // NaN stays NaN: a diverging run must not look healthy
    }
    return record(y, std::make_shared<ReluNode>(x));
}

// ---- tanh ---------------------------------------------------------------------------------------
// dx = dy (1 - y^2)

struct TanhNode : Node {
    explicit TanhNode(const Tensor& x) : Node("tanh", {x}) {}
    void backward(const Tensor& result) override {
        const real *y = saved_result(result), *dy = result.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < result.size(); i++) dx[i] += dy[i] * (1 - y[i] * y[i]);
    }
};

Tensor tanh(const Tensor& x) {
    Tensor y(x.shape());
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = std::tanh(in[i]);
    return record(y, std::make_shared<TanhNode>(x));
}

// ---- sigmoid ------------------------------------------------------------------------------------
// y = 1 / (1 + e^-x)
// dx = dy y (1 - y)

struct SigmoidNode : Node {
    explicit SigmoidNode(const Tensor& x) : Node("sigmoid", {x}) {}
    void backward(const Tensor& result) override {
        const real *y = saved_result(result), *dy = result.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < result.size(); i++) dx[i] += dy[i] * y[i] * (1 - y[i]);
    }
};

Tensor sigmoid(const Tensor& x) {
    Tensor y(x.shape());
    const real* in = x.data();
    real* out = y.mutable_data();
    // e^-x overflows to infinity for very negative x, and 1 / infinity is the right answer, 0.
    for (int64_t i = 0; i < y.size(); i++) out[i] = 1 / (1 + std::exp(-in[i]));
    return record(y, std::make_shared<SigmoidNode>(x));
}

// ---- exp ----------------------------------------------------------------------------------------
// dx = dy y

struct ExpNode : Node {
    explicit ExpNode(const Tensor& x) : Node("exp", {x}) {}
    void backward(const Tensor& result) override {
        const real *y = saved_result(result), *dy = result.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < result.size(); i++) dx[i] += dy[i] * y[i];
    }
};

Tensor exp(const Tensor& x) {
    Tensor y(x.shape());
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = std::exp(in[i]);
    return record(y, std::make_shared<ExpNode>(x));
}

// ---- log ----------------------------------------------------------------------------------------
// dx = dy / x

struct LogNode : Node {
    explicit LogNode(const Tensor& x) : Node("log", {x}) {}
    void backward(const Tensor& y) override {
        const real* x = saved(0);
        const real* dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < y.size(); i++) dx[i] += dy[i] / x[i];
    }
};

Tensor log(const Tensor& x) {
    Tensor y(x.shape());
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = std::log(in[i]);
    return record(y, std::make_shared<LogNode>(x));
}

// ---- sqrt ---------------------------------------------------------------------------------------
// dx = dy / (2 y)                   (infinite at x == 0, as in PyTorch)

struct SqrtNode : Node {
    explicit SqrtNode(const Tensor& x) : Node("sqrt", {x}) {}
    void backward(const Tensor& result) override {
        const real *y = saved_result(result), *dy = result.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < result.size(); i++) dx[i] += dy[i] / (2 * y[i]);
    }
};

Tensor sqrt(const Tensor& x) {
    Tensor y(x.shape());
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = std::sqrt(in[i]);
    return record(y, std::make_shared<SqrtNode>(x));
}

// ---- dropout ------------------------------------------------------------------------------------
// mask_i = 0 with probability p, else 1 / (1 - p)
// y = mask x
// dx = mask dy

struct DropoutNode : Node {
    Tensor mask;
    DropoutNode(const Tensor& x, const Tensor& mask) : Node("dropout", {x}), mask(mask) {}
    void backward(const Tensor& result) override {
        const real *keep = mask.data(), *dy = result.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < result.size(); i++) dx[i] += keep[i] * dy[i];
    }
};

Tensor dropout(const Tensor& x, double p, Rng& rng) {
    check(p >= 0 && p <= 1, "dropout: p = ", p, "; the probability must be between 0 and 1");
    if (p == 0) return x;
    Tensor mask(x.shape()), y(x.shape());
    const real* in = x.data();
    real *keep = mask.mutable_data(), *out = y.mutable_data();
    const real kept = real(1 / (1 - p));  // infinite if p is 1, and not used
    for (int64_t i = 0; i < y.size(); i++) keep[i] = rng.uniform() < p ? 0 : kept;
    for (int64_t i = 0; i < y.size(); i++) out[i] = keep[i] * in[i];
    return record(y, std::make_shared<DropoutNode>(x, mask));
}

}  // namespace slim
