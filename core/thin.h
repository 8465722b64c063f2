// Matrix products in which one side is thin, as are those with LoRA's A and B, in loops of our own.
//
// BLAS first copies its operands into an order that it can multiply fast. Where a matrix meets
// only 4 rows, that costs more than the product. On x86-64, OpenBLAS has kernels that do without
// the copies for AVX-512 alone; elsewhere these loops take about half of its time.
#pragma once

#include "core/gemm.h"

namespace slim {

// Computes what gemm() would (gemm.h), or returns false, having done nothing. Two forms it takes,
// where few is at most 8 and long at least 64, up to 1e6 multiplications:
//     B as it is, with few rows of C or of B, and long ones;
//     A as it is and B transposed, with few rows of A or of B, and long ones.
bool thin_gemm(Transpose trans_a, Transpose trans_b, int64_t m, int64_t n, int64_t k, real alpha,
               const real* a, int64_t row_a, const real* b, int64_t row_b, real beta, real* c,
               int64_t row_c);

}  // namespace slim
