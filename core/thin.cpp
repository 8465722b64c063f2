// Hand-written kernels for skinny products, such as LoRA's A and B. See gemm_kernels.h.
//
// A processor multiplies faster than it loads. So both kernels below work on tiles, some rows of
// one matrix with some of the other, and use each loaded value for the whole tile. Its size is a
// template's argument: the compiler unrolls its loops and keeps its values in registers.
#include "core/gemm_kernels.h"

#include <algorithm>  // min

namespace slim {

namespace {

// Both loops overwrite C where kFresh, and otherwise add to it.

// ---- along rows of B ----------------------------------------------------
// Row i of C is a sum of rows of B with row i of A for weights. Element (i, l) of A is at
// a[i * step_i + l * step_l]. Works on kRows rows of C and kDepth rows of B, over all columns.

template <bool kFresh, int kRows, int kDepth>
void add_rows(int64_t n, real alpha, const real* a, int64_t step_i, int64_t step_l, const real* b,
              int64_t row_b, real* c, int64_t row_c) {
    real weights[kRows][kDepth];
    for (int i = 0; i < kRows; i++)
        for (int l = 0; l < kDepth; l++) weights[i][l] = alpha * a[i * step_i + l * step_l];
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        real column[kDepth];  // read before C is written: GCC cannot know that they do not overlap
        for (int l = 0; l < kDepth; l++) column[l] = b[l * row_b + j];
        for (int i = 0; i < kRows; i++) {
            real sum = kFresh ? 0 : c[i * row_c + j];
            for (int l = 0; l < kDepth; l++) sum += weights[i][l] * column[l];
            c[i * row_c + j] = sum;
        }
    }
}

template <bool kFresh>
auto rows_tile(int64_t rows, int64_t depth) {
    if (depth == 4) return rows == 4 ? add_rows<kFresh, 4, 4> : add_rows<kFresh, 1, 4>;
    return rows == 4 ? add_rows<kFresh, 4, 1> : add_rows<kFresh, 1, 1>;
}

template <bool kFresh>
void rows_product(MatrixView a, MatrixView b, MatrixTarget c, real alpha) {
    const int64_t step_i = a.transposed ? 1 : a.stride, step_l = a.transposed ? a.stride : 1;
    for (int64_t l = 0, depth; l < a.cols; l += depth) {
        depth = l + 4 <= a.cols ? 4 : 1;
        for (int64_t i = 0, rows; i < c.rows; i += rows) {
            rows = i + 4 <= c.rows ? 4 : 1;
            const auto tile = kFresh && l == 0 ? rows_tile<kFresh>(rows, depth)
                                               : rows_tile<false>(rows, depth);
            tile(c.cols, alpha, a.data + i * step_i + l * step_l, step_i, step_l,
                 b.data + l * b.stride, b.stride, c.data + i * c.stride, c.stride);
        }
    }
}

// ---- by dot products ----------------------------------------------------
// With B transposed, element (i, j) of C is the dot product of two rows in memory, summed in lanes.

// A register of 8 floats or 4 doubles, which may be read from wherever a real may be.
typedef real Lanes __attribute__((vector_size(32), aligned(sizeof(real)), may_alias));
constexpr int64_t kLanes = int64_t(sizeof(Lanes) / sizeof(real));

template <bool kFresh, int kRows, int kCols>
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
        for (int j = 0; j < kCols; j++) {
            real& to = c[i * row_c + j];
            to = alpha * totals[i][j] + (kFresh ? 0 : to);
        }
}

template <bool kFresh>
auto dots_tile(int64_t rows, int64_t cols) {
    if (cols == 3) return rows == 4 ? add_dots<kFresh, 4, 3> : add_dots<kFresh, 1, 3>;
    return rows == 4 ? add_dots<kFresh, 4, 1> : add_dots<kFresh, 1, 1>;
}

// 12 rows of B meet all rows of A before the next 12: a long B is read once from memory.
template <bool kFresh>
void dots_product(MatrixView a, MatrixView b, MatrixTarget c, real alpha) {
    for (int64_t first = 0; first < c.cols; first += 12) {
        const int64_t end = std::min(first + 12, c.cols);
        for (int64_t i = 0, rows; i < c.rows; i += rows) {
            rows = i + 4 <= c.rows ? 4 : 1;
            for (int64_t j = first, cols; j < end; j += cols) {
                cols = j + 3 <= end ? 3 : 1;
                dots_tile<kFresh>(rows, cols)(a.cols, alpha, a.data + i * a.stride, a.stride,
                                              b.data + j * b.stride, b.stride,
                                              c.data + i * c.stride + j, c.stride);
            }
        }
    }
}

}  // namespace

// ---- dispatch -----------------------------------------------------------------------------------
// C [m, n] = A [m, k] B [k, n]. The bounds are those below which OpenBLAS took longer in most of
// 200 cases, with its kernels for AVX2 and for AVX-512.
//     by rows: B not transposed, m or k at most 16, n at least 64;
//     by dots: A not transposed, B transposed, m at most 16 or n at most 12, k at least 64.

static bool by_rows(MatrixView a, MatrixView b) {
    return !b.transposed && (a.rows <= 16 || a.cols <= 16) && b.cols >= 64;
}

static bool by_dots(MatrixView a, MatrixView b) {
    return b.transposed && !a.transposed && (a.rows <= 16 || b.cols <= 12) && a.cols >= 64;
}

bool is_thin(MatrixView a, MatrixView b) {
    return a.cols > 0 && (by_rows(a, b) || by_dots(a, b));
}

void thin_gemm(MatrixView a, MatrixView b, MatrixTarget c, real alpha) {
    const bool fresh = c.beta == 0;
    if (!fresh && c.beta != 1)
        for (int64_t i = 0; i < c.rows; i++)
            for (int64_t j = 0; j < c.cols; j++) c.data[i * c.stride + j] *= c.beta;
    const auto product = by_dots(a, b) ? (fresh ? dots_product<true> : dots_product<false>)
                                       : (fresh ? rows_product<true> : rows_product<false>);
    product(a, b, c, alpha);
}

}  // namespace slim
