// The bridge to OpenBLAS. See gemm.h.
#include "core/gemm.h"

#include <cblas.h>  // cblas_sgemm, cblas_dgemm, openblas_*

#include <algorithm>  // max

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
    blas_gemm(flag(trans_a), flag(trans_b), int(m), int(n), int(k), alpha, a, stride(row_a), b,
              stride(row_b), beta, c, stride(row_c));
}

void gemm_to_grad(Transpose trans_a, Transpose trans_b, int64_t m, int64_t n, int64_t k,
                  real alpha, const real* a, const real* b, Tensor& into) {
    Tensor::GradSlot slot = into.grad_slot();
    gemm(trans_a, trans_b, m, n, k, alpha, a, b, slot.beta, slot.data);
}

GemmCount gemm_count() { return count; }

const char* blas_core_name() { return openblas_get_corename(); }
int blas_threads() { return openblas_get_num_threads(); }

void set_blas_threads(int n) {
    check(n >= 1 && n <= 64, "threads: ", n, "; the number of threads must be between 1 and 64");
    openblas_set_num_threads(n);
}

}  // namespace slim
