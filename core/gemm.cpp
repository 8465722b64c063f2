// The bridge to OpenBLAS. See gemm.h.
#include "core/gemm.h"

#include <cblas.h>  // cblas_sgemm, cblas_dgemm, openblas_*

#include <algorithm>  // max, min
#include <string_view>

#include "core/thin.h"

namespace slim {

namespace {

thread_local GemmCount count;

// BLAS has one name per element type; overloading picks the build's, and the other goes unused.
[[maybe_unused]] void blas_gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k,
                                float alpha, const float* a, int lda, const float* b, int ldb,
                                float beta, float* c, int ldc) {
    cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

[[maybe_unused]] void blas_gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k,
                                double alpha, const double* a, int lda, const double* b, int ldb,
                                double beta, double* c, int ldc) {
    cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

}  // namespace

// ---- threads ------------------------------------------------------------------------------------
// On a small or narrow product, threads wait for one another longer than they work: it gets one.

static int threads = openblas_get_num_threads();

static int threads_for(int64_t m, int64_t n, int64_t k) {
    const bool small = double(m) * double(n) * double(k) < 1e6 || std::min(m, n) < 16;
    return small ? 1 : threads;
}

int blas_threads() { return threads; }

void set_blas_threads(int n) {
    check(n >= 1 && n <= 64, "threads: ", n, "; the number of threads must be between 1 and 64");
    openblas_set_num_threads(n);
    threads = openblas_get_num_threads();  // fewer, if OpenBLAS was built for fewer
}

// ---- small and thin products --------------------------------------------------------------------
// BLAS copies its operands into an order of its own before it multiplies. For AVX-512, OpenBLAS
// also has kernels that do without (its sgemm_small_kernel_permit_skylakex.c says when): for up to
// 1e6 multiplications, with a transposed B for up to 1200 results, never with both transposed. So a
// product of medium size is cut into blocks of C that they take. Each sum stays in one piece.
// Where there are no such kernels, products with a thin side are left to thin.cpp.

static bool has_small_kernels() {
    const std::string_view core = openblas_get_corename();
    return core == "SkylakeX" || core == "Cooperlake" || core == "SapphireRapids";
}

static bool small_kernels = has_small_kernels();

bool blas_small_kernels() { return small_kernels; }
void set_blas_small_kernels(bool on) { small_kernels = on; }

struct Block {
    int64_t rows, cols;  // of C
};

static Block block_of(Transpose trans_a, Transpose trans_b, int64_t m, int64_t n, int64_t k) {
    const int64_t small = 1'000'000, results = 1200;
    const double work = double(m) * double(n) * double(k);
    if (!small_kernels || threads_for(m, n, k) > 1) return {m, n};
    if (work <= double(small) || work > 16 * double(small)) return {m, n};
    int64_t rows = m, cols = n;
    if (trans_b == kNormal) rows = small / (n * k) / 8 * 8;
    else if (trans_a == kNormal && k >= 512) cols = results / m / 8 * 8;  // k: else too many calls
    return rows > 0 && cols > 0 ? Block{rows, cols} : Block{m, n};
}

// ---- gemm ---------------------------------------------------------------------------------------

void gemm(Transpose trans_a, Transpose trans_b, int64_t m, int64_t n, int64_t k, real alpha,
          const real* a, const real* b, real beta, real* c) {
    gemm(trans_a, trans_b, m, n, k, alpha, a, trans_a == kTransposed ? m : k, b,
         trans_b == kTransposed ? k : n, beta, c, n);
}

void gemm(Transpose trans_a, Transpose trans_b, int64_t m, int64_t n, int64_t k, real alpha,
          const real* a, int64_t row_a, const real* b, int64_t row_b, real beta, real* c,
          int64_t row_c) {
    const int64_t largest = std::max({m, n, k, row_a, row_b, row_c});
    check(largest <= INT32_MAX, "gemm: a product of ", Shape{m, k}, " and ", Shape{k, n},
          "; BLAS counts rows and columns in 31 bits");
    if (m == 0 || n == 0) return;
    count.calls++;
    count.flops += 2 * m * n * k;
    const auto flag = [](Transpose t) { return t == kTransposed ? CblasTrans : CblasNoTrans; };
    const auto stride = [](int64_t row) { return int(std::max(int64_t(1), row)); };  // BLAS: >= 1
    if (!small_kernels &&
        thin_gemm(trans_a, trans_b, m, n, k, alpha, a, row_a, b, row_b, beta, c, row_c))
        return;
    if (threads > 1) openblas_set_num_threads(threads_for(m, n, k));  // takes 10 ns
    const Block block = block_of(trans_a, trans_b, m, n, k);
    for (int64_t i = 0; i < m; i += block.rows)
        for (int64_t j = 0; j < n; j += block.cols)
            blas_gemm(flag(trans_a), flag(trans_b), int(std::min(block.rows, m - i)),
                      int(std::min(block.cols, n - j)), int(k), alpha,
                      a + (trans_a == kTransposed ? i : i * row_a), stride(row_a),
                      b + (trans_b == kTransposed ? j * row_b : j), stride(row_b), beta,
                      c + i * row_c + j, stride(row_c));
}

void gemm_to_grad(Transpose trans_a, Transpose trans_b, int64_t m, int64_t n, int64_t k,
                  real alpha, const real* a, const real* b, Tensor& into) {
    Tensor::GradSlot slot = into.grad_slot();
    gemm(trans_a, trans_b, m, n, k, alpha, a, b, slot.beta, slot.data);
}

GemmCount gemm_count() { return count; }

const char* blas_core_name() { return openblas_get_corename(); }

}  // namespace slim
