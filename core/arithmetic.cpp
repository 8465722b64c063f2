// Arithmetic, element by element: of two tensors of equal shapes, or of a tensor and a number.
#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

// ---- add, sub, mul, div -------------------------------------------------------------------------
// Each op states its formulas for one element: y, da and db. The loops below are shared.

namespace {

struct Add {
    static constexpr const char* name = "add";
    static constexpr bool reads_inputs = false;  // in backward
    static real y(real a, real b) { return a + b; }
    static real da(real dy, real, real) { return dy; }
    static real db(real dy, real, real) { return dy; }
};

struct Sub {
    static constexpr const char* name = "sub";
    static constexpr bool reads_inputs = false;
    static real y(real a, real b) { return a - b; }
    static real da(real dy, real, real) { return dy; }
    static real db(real dy, real, real) { return -dy; }
};

struct Mul {
    static constexpr const char* name = "mul";
    static constexpr bool reads_inputs = true;
    static real y(real a, real b) { return a * b; }
    static real da(real dy, real, real b) { return dy * b; }
    static real db(real dy, real a, real) { return dy * a; }
};

struct Div {
    static constexpr const char* name = "div";
    static constexpr bool reads_inputs = true;
    static real y(real a, real b) { return a / b; }
    static real da(real dy, real, real b) { return dy / b; }
    // -dy a / b^2, in double: in float, b^2 or a quotient could overflow, or become 0, although the
    // result does not.
    static real db(real dy, real a, real b) { return real(-(double(dy) / b * (double(a) / b))); }
};

template <class Op>
struct ElementwiseNode : Node {
    ElementwiseNode(const Tensor& a, const Tensor& b) : Node(Op::name, {a, b}) {}
    void backward(const Tensor& y) override {
        const real* dy = y.grad_data();
        // add and sub do not read a and b, which may have changed: saved() would throw. dy is
        // passed in their place and not used.
        const real *a = Op::reads_inputs ? saved(0) : dy, *b = Op::reads_inputs ? saved(1) : dy;
        if (needs_grad(0)) {
            const Tensor::GradSlot da = inputs[0].grad_slot();
            for (int64_t i = 0; i < y.size(); i++) da.add(i, Op::da(dy[i], a[i], b[i]));
        }
        if (needs_grad(1)) {  // in a * a this is the same gradient: both loops add to it
            const Tensor::GradSlot db = inputs[1].grad_slot();
            for (int64_t i = 0; i < y.size(); i++) db.add(i, Op::db(dy[i], a[i], b[i]));
        }
    }
};

template <class Op>
Tensor elementwise(const Tensor& a, const Tensor& b) {
    check(a.shape() == b.shape(), Op::name, ": shapes differ: ", a.shape(), " and ", b.shape(),
          "; they must be equal. hint: to repeat a vector over a matrix use add_row, mul_row, ",
          "add_col or mul_col");
    Tensor y(a.shape());
    const real *pa = a.data(), *pb = b.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = Op::y(pa[i], pb[i]);
    return record(y, std::make_shared<ElementwiseNode<Op>>(a, b));
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) { return elementwise<Add>(a, b); }
Tensor sub(const Tensor& a, const Tensor& b) { return elementwise<Sub>(a, b); }
Tensor mul(const Tensor& a, const Tensor& b) { return elementwise<Mul>(a, b); }
Tensor div(const Tensor& a, const Tensor& b) { return elementwise<Div>(a, b); }

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
