// Arithmetic, element by element, on tensors of equal shapes.
#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

static void check_same_shape(const char* op, const Tensor& a, const Tensor& b) {
    check(a.shape() == b.shape(), op, ": shapes differ: ", a.shape(), " and ", b.shape(),
          "; they must be equal. hint: to repeat a vector over a matrix use add_row, mul_row, ",
          "add_col or mul_col");
}

// ---- add ----------------------------------------------------------------------------------------
// y = a + b        da = dy, db = dy

struct AddNode : Node {
    AddNode(const Tensor& a, const Tensor& b) : Node("add", {a, b}) {}
    void backward(const Tensor& y) override {
        const real* dy = y.grad_data();
        for (Tensor& input : inputs) {  // a + a adds dy twice, as it must
            if (!input.requires_grad()) continue;
            real* d = input.mutable_grad();
            for (int64_t i = 0; i < y.size(); i++) d[i] += dy[i];
        }
    }
};

Tensor add(const Tensor& a, const Tensor& b) {
    check_same_shape("add", a, b);
    Tensor y(a.shape());
    const real *pa = a.data(), *pb = b.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = pa[i] + pb[i];
    return record(y, std::make_shared<AddNode>(a, b));
}

// ---- sub ----------------------------------------------------------------------------------------
// y = a - b        da = dy, db = -dy

struct SubNode : Node {
    SubNode(const Tensor& a, const Tensor& b) : Node("sub", {a, b}) {}
    void backward(const Tensor& y) override {
        const real* dy = y.grad_data();
        if (needs_grad(0)) {
            real* da = inputs[0].mutable_grad();
            for (int64_t i = 0; i < y.size(); i++) da[i] += dy[i];
        }
        if (needs_grad(1)) {
            real* db = inputs[1].mutable_grad();
            for (int64_t i = 0; i < y.size(); i++) db[i] -= dy[i];
        }
    }
};

Tensor sub(const Tensor& a, const Tensor& b) {
    check_same_shape("sub", a, b);
    Tensor y(a.shape());
    const real *pa = a.data(), *pb = b.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = pa[i] - pb[i];
    return record(y, std::make_shared<SubNode>(a, b));
}

// ---- mul ----------------------------------------------------------------------------------------
// y = a b          da = dy b, db = dy a

struct MulNode : Node {
    MulNode(const Tensor& a, const Tensor& b) : Node("mul", {a, b}) {}
    void backward(const Tensor& y) override {
        const real *a = saved(0), *b = saved(1), *dy = y.grad_data();
        if (needs_grad(0)) {
            real* da = inputs[0].mutable_grad();
            for (int64_t i = 0; i < y.size(); i++) da[i] += dy[i] * b[i];
        }
        if (needs_grad(1)) {
            real* db = inputs[1].mutable_grad();
            for (int64_t i = 0; i < y.size(); i++) db[i] += dy[i] * a[i];
        }
    }
};

Tensor mul(const Tensor& a, const Tensor& b) {
    check_same_shape("mul", a, b);
    Tensor y(a.shape());
    const real *pa = a.data(), *pb = b.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = pa[i] * pb[i];
    return record(y, std::make_shared<MulNode>(a, b));
}

// ---- div ----------------------------------------------------------------------------------------
// y = a / b        da = dy / b, db = -dy a / b^2

struct DivNode : Node {
    DivNode(const Tensor& a, const Tensor& b) : Node("div", {a, b}) {}
    void backward(const Tensor& y) override {
        const real *a = saved(0), *b = saved(1), *dy = y.grad_data();
        if (needs_grad(0)) {
            real* da = inputs[0].mutable_grad();
            for (int64_t i = 0; i < y.size(); i++) da[i] += dy[i] / b[i];
        }
        if (needs_grad(1)) {
            real* db = inputs[1].mutable_grad();
            // In double: b * b and each quotient leave float's range before the result does.
            for (int64_t i = 0; i < y.size(); i++)
                db[i] -= real(double(dy[i]) / b[i] * (double(a[i]) / b[i]));
        }
    }
};

Tensor div(const Tensor& a, const Tensor& b) {
    check_same_shape("div", a, b);
    Tensor y(a.shape());
    const real *pa = a.data(), *pb = b.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = pa[i] / pb[i];
    return record(y, std::make_shared<DivNode>(a, b));
}

// ---- scale --------------------------------------------------------------------------------------
// y = factor x     dx = factor dy

struct ScaleNode : Node {
    real factor;
    ScaleNode(const Tensor& x, real factor) : Node("scale", {x}), factor(factor) {}
    void backward(const Tensor& y) override {
        const real* dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < y.size(); i++) dx[i] += factor * dy[i];
    }
};

Tensor scale(const Tensor& x, double factor) {
    Tensor y(x.shape());
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = real(factor) * in[i];
    return record(y, std::make_shared<ScaleNode>(x, real(factor)));
}

// ---- add_scalar ---------------------------------------------------------------------------------
// y = x + term     dx = dy

struct AddScalarNode : Node {
    explicit AddScalarNode(const Tensor& x) : Node("add_scalar", {x}) {}
    void backward(const Tensor& y) override {
        const real* dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < y.size(); i++) dx[i] += dy[i];
    }
};

Tensor add_scalar(const Tensor& x, double term) {
    Tensor y(x.shape());
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = in[i] + real(term);
    return record(y, std::make_shared<AddScalarNode>(x));
}

}  // namespace slim
