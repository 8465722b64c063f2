// Matrix products on raw memory: views of matrices, and gemm(). The differentiable ops are in
// matmul.cpp. gemm.cpp is the only file that includes BLAS.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace slim {

// A matrix [rows, cols] to read, in memory that it does not own: a whole tensor, or part of a wider
// matrix. Element (i, j) is data[i * stride + j]; in a transposed view it is data[j * stride + i].
// Transposing copies nothing: it is a flag for BLAS, which says in which order to read.
struct MatrixView {
    const real* data;
    int64_t rows, cols, stride;
    bool transposed = false;

    MatrixView t() const { return {data, cols, rows, stride, !transposed}; }
};

// A matrix C [rows, cols], which becomes the product plus beta C. With beta = 0 it may be
// uninitialised.
struct MatrixTarget {
    real* data;
    int64_t rows, cols, stride;
    real beta;
};

MatrixView view(const Tensor& x);       // x [rows, cols]
MatrixView grad_view(const Tensor& y);  // y's gradient, in backward functions
MatrixTarget overwrite(Tensor& y);      // y [rows, cols]
MatrixTarget add_to(Tensor& y);
MatrixTarget add_to_grad(Tensor& x);  // x's gradient; the first product overwrites, later ones add

// C = alpha A B + beta C. Throws when the sizes do not match, or one needs more than 31 bits.
void gemm(MatrixView a, MatrixView b, MatrixTarget c, real alpha = 1);

// What this thread has asked of gemm so far: tests count what a training step costs.
struct GemmCount {
    int64_t calls = 0;
    int64_t flops = 0;  // 2 m n k for each call
};
GemmCount gemm_count();

// The CPU kernel that OpenBLAS chose ("Haswell", "SkylakeX"), and its threads.
const char* blas_core_name();
int blas_threads();
void set_blas_threads(int n);  // throws unless 1 <= n <= 64; small products keep to one thread

}  // namespace slim
