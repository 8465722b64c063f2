// A vector combined with every row or every column of a matrix x [rows, cols].
#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

static void check_broadcast(const char* op, const Tensor& x, const Tensor& v, int64_t axis) {
    check(x.dim() == 2 && v.dim() == 1, op, ": got a matrix of shape ", x.shape(),
          " and a vector of shape ", v.shape(), "; they must have 2 axes and 1");
    check(x.size(axis) == v.size(), op, ": a matrix of shape ", x.shape(), " has ", x.size(axis),
          axis == 1 ? " columns" : " rows", ", but the vector has shape ", v.shape());
}

// ---- add_row ------------------------------------------------------------------------------------
// y_ij = x_ij + v_j        dx = dy, dv_j = sum_i dy_ij

struct AddRowNode : Node {
    AddRowNode(const Tensor& x, const Tensor& v) : Node("add_row", {x, v}) {}
    void backward(const Tensor& y) override {
        const int64_t rows = y.size(0), cols = y.size(1);
        const real* dy = y.grad_data();
        if (needs_grad(0)) {
            real* dx = inputs[0].mutable_grad();
            for (int64_t i = 0; i < rows * cols; i++) dx[i] += dy[i];
        }
        if (needs_grad(1)) add_column_sums(dy, rows, cols, inputs[1].mutable_grad());
    }
};

Tensor add_row(const Tensor& x, const Tensor& v) {
    check_broadcast("add_row", x, v, 1);
    const int64_t rows = x.size(0), cols = x.size(1);
    Tensor y(x.shape());
    const real *in = x.data(), *values = v.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) out[i * cols + j] = in[i * cols + j] + values[j];
    return record(y, std::make_shared<AddRowNode>(x, v));
}

// ---- mul_row ------------------------------------------------------------------------------------
// y_ij = x_ij v_j          dx_ij = dy_ij v_j, dv_j = sum_i dy_ij x_ij

struct MulRowNode : Node {
    MulRowNode(const Tensor& x, const Tensor& v) : Node("mul_row", {x, v}) {}
    void backward(const Tensor& y) override {
        const int64_t rows = y.size(0), cols = y.size(1);
        const real *x = saved(0), *v = saved(1), *dy = y.grad_data();
        if (needs_grad(0)) {
            real* dx = inputs[0].mutable_grad();
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < cols; j++) dx[i * cols + j] += dy[i * cols + j] * v[j];
        }
        if (needs_grad(1)) add_column_sums(dy, rows, cols, inputs[1].mutable_grad(), x);
    }
};

Tensor mul_row(const Tensor& x, const Tensor& v) {
    check_broadcast("mul_row", x, v, 1);
    const int64_t rows = x.size(0), cols = x.size(1);
    Tensor y(x.shape());
    const real *in = x.data(), *values = v.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) out[i * cols + j] = in[i * cols + j] * values[j];
    return record(y, std::make_shared<MulRowNode>(x, v));
}

// ---- add_col ------------------------------------------------------------------------------------
// y_ij = x_ij + v_i        dx = dy, dv_i = sum_j dy_ij

struct AddColNode : Node {
    AddColNode(const Tensor& x, const Tensor& v) : Node("add_col", {x, v}) {}
    void backward(const Tensor& y) override {
        const int64_t rows = y.size(0), cols = y.size(1);
        const real* dy = y.grad_data();
        if (needs_grad(0)) {
            real* dx = inputs[0].mutable_grad();
            for (int64_t i = 0; i < rows * cols; i++) dx[i] += dy[i];
        }
        if (needs_grad(1)) {
            real* dv = inputs[1].mutable_grad();
            for (int64_t i = 0; i < rows; i++) {
                double total = 0;
#pragma omp simd reduction(+ : total)
                for (int64_t j = 0; j < cols; j++) total += dy[i * cols + j];
                dv[i] += real(total);
            }
        }
    }
};

Tensor add_col(const Tensor& x, const Tensor& v) {
    check_broadcast("add_col", x, v, 0);
    const int64_t rows = x.size(0), cols = x.size(1);
    Tensor y(x.shape());
    const real *in = x.data(), *values = v.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) out[i * cols + j] = in[i * cols + j] + values[i];
    return record(y, std::make_shared<AddColNode>(x, v));
}

// ---- mul_col ------------------------------------------------------------------------------------
// y_ij = x_ij v_i          dx_ij = dy_ij v_i, dv_i = sum_j dy_ij x_ij

struct MulColNode : Node {
    MulColNode(const Tensor& x, const Tensor& v) : Node("mul_col", {x, v}) {}
    void backward(const Tensor& y) override {
        const int64_t rows = y.size(0), cols = y.size(1);
        const real *x = saved(0), *v = saved(1), *dy = y.grad_data();
        if (needs_grad(0)) {
            real* dx = inputs[0].mutable_grad();
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < cols; j++) dx[i * cols + j] += dy[i * cols + j] * v[i];
        }
        if (needs_grad(1)) {
            real* dv = inputs[1].mutable_grad();
            for (int64_t i = 0; i < rows; i++) {
                double total = 0;
#pragma omp simd reduction(+ : total)
                for (int64_t j = 0; j < cols; j++)
                    total += double(dy[i * cols + j]) * x[i * cols + j];
                dv[i] += real(total);
            }
        }
    }
};

Tensor mul_col(const Tensor& x, const Tensor& v) {
    check_broadcast("mul_col", x, v, 0);
    const int64_t rows = x.size(0), cols = x.size(1);
    Tensor y(x.shape());
    const real *in = x.data(), *values = v.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) out[i * cols + j] = in[i * cols + j] * values[i];
    return record(y, std::make_shared<MulColNode>(x, v));
}

}  // namespace slim
