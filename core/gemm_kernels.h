// The ways to multiply between which gemm() chooses. Each computes C = alpha A B + beta C.
#pragma once

#include "core/gemm.h"

namespace slim {

// One call of BLAS.
void blas_gemm(MatrixView a, MatrixView b, MatrixTarget c, real alpha);

// BLAS on blocks of C, for CPUs on which OpenBLAS has kernels for small products.
void blocked_gemm(MatrixView a, MatrixView b, MatrixTarget c, real alpha);
bool blas_has_small_kernels();

// Loops of our own for products in which one side is thin, as are those with LoRA's A and B. BLAS
// first copies its operands into an order that it can multiply fast; where a matrix meets only 4
// rows, that costs more than the product. There these loops take about half of its time.
void thin_gemm(MatrixView a, MatrixView b, MatrixTarget c, real alpha);
bool is_thin(MatrixView a, MatrixView b);  // whether thin_gemm takes such a product

}  // namespace slim
