// Matrix products. gemm.cpp is the only file that includes BLAS.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace slim {

enum Transpose { kNormal, kTransposed };

// C = alpha op(A) op(B) + beta C, with op(A) [m, k], op(B) [k, n], C [m, n], each stored row-major
// without gaps; op transposes or not. With beta = 0, C may be uninitialised. Transposing needs no
// copy: it is a flag, and says in which order to read.
void gemm(Transpose trans_a, Transpose trans_b, int64_t m, int64_t n, int64_t k, real alpha,
          const real* a, const real* b, real beta, real* c);

// The same for matrices that are part of wider ones: the numbers from one row to the next are
// given.
void gemm(Transpose trans_a, Transpose trans_b, int64_t m, int64_t n, int64_t k, real alpha,
          const real* a, int64_t row_a, const real* b, int64_t row_b, real beta, real* c,
          int64_t row_c);

// The same, added to the gradient of `into`, or written there if it has none yet.
void gemm_to_grad(Transpose trans_a, Transpose trans_b, int64_t m, int64_t n, int64_t k,
                  real alpha, const real* a, const real* b, Tensor& into);

// What this thread has asked of gemm so far: tests count what a training step costs.
struct GemmCount {
    int64_t calls = 0;
    int64_t flops = 0;  // 2 m n k for each call
};
GemmCount gemm_count();

// Whether OpenBLAS is taken to have kernels for small products. Then those of medium size are
// computed in blocks for them; otherwise thin ones are computed by loops of our own (thin.h). It
// is set by the CPU; to be changed in tests, and to time what it gains.
bool blas_small_kernels();
void set_blas_small_kernels(bool on);

// The CPU kernel that OpenBLAS chose ("Haswell", "SkylakeX"), and its threads.
const char* blas_core_name();
int blas_threads();
void set_blas_threads(int n);  // throws unless 1 <= n <= 64; small products keep to one thread

}  // namespace slim
