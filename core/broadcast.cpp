// A vector v combined with every row or every column of a matrix x [rows, cols].
//
//             y_ij         dx_ij        dv
// add_row     x_ij + v_j   dy_ij        dv_j = sum_i dy_ij
// mul_row     x_ij v_j     dy_ij v_j    dv_j = sum_i dy_ij x_ij
// add_col     x_ij + v_i   dy_ij        dv_i = sum_j dy_ij
// mul_col     x_ij v_i     dy_ij v_i    dv_i = sum_j dy_ij x_ij
//
// scale_shift x_ij c_j + b_j is mul_row and add_row in one pass. DoRA multiplies by c with it.
#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

namespace {

// Template arguments, so that no loop tests them at run time.
enum Operation { kAdd, kMul };
enum Along { kRow, kCol };  // v lies along a row (v_j) or along a column (v_i)

template <Operation operation, Along along>
struct BroadcastNode : Node {
    using Node::Node;
    void backward(const Tensor& y) override {
        const int64_t rows = y.size(0), cols = y.size(1);
        const real* dy = y.grad_data();
        const real *x = nullptr, *v = nullptr;  // the additions do not read them
        if (operation == kMul) x = saved(0), v = saved(1);
        if (needs_grad(0)) {
            real* dx = inputs[0].mutable_grad();
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < cols; j++) {
                    const real g = dy[i * cols + j];
                    dx[i * cols + j] += operation == kMul ? g * v[along == kRow ? j : i] : g;
                }
        }
        if (!needs_grad(1)) return;
        real* dv = inputs[1].mutable_grad();
        if (along == kRow) add_column_sums(dy, rows, cols, dv, x);
        else
            for (int64_t i = 0; i < rows; i++) {
                double total = 0;
#pragma omp simd reduction(+ : total)
                for (int64_t j = 0; j < cols; j++) {
                    const double g = dy[i * cols + j];
                    total += operation == kMul ? g * x[i * cols + j] : g;
                }
                dv[i] += real(total);
            }
    }
};

template <Operation operation, Along along>
Tensor broadcast(const char* op, const Tensor& x, const Tensor& v) {
    check(x.dim() == 2 && v.dim() == 1, op, ": got a matrix of shape ", x.shape(),
          " and a vector of shape ", v.shape(), "; they must have 2 axes and 1");
    const int64_t rows = x.size(0), cols = x.size(1), wanted = along == kRow ? cols : rows;
    check(v.size() == wanted, op, ": a matrix of shape ", x.shape(), " has ", wanted,
          along == kRow ? " columns" : " rows", ", but the vector has shape ", v.shape());
    Tensor y(x.shape());
    const real *in = x.data(), *values = v.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            const real a = in[i * cols + j], b = values[along == kRow ? j : i];
            out[i * cols + j] = operation == kMul ? a * b : a + b;
        }
    using Made = BroadcastNode<operation, along>;
    return record(y, std::make_shared<Made>(op, std::vector<Tensor>{x, v}));
}

}  // namespace

Tensor add_row(const Tensor& x, const Tensor& v) { return broadcast<kAdd, kRow>("add_row", x, v); }
Tensor mul_row(const Tensor& x, const Tensor& v) { return broadcast<kMul, kRow>("mul_row", x, v); }
Tensor add_col(const Tensor& x, const Tensor& v) { return broadcast<kAdd, kCol>("add_col", x, v); }
Tensor mul_col(const Tensor& x, const Tensor& v) { return broadcast<kMul, kCol>("mul_col", x, v); }

// ---- scale_shift --------------------------------------------------------------------------------
// y_ij = x_ij c_j + b_j        dx_ij = dy_ij c_j, dc_j = sum_i dy_ij x_ij, db_j = sum_i dy_ij

struct ScaleShiftNode : Node {
    ScaleShiftNode(const Tensor& x, const Tensor& c, const Tensor& b)
        : Node("scale_shift", {x, c, b}) {}
    void backward(const Tensor& y) override {
        const int64_t rows = y.size(0), cols = y.size(1);
        const real *x = saved(0), *c = saved(1), *dy = y.grad_data();
        if (needs_grad(0)) {
            const Tensor::GradSlot dx = inputs[0].grad_slot();
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < cols; j++) dx.add(i * cols + j, dy[i * cols + j] * c[j]);
        }
        if (needs_grad(1)) add_column_sums(dy, rows, cols, inputs[1].mutable_grad(), x);
        if (needs_grad(2)) add_column_sums(dy, rows, cols, inputs[2].mutable_grad());
    }
};

Tensor scale_shift(const Tensor& x, const Tensor& c, const Tensor& b) {
    check(x.dim() == 2 && c.shape() == Shape{x.size(1)}, "scale_shift: got a matrix of shape ",
          x.shape(), " and a scale of shape ", c.shape(),
          "; the scale must have one element per column");
    check(!b.defined() || b.shape() == c.shape(), "scale_shift: a shift of shape ",
          b.defined() ? b.shape() : Shape{}, " for a scale of shape ", c.shape(),
          "; they must be equal");
    Tensor y(x.shape());
    const int64_t rows = x.size(0), cols = x.size(1);
    const Tensor shift = b.defined() ? b : full(c.shape(), -0.0);  // +0 would turn -0 into +0
    const real *in = x.data(), *scales = c.data(), *shifts = shift.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            out[i * cols + j] = in[i * cols + j] * scales[j] + shifts[j];
    return record(y, std::make_shared<ScaleShiftNode>(x, c, b));
}

}  // namespace slim
