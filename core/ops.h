// The catalogue of ops on tensors. (Layers' ops stand beside their layers, in nn/; those of a
// transformer in transformer.h.) Each is differentiable unless it says otherwise. Its derivation
// and its backward stand beside its forward in the .cpp file named above it. PyTorch's function of
// the same name does the same thing unless the comment says otherwise. Shapes are never stretched
// silently: + - * / demand equal shapes, and an op that repeats a vector over a matrix says so in
// its name (add_row, mul_col). All throw Error when shapes do not fit.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace slim {

class Rng;

// ---- arithmetic.cpp: element by element, of equal shapes or with a number -----------------------

Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
Tensor scale(const Tensor& x, double factor);      // factor * x
Tensor add_scalar(const Tensor& x, double term);   // x + term

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator*(double factor, const Tensor& x) { return scale(x, factor); }
inline Tensor operator*(const Tensor& x, double factor) { return scale(x, factor); }
inline Tensor operator/(const Tensor& x, double divisor) { return scale(x, 1 / divisor); }
inline Tensor operator+(const Tensor& x, double term) { return add_scalar(x, term); }
inline Tensor operator+(double term, const Tensor& x) { return add_scalar(x, term); }
inline Tensor operator-(const Tensor& x, double term) { return add_scalar(x, -term); }
inline Tensor operator-(double term, const Tensor& x) { return add_scalar(scale(x, -1), term); }
inline Tensor operator-(const Tensor& x) { return scale(x, -1); }

// ---- shape.cpp ----------------------------------------------------------------------------------

Tensor reshape(const Tensor& x, const Shape& shape);  // shares x's elements; one -1 is inferred
Tensor transpose(const Tensor& x);  // x [rows, cols] -> [cols, rows], a copy (torch: x.T)
Tensor clone(const Tensor& x);                        // a copy with its own storage

// ---- activations.cpp: element by element --------------------------------------------------------

Tensor relu(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);   // of 0 is -inf, of a negative number NaN, as in PyTorch
Tensor sqrt(const Tensor& x);

// Training only: zeroes each element with probability p and scales the rest by 1 / (1 - p), so that
// the expected value stays (inverted dropout). Does not draw from rng when p is 0.
Tensor dropout(const Tensor& x, double p, Rng& rng);  // 0 <= p <= 1

// ---- broadcast.cpp: a vector over a matrix x [rows, cols] ---------------------------------------

Tensor add_row(const Tensor& x, const Tensor& v);  // v [cols]: y_ij = x_ij + v_j
Tensor mul_row(const Tensor& x, const Tensor& v);  // v [cols]: y_ij = x_ij * v_j
Tensor add_col(const Tensor& x, const Tensor& v);  // v [rows]: y_ij = x_ij + v_i
Tensor mul_col(const Tensor& x, const Tensor& v);  // v [rows]: y_ij = x_ij * v_i

// x [rows, cols], c [cols], b [cols] or undefined: y_ij = x_ij * c_j + b_j, in one pass.
Tensor scale_shift(const Tensor& x, const Tensor& c, const Tensor& b = {});

// ---- reduce.cpp: over everything, or over one axis, which disappears ----------------------------

Tensor sum(const Tensor& x);  // shape ()
Tensor sum(const Tensor& x, int64_t axis);
Tensor mean(const Tensor& x);  // of nothing is NaN, as in PyTorch
Tensor mean(const Tensor& x, int64_t axis);
Tensor norm(const Tensor& x, int64_t axis);  // Euclidean (x.norm(dim=axis)); no gradient at zero
std::vector<double> squared_norms(const Tensor& x, int64_t axis);  // not differentiable

// For backward functions: adds the sum of each column of dy [rows, cols] to sums [cols]; with x
// [rows, cols], the sum of each column of dy * x. Adds in double, so that no digits are lost.
void add_column_sums(const real* dy, int64_t rows, int64_t cols, real* sums,
                     const real* x = nullptr);

// ---- matmul.cpp ---------------------------------------------------------------------------------

Tensor matmul(const Tensor& a, const Tensor& b);     // a [m, k], b [k, n]: a b
Tensor matmul_nt(const Tensor& a, const Tensor& b);  // a [m, k], b [n, k]: a b^T
Tensor matmul_tn(const Tensor& a, const Tensor& b);  // a [k, m], b [k, n]: a^T b

// ---- loss.cpp -----------------------------------------------------------------------------------

Tensor softmax(const Tensor& x);      // over the last axis
Tensor log_softmax(const Tensor& x);  // over the last axis

// logits [batch, classes], one label 0 .. classes-1 per row: the mean of -log
// softmax(logits)[label] over the batch. Fused: equal to minus the mean of the chosen entries of
// log_softmax.
Tensor cross_entropy(const Tensor& logits, std::span<const int> labels);

Tensor mse_loss(const Tensor& prediction, const Tensor& target);  // mean of squared differences

// The column of the largest entry in each row of x [rows, cols]. Not differentiable.
std::vector<int> argmax_rows(const Tensor& x);

}  // namespace slim
