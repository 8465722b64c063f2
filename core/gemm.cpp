// gemm(): chooses a kernel (gemm_kernels.h), calls OpenBLAS, sets its threads, counts the work.
// See gemm.h.
#include "core/gemm.h"

#include <cblas.h>  // cblas_sgemm, cblas_dgemm, openblas_*

#include <algorithm>  // fill_n, max, min
#include <string_view>

#include "core/gemm_kernels.h"

namespace slim {

// ---- views --------------------------------------------------------------------------------------

static void check_matrix(const Tensor& x) {
    check(x.dim() == 2, "gemm: a tensor of shape ", x.shape(), "; it must be a matrix");
}

MatrixView view(const Tensor& x) {
    check_matrix(x);
    return {x.data(), x.size(0), x.size(1), x.size(1)};
}

MatrixView grad_view(const Tensor& y) {
    check_matrix(y);
    return {y.grad_data(), y.size(0), y.size(1), y.size(1)};
}

MatrixTarget overwrite(Tensor& y) {
    check_matrix(y);
    return {y.mutable_data(), y.size(0), y.size(1), y.size(1), 0};
}

MatrixTarget add_to(Tensor& y) {
    check_matrix(y);
    return {y.mutable_data(), y.size(0), y.size(1), y.size(1), 1};
}

MatrixTarget add_to_grad(Tensor& x) {
    check_matrix(x);
    const Tensor::GradSlot slot = x.grad_slot();
    return {slot.data, x.size(0), x.size(1), x.size(1), slot.beta};
}

// ---- threads ------------------------------------------------------------------------------------
// On a small or narrow product, threads wait for one another longer than they work. So it is
// computed by one thread.

static int threads = openblas_get_num_threads();

static double multiplications(MatrixView a, MatrixView b) {
    return double(a.rows) * double(a.cols) * double(b.cols);
}

static int threads_for(MatrixView a, MatrixView b) {
    const bool small = multiplications(a, b) < 1e6 || std::min(a.rows, b.cols) < 16;
    return small ? 1 : threads;
}

int blas_threads() { return threads; }

void set_blas_threads(int n) {
    check(n >= 1 && n <= 64, "threads: ", n, "; the number of threads must be between 1 and 64");
    openblas_set_num_threads(n);
    threads = openblas_get_num_threads();  // fewer, if OpenBLAS was built for fewer
}

// ---- BLAS ---------------------------------------------------------------------------------------

// BLAS has one name per element type; overloading picks the build's, and the other goes unused.
[[maybe_unused]] static void cblas(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k,
                                   float alpha, const float* a, int lda, const float* b, int ldb,
                                   float beta, float* c, int ldc) {
    cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

[[maybe_unused]] static void cblas(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k,
                                   double alpha, const double* a, int lda, const double* b, int ldb,
                                   double beta, double* c, int ldc) {
    cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void blas_gemm(MatrixView a, MatrixView b, MatrixTarget c, real alpha) {
    const auto flag = [](MatrixView x) { return x.transposed ? CblasTrans : CblasNoTrans; };
    const auto stride = [](int64_t s) { return int(std::max(int64_t(1), s)); };  // BLAS: >= 1
    // With beta = 0 OpenBLAS first fills C with zeros, slowly: 8 % of a training step. So C is
    // filled here and beta is 1. (Its kernels for small products need no zeros.)
    if (c.beta == 0 && !blas_has_small_kernels()) {
        for (int64_t i = 0; i < c.rows; i++) std::fill_n(c.data + i * c.stride, c.cols, real(0));
        c.beta = 1;
    }
    cblas(flag(a), flag(b), int(c.rows), int(c.cols), int(a.cols), alpha, a.data, stride(a.stride),
          b.data, stride(b.stride), c.beta, c.data, stride(c.stride));
}

// ---- blocks -------------------------------------------------------------------------------------
// For AVX-512, OpenBLAS has kernels that do not copy their operands first. They take at most 1e6
// multiplications. With B transposed, C may have at most 1200 elements, and A may not be transposed
// too (see its sgemm_small_kernel_permit_skylakex.c). So a medium product is cut into such blocks.
// The inner dimension is not cut: each element of C is still one sum.

bool blas_has_small_kernels() {
    static const std::string_view core = openblas_get_corename();
    return core == "SkylakeX" || core == "Cooperlake" || core == "SapphireRapids";
}

struct Block {
    int64_t rows, cols;
};

// The block of C for one call of BLAS; 0 rows or columns if cutting gains nothing. Up to 1e6
// multiplications it is the whole C. (If those kernels do not take it, BLAS has ordinary ones.)
static Block small_block(MatrixView a, MatrixView b) {
    const int64_t small = 1'000'000, results = 1200;
    const double work = multiplications(a, b);
    if (work <= double(small)) return {a.rows, b.cols};
    if (work > 16 * double(small)) return {0, 0};
    if (!b.transposed) return {small / (b.cols * a.cols) / 8 * 8, b.cols};
    if (a.transposed || a.cols < 512) return {0, 0};  // short sums gain nothing
    return {a.rows, std::min(results, small / a.cols) / a.rows / 8 * 8};
}

bool fits_blocks(MatrixView a, MatrixView b) {
    const Block block = small_block(a, b);
    return block.rows > 0 && block.cols > 0;
}

void blocked_gemm(MatrixView a, MatrixView b, MatrixTarget c, real alpha) {
    const auto [rows, cols] = small_block(a, b);
    for (int64_t i = 0; i < c.rows; i += rows)
        for (int64_t j = 0; j < c.cols; j += cols) {
            const int64_t m = std::min(rows, c.rows - i), n = std::min(cols, c.cols - j);
            blas_gemm({a.data + (a.transposed ? i : i * a.stride), m, a.cols, a.stride,
                       a.transposed},
                      {b.data + (b.transposed ? j * b.stride : j), b.rows, n, b.stride,
                       b.transposed},
                      {c.data + i * c.stride + j, m, n, c.stride, c.beta}, alpha);
        }
}

// ---- gemm ---------------------------------------------------------------------------------------

static thread_local GemmCount count;

void gemm(MatrixView a, MatrixView b, MatrixTarget c, real alpha) {
    check(a.cols == b.rows && a.rows == c.rows && b.cols == c.cols, "gemm: a product of ",
          Shape{a.rows, a.cols}, " and ", Shape{b.rows, b.cols}, " into ", Shape{c.rows, c.cols},
          "; they must be [m, k], [k, n] and [m, n]");
    check(std::max({a.rows, b.cols, a.cols, a.stride, b.stride, c.stride}) <= INT32_MAX,
          "gemm: a product of ", Shape{a.rows, a.cols}, " and ", Shape{b.rows, b.cols},
          "; BLAS counts rows and columns in 31 bits");
    if (c.rows == 0 || c.cols == 0) return;
    count.calls++;
    count.flops += 2 * a.rows * a.cols * b.cols;

    const int wanted = threads_for(a, b);
    if (threads > 1) openblas_set_num_threads(wanted);  // takes 10 ns
    if (wanted > 1) blas_gemm(a, b, c, alpha);
    else if (blas_has_small_kernels() && fits_blocks(a, b)) blocked_gemm(a, b, c, alpha);
    else if (is_thin(a, b)) thin_gemm(a, b, c, alpha);
    else blas_gemm(a, b, c, alpha);
}

GemmCount gemm_count() { return count; }

const char* blas_core_name() { return openblas_get_corename(); }

}  // namespace slim
