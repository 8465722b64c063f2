// Sums, means and norms, over everything or along one axis.
//
// An axis splits a row-major tensor into [outer, n, inner]: outer is the product of the sizes
// before the axis, n its own size, inner the product of those after it. Element (o, k, i) lies at
// (o n + k) inner + i; the reduced tensor keeps (o, i), at o inner + i.
#include <cmath>  // sqrt

#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

namespace {

struct AxisSplit {
    int64_t outer = 1, n = 1, inner = 1;
    Shape reduced;  // the shape without the axis

    AxisSplit(const char* op, const Tensor& x, int64_t axis) {
        check(axis >= -x.dim() && axis < x.dim(), op, ": axis ", axis, " of a tensor of shape ",
              x.shape(), "; an axis is between ", -x.dim(), " and ", x.dim() - 1);
        if (axis < 0) axis += x.dim();
        for (int64_t d = 0; d < x.dim(); d++) {
            if (d == axis) n = x.size(d);
            else (d < axis ? outer : inner) *= x.size(d);
            if (d != axis) reduced.push_back(x.size(d));
        }
    }
};

}  // namespace

// ---- sum ----------------------------------------------------------------------------------------
// y = sum_i x_i            dx_i = dy

struct SumNode : Node {
    explicit SumNode(const Tensor& x) : Node("sum", {x}) {}
    void backward(const Tensor& y) override {
        const real dy = y.grad_data()[0];
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < inputs[0].size(); i++) dx[i] += dy;
    }
};

Tensor sum(const Tensor& x) {
    const real* in = x.data();
    double total = 0;  // double: 60,000 floats of one size lose digits otherwise
    for (int64_t i = 0; i < x.size(); i++) total += in[i];
    return record(scalar(total), std::make_shared<SumNode>(x));
}

Tensor mean(const Tensor& x) { return scale(sum(x), 1 / double(x.size())); }

// ---- sum along an axis --------------------------------------------------------------------------
// y_oi = sum_k x_oki       dx_oki = dy_oi

struct SumAxisNode : Node {
    AxisSplit s;
    SumAxisNode(const Tensor& x, const AxisSplit& s) : Node("sum", {x}), s(s) {}
    void backward(const Tensor& y) override {
        const real* dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t o = 0; o < s.outer; o++)
            for (int64_t k = 0; k < s.n; k++)
                for (int64_t i = 0; i < s.inner; i++)
                    dx[(o * s.n + k) * s.inner + i] += dy[o * s.inner + i];
    }
};

Tensor sum(const Tensor& x, int64_t axis) {
    AxisSplit s("sum", x, axis);
    Tensor y = zeros(s.reduced);
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t o = 0; o < s.outer; o++)
        for (int64_t k = 0; k < s.n; k++)
            for (int64_t i = 0; i < s.inner; i++)
                out[o * s.inner + i] += in[(o * s.n + k) * s.inner + i];
    return record(y, std::make_shared<SumAxisNode>(x, s));
}

Tensor mean(const Tensor& x, int64_t axis) {
    AxisSplit s("mean", x, axis);
    return scale(sum(x, axis), 1 / double(s.n));
}

// ---- norm along an axis -------------------------------------------------------------------------
// y_oi = sqrt(sum_k x_oki^2)
// dx_oki = dy_oi x_oki / y_oi      (0 where y_oi is 0, the choice of PyTorch)

struct NormNode : Node {
    AxisSplit s;
    NormNode(const Tensor& x, const AxisSplit& s) : Node("norm", {x}), s(s) {}
    void backward(const Tensor& y) override {
        const real *x = saved(0), *length = saved_result(y), *dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        Tensor ratio(s.reduced);  // dy / y
        real* r = ratio.mutable_data();
        for (int64_t i = 0; i < y.size(); i++) r[i] = length[i] != 0 ? dy[i] / length[i] : 0;
        for (int64_t o = 0; o < s.outer; o++)
            for (int64_t k = 0; k < s.n; k++)
                for (int64_t i = 0; i < s.inner; i++) {
                    const int64_t at = (o * s.n + k) * s.inner + i;
                    dx[at] += r[o * s.inner + i] * x[at];
                }
    }
};

std::vector<double> squared_norms(const Tensor& x, int64_t axis) {
    AxisSplit s("norm", x, axis);
    const real* in = x.data();
    std::vector<double> total(size_t(s.outer * s.inner), 0.0);
    for (int64_t o = 0; o < s.outer; o++) {
        if (s.inner == 1) {  // one sum, in as many parts as the processor adds at a time
            double sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t k = 0; k < s.n; k++) sum += double(in[o * s.n + k]) * in[o * s.n + k];
            total[size_t(o)] = sum;
            continue;
        }
        for (int64_t k = 0; k < s.n; k++)
            for (int64_t i = 0; i < s.inner; i++) {
                const double v = in[(o * s.n + k) * s.inner + i];
                total[size_t(o * s.inner + i)] += v * v;
            }
    }
    return total;
}

Tensor norm(const Tensor& x, int64_t axis) {
    AxisSplit s("norm", x, axis);
    const std::vector<double> squared = squared_norms(x, axis);
    Tensor y(s.reduced);
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = real(std::sqrt(squared[size_t(i)]));
    return record(y, std::make_shared<NormNode>(x, s));
}

}  // namespace slim
