// Loops for thin products. See thin.h.
//
// A processor multiplies faster than it loads. So both loops work on tiles, some rows of one matrix
// against some of the other, and use whatever they load for the whole tile. The size of a tile is a
// template's argument: the compiler writes its loops out and keeps its numbers in registers.
#include "core/thin.h"

#include <algorithm>  // min
#include <cstring>    // memcpy

namespace slim {

namespace {

// ---- C += alpha op(A) B -------------------------------------------------------------------------
// Row i of C is a sum of rows of B with row i of op(A) for weights. Element (i, l) of op(A) is at
// a[i * step_i + l * step_l]. Works on kRows rows of C and kDepth rows of B, over all columns.

template <int kRows, int kDepth>
void add_rows(int64_t n, real alpha, const real* a, int64_t step_i, int64_t step_l, const real* b,
              int64_t row_b, real* c, int64_t row_c) {
    real weights[kRows][kDepth];
    for (int i = 0; i < kRows; i++)
        for (int l = 0; l < kDepth; l++) weights[i][l] = alpha * a[i * step_i + l * step_l];
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        for (int i = 0; i < kRows; i++) {
            real sum = c[i * row_c + j];
            for (int l = 0; l < kDepth; l++) sum += weights[i][l] * b[l * row_b + j];
            c[i * row_c + j] = sum;
        }
}

void rows_product(int64_t m, int64_t n, int64_t k, real alpha, const real* a, int64_t step_i,
                  int64_t step_l, const real* b, int64_t row_b, real* c, int64_t row_c) {
    for (int64_t l = 0, depth; l < k; l += depth) {
        depth = l + 4 <= k ? 4 : 1;
        for (int64_t i = 0, rows; i < m; i += rows) {
            rows = i + 4 <= m ? 4 : 1;
            const auto tile = depth == 4 ? (rows == 4 ? add_rows<4, 4> : add_rows<1, 4>)
                                         : (rows == 4 ? add_rows<4, 1> : add_rows<1, 1>);
            tile(n, alpha, a + i * step_i + l * step_l, step_i, step_l, b + l * row_b, row_b,
                 c + i * row_c, row_c);
        }
    }
}

// ---- C += alpha A B^T ---------------------------------------------------------------------------
// Element (i, j) of C is the dot product of row i of A and row j of B, summed in lanes.

typedef real Lanes __attribute__((vector_size(32)));  // a register of 8 floats or 4 doubles
constexpr int64_t kLanes = int64_t(sizeof(Lanes) / sizeof(real));

template <int kRows, int kCols>
void add_dots(int64_t k, real alpha, const real* a, int64_t row_a, const real* b, int64_t row_b,
              real* c, int64_t row_c) {
    Lanes sums[kRows][kCols];
    for (int i = 0; i < kRows; i++)
        for (int j = 0; j < kCols; j++) sums[i][j] = Lanes{};
    const int64_t whole = k / kLanes * kLanes;
    for (int64_t l = 0; l < whole; l += kLanes)
        for (int i = 0; i < kRows; i++)
            for (int j = 0; j < kCols; j++) {
                Lanes x, y;  // memcpy: their addresses need not be multiples of 32
                std::memcpy(&x, a + i * row_a + l, sizeof x);
                std::memcpy(&y, b + j * row_b + l, sizeof y);
                sums[i][j] += x * y;
            }
    for (int i = 0; i < kRows; i++)
        for (int j = 0; j < kCols; j++) {
            real total = 0;
            for (int64_t lane = 0; lane < kLanes; lane++) total += sums[i][j][lane];
            for (int64_t l = whole; l < k; l++) total += a[i * row_a + l] * b[j * row_b + l];
            c[i * row_c + j] += alpha * total;
        }
}

void dots_product(int64_t m, int64_t n, int64_t k, real alpha, const real* a, int64_t row_a,
                  const real* b, int64_t row_b, real* c, int64_t row_c) {
    for (int64_t i = 0, rows; i < m; i += rows) {
        rows = i + 4 <= m ? 4 : 1;
        for (int64_t j = 0, cols; j < n; j += cols) {
            cols = j + 3 <= n ? 3 : 1;
            const auto tile = rows == 4 ? (cols == 3 ? add_dots<4, 3> : add_dots<4, 1>)
                                        : (cols == 3 ? add_dots<1, 3> : add_dots<1, 1>);
            tile(k, alpha, a + i * row_a, row_a, b + j * row_b, row_b, c + i * row_c + j, row_c);
        }
    }
}

}  // namespace

// ---- which, if any ------------------------------------------------------------------------------

bool thin_gemm(Transpose trans_a, Transpose trans_b, int64_t m, int64_t n, int64_t k, real alpha,
               const real* a, int64_t row_a, const real* b, int64_t row_b, real beta, real* c,
               int64_t row_c) {
    const int64_t thin = 8, long_enough = 16;  // for a side, and for the loop over lanes
    const bool rows = trans_b == kNormal, dots = trans_b == kTransposed && trans_a == kNormal;
    if (double(m) * double(n) * double(k) > 1e6) return false;
    if (!(rows && std::min(m, k) <= thin && n >= long_enough) &&
        !(dots && std::min(m, n) <= thin && k >= long_enough))
        return false;
    for (int64_t i = 0; i < m && beta != 1; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * row_c + j] = beta == 0 ? 0 : beta * c[i * row_c + j];
    const int64_t step_i = trans_a == kTransposed ? 1 : row_a;
    const int64_t step_l = trans_a == kTransposed ? row_a : 1;
    if (rows) rows_product(m, n, k, alpha, a, step_i, step_l, b, row_b, c, row_c);
    else dots_product(m, n, k, alpha, a, row_a, b, row_b, c, row_c);
    return true;
}

}  // namespace slim
