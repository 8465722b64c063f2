// Loops for thin products. See thin.h.
//
// A processor multiplies faster than it loads. So both loops work on tiles, some rows of one matrix
// against some of the other, and use whatever they load for the whole tile. The size of a tile is a
// template's argument: the compiler writes its loops out and keeps its numbers in registers.
#include "core/thin.h"

#include <algorithm>  // min

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
    for (int64_t j = 0; j < n; j++) {
        real column[kDepth];  // read before C is written, which might be B for all GCC knows
        for (int l = 0; l < kDepth; l++) column[l] = b[l * row_b + j];
        for (int i = 0; i < kRows; i++) {
            real sum = c[i * row_c + j];
            for (int l = 0; l < kDepth; l++) sum += weights[i][l] * column[l];
            c[i * row_c + j] = sum;
        }
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

// A register of 8 floats or 4 doubles, which may be read from wherever a real may be.
typedef real Lanes __attribute__((vector_size(32), aligned(sizeof(real)), may_alias));
constexpr int64_t kLanes = int64_t(sizeof(Lanes) / sizeof(real));

template <int kRows, int kCols>
void add_dots(int64_t k, real alpha, const real* a, int64_t row_a, const real* b, int64_t row_b,
              real* c, int64_t row_c) {
    Lanes sums[kRows][kCols];
    for (int i = 0; i < kRows; i++)
        for (int j = 0; j < kCols; j++) sums[i][j] = Lanes{};
    const int64_t whole = k / kLanes * kLanes;
    for (int64_t l = 0; l < whole; l += kLanes) {
        Lanes y[kCols];
        for (int j = 0; j < kCols; j++) y[j] = *reinterpret_cast<const Lanes*>(b + j * row_b + l);
        for (int i = 0; i < kRows; i++) {
            const Lanes x = *reinterpret_cast<const Lanes*>(a + i * row_a + l);
            for (int j = 0; j < kCols; j++) sums[i][j] += x * y[j];
        }
    }
    real totals[kRows][kCols] = {};
    for (int i = 0; i < kRows; i++)
        for (int j = 0; j < kCols; j++) {
            const Lanes sum = sums[i][j];
            for (int64_t half = kLanes / 2, l = 0; l < half; l++)
                totals[i][j] += sum[l] + sum[l + half];
        }
    for (int64_t l = whole; l < k; l++)
        for (int i = 0; i < kRows; i++)
            for (int j = 0; j < kCols; j++)
                totals[i][j] += a[i * row_a + l] * b[j * row_b + l];
    for (int i = 0; i < kRows; i++)
        for (int j = 0; j < kCols; j++) c[i * row_c + j] += alpha * totals[i][j];
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
    const int64_t thin = 8, long_enough = 64;  // for a side, and for the loop along rows
    const bool by_rows = trans_b == kNormal && std::min(m, k) <= thin && n >= long_enough;
    const bool by_dots = trans_b == kTransposed && trans_a == kNormal && std::min(m, n) <= thin &&
                         k >= long_enough;
    if (double(m) * double(n) * double(k) > 1e6 || !(by_rows || by_dots)) return false;
    if (beta != 1)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++)
                c[i * row_c + j] = beta == 0 ? 0 : beta * c[i * row_c + j];
    if (by_dots) {
        dots_product(m, n, k, alpha, a, row_a, b, row_b, c, row_c);
    } else {
        const int64_t step_i = trans_a == kTransposed ? 1 : row_a;
        const int64_t step_l = trans_a == kTransposed ? row_a : 1;
        rows_product(m, n, k, alpha, a, step_i, step_l, b, row_b, c, row_c);
    }
    return true;
}

}  // namespace slim
