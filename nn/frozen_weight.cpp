// FrozenWeight. See frozen_weight.h.
#include "nn/frozen_weight.h"

#include "core/gemm.h"
#include "core/ops.h"

namespace slim {

void FrozenWeight::times_transposed(int64_t rows, const real* x, real beta, real* y) const {
    if (quantized) quantized->times_transposed(rows, x, beta, y);
    else gemm(kNormal, kTransposed, rows, out(), in(), 1, x, dense.data(), beta, y);
}

void FrozenWeight::times(int64_t rows, const real* g, real beta, real* x) const {
    if (quantized) quantized->times(rows, g, beta, x);
    else gemm(kNormal, kNormal, rows, in(), out(), 1, g, dense.data(), beta, x);
}

std::vector<double> FrozenWeight::squared_norms(int64_t axis) const {
    return slim::squared_norms(to_tensor(), axis);
}

std::vector<real> FrozenWeight::row(int64_t j) const {
    if (!quantized) return {dense.data() + j * in(), dense.data() + (j + 1) * in()};
    std::vector<real> numbers(static_cast<size_t>(in()));
    quantized->dequantize_rows(j, 1, numbers.data());
    return numbers;
}

Tensor FrozenWeight::to_tensor() const {
    return quantized ? quantized->dequantized() : dense.detach();
}

void FrozenWeight::check_low_rank(const char* op, const Tensor& A, const Tensor& B) const {
    check(A.dim() == 2 && A.size(1) == in() && B.shape() == Shape{out(), A.size(0)}, op,
          ": a weight of shape ", Shape{out(), in()}, " with A of shape ", A.shape(),
          " and B of shape ", B.shape(), "; they must be (out, in), (rank, in) and (out, rank)");
}

}  // namespace slim
