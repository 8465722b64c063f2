// The kernels that gemm() chooses from. Each computes C = alpha A B + beta C. thin_gemm() is in
// thin.cpp, the others are in gemm.cpp.
#pragma once

#include "core/gemm.h"

namespace slim {

// One call of BLAS.
void blas_gemm(MatrixView a, MatrixView b, MatrixTarget c, real alpha);

// BLAS on blocks of C, for CPUs on which OpenBLAS has kernels for small products.
void blocked_gemm(MatrixView a, MatrixView b, MatrixTarget c, real alpha);
bool fits_blocks(MatrixView a, MatrixView b);  // whether blocked_gemm takes such a product
bool blas_has_small_kernels();

// Hand-written kernels for skinny products, such as LoRA's A and B. BLAS first copies its operands
// into an order that it can multiply fast. When one operand has only 4 rows, the copy costs more
// than the product. These kernels take about half of BLAS's time.
void thin_gemm(MatrixView a, MatrixView b, MatrixTarget c, real alpha);
bool is_thin(MatrixView a, MatrixView b);  // whether thin_gemm takes such a product

}  // namespace slim
