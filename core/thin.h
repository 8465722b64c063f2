// Matrix products in which one side is thin, as are those with LoRA's A and B, in loops of our own.
//
// BLAS first copies its operands into an order that it can multiply fast. Where a matrix meets
// only 4 rows, that costs more than the product. OpenBLAS has kernels that do without the copies
// for AVX-512 alone; elsewhere these loops take 0.3 to 0.7 of its time.
#pragma once

#include "core/gemm.h"

namespace slim {

// Computes what gemm() would (gemm.h), or returns false, having done nothing: if no side is thin,
// if the product is too large for loops that do not mind the caches, or if a thin B is transposed
// so that neither its rows nor its dot products with A's rows lie in a line.
bool thin_gemm(Transpose trans_a, Transpose trans_b, int64_t m, int64_t n, int64_t k, real alpha,
               const real* a, int64_t row_a, const real* b, int64_t row_b, real beta, real* c,
               int64_t row_c);

}  // namespace slim
