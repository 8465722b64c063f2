// Sums and means, over everything or along one axis; norms along one axis; add_column_sums(), for
// the gradients of biases and of vectors that scale columns (DoRA's c); squared_norms() for DoRA.
//
// An axis splits a row-major tensor into [outer, n, inner]: outer is the product of the sizes
// before the axis, n its own size, inner the product of those after it. Element (o, k, i) lies at
// (o n + k) inner + i; the reduced tensor keeps (o, i), at o inner + i.
#include <algorithm>  // fill, min
#include <cmath>      // sqrt

#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

namespace {

struct AxisSplit {
    int64_t outer = 1, n = 1, inner = 1;
    Shape reduced;  // the shape without the axis

    AxisSplit(const char* op, const Tensor& x, int64_t axis) {
        axis = checked_axis(op, x, axis);
        for (int64_t d = 0; d < x.dim(); d++) {
            if (d == axis) n = x.size(d);
            else (d < axis ? outer : inner) *= x.size(d);
            if (d != axis) reduced.push_back(x.size(d));
        }
    }
};

}  // namespace

// ---- sum and mean -------------------------------------------------------------------------------
// y = share sum_i x_i      dx_i = share dy      share: 1 for sum, 1/n for mean
//
// Sums are taken in double: a sum of many floats loses digits, or overflows before it is divided.

struct SumNode : Node {
    double share;
    SumNode(const char* op, const Tensor& x, double share) : Node(op, {x}), share(share) {}
    void backward(const Tensor& y) override {
        const real dx_i = real(share * y.grad_data()[0]);
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < inputs[0].size(); i++) dx[i] += dx_i;
    }
};

static Tensor sum_all(const char* op, const Tensor& x, double share) {
    const real* in = x.data();
    double total = 0;
    for (int64_t i = 0; i < x.size(); i++) total += in[i];
    return record(scalar(share * total), std::make_shared<SumNode>(op, x, share));
}

Tensor sum(const Tensor& x) { return sum_all("sum", x, 1); }
Tensor mean(const Tensor& x) { return sum_all("mean", x, 1 / double(x.size())); }

// ---- sum and mean along an axis -----------------------------------------------------------------
// y_oi = share sum_k x_oki       dx_oki = share dy_oi

struct SumAxisNode : Node {
    AxisSplit s;
    double share;
    SumAxisNode(const char* op, const Tensor& x, const AxisSplit& s, double share)
        : Node(op, {x}), s(s), share(share) {}
    void backward(const Tensor& y) override {
        const real* dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t o = 0; o < s.outer; o++)
            for (int64_t k = 0; k < s.n; k++)
                for (int64_t i = 0; i < s.inner; i++)
                    dx[(o * s.n + k) * s.inner + i] += real(share * dy[o * s.inner + i]);
    }
};

static Tensor sum_axis(const char* op, const Tensor& x, const AxisSplit& s, double share) {
    Tensor y(s.reduced);
    const real* in = x.data();
    real* out = y.mutable_data();
    std::vector<double> total(size_t(s.inner));
    for (int64_t o = 0; o < s.outer; o++) {
        std::fill(total.begin(), total.end(), 0.0);
        for (int64_t k = 0; k < s.n; k++)
            for (int64_t i = 0; i < s.inner; i++)
                total[size_t(i)] += in[(o * s.n + k) * s.inner + i];
        for (int64_t i = 0; i < s.inner; i++) out[o * s.inner + i] = real(share * total[size_t(i)]);
    }
    return record(y, std::make_shared<SumAxisNode>(op, x, s, share));
}

Tensor sum(const Tensor& x, int64_t axis) {
    return sum_axis("sum", x, AxisSplit("sum", x, axis), 1);
}
Tensor mean(const Tensor& x, int64_t axis) {
    const AxisSplit s("mean", x, axis);
    return sum_axis("mean", x, s, 1 / double(s.n));
}

void add_column_sums(const real* dy, int64_t rows, int64_t cols, real* sums, const real* x) {
    constexpr int64_t kBlock = 64;  // columns at a time: their sums stay in the cache
    double total[kBlock];
    for (int64_t first = 0; first < cols; first += kBlock) {
        const int64_t width = std::min(kBlock, cols - first);
        std::fill_n(total, width, 0.0);
        for (int64_t i = 0; i < rows; i++) {
            const real *row = dy + i * cols + first, *factor = x + i * cols + first;
            if (x)
                for (int64_t j = 0; j < width; j++) total[j] += double(row[j]) * factor[j];
            else
                for (int64_t j = 0; j < width; j++) total[j] += row[j];
        }
        for (int64_t j = 0; j < width; j++) sums[first + j] += real(total[j]);
    }
}

// ---- norm along an axis -------------------------------------------------------------------------
// y_oi = sqrt(sum_k x_oki^2)
// dx_oki = dy_oi x_oki / y_oi      (0 where y_oi is 0, the choice of PyTorch)

struct NormNode : Node {
    AxisSplit s;
    NormNode(const Tensor& x, const AxisSplit& s) : Node("norm", {x}), s(s) {}
    void backward(const Tensor& y) override {
        const real *x = saved(0), *norm = saved_result(y), *dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t o = 0; o < s.outer; o++)
            for (int64_t k = 0; k < s.n; k++)
                for (int64_t i = 0; i < s.inner; i++) {
                    const int64_t at = (o * s.n + k) * s.inner + i, to = o * s.inner + i;
                    // x / y is at most 1; dy / y would overflow where y is tiny.
                    if (norm[to] != 0) dx[at] += dy[to] * (x[at] / norm[to]);
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
