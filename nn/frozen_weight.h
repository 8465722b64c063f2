// The weight of a frozen Linear as the adapters around it see it: a matrix W [out, in] that can be
// multiplied with, whether its numbers are kept as they are or quantised.
#pragma once

#include <memory>
#include <vector>

#include "core/tensor.h"
#include "nn/quantize.h"

namespace slim {

struct FrozenWeight {
    Tensor dense;                                      // one of the two
    std::shared_ptr<const QuantizedMatrix> quantized;

    int64_t out() const { return quantized ? quantized->rows() : dense.size(0); }
    int64_t in() const { return quantized ? quantized->cols() : dense.size(1); }

    // y = x W^T + beta y        x [rows, in], y [rows, out]
    void times_transposed(int64_t rows, const real* x, real beta, real* y) const;
    // x = g W + beta x          g [rows, out], x [rows, in]
    void times(int64_t rows, const real* g, real beta, real* x) const;

    std::vector<double> squared_norms(int64_t axis) const;  // of W's rows (axis 1) or columns (0)
    std::vector<real> row(int64_t j) const;
    Tensor to_tensor() const;  // dense, without history

    // Throws, naming the op, unless s B A can be added: A [rank, in], B [out, rank].
    void check_low_rank(const char* op, const Tensor& A, const Tensor& B) const;
};

}  // namespace slim
