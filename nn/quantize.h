// A frozen weight in 8 or 4 bits per number, and products with it (Dettmers et al. 2023, QLoRA,
// arXiv 2305.14314). The weight is never kept in float: each product restores a few rows at a time
// into a small buffer, multiplies with them and forgets them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor.h"

namespace slim {

enum class Quantization {
    kInt8,  // one scale per row: w = scale * q, q in -127 .. 127
    kNF4,   // one scale per 64 numbers, counted row after row: w = scale * level[q], q in 0 .. 15
};

class QuantizedMatrix {
public:
    QuantizedMatrix(const Tensor& weight, Quantization kind);  // weight [rows, cols], finite

    int64_t rows() const { return rows_; }
    int64_t cols() const { return cols_; }
    Quantization kind() const { return kind_; }
    int64_t bytes() const;  // of the numbers and their scales

    void dequantize_rows(int64_t first, int64_t count, real* out) const;  // out [count, cols]
    Tensor dequantized() const;

    // y = x W^T + beta y        x [n, cols], y [n, rows]
    void times_transposed(int64_t n, const real* x, real beta, real* y) const;
    // x = g W + beta x          g [n, rows], x [n, cols]
    void times(int64_t n, const real* g, real beta, real* x) const;

private:
    Quantization kind_;
    int64_t rows_, cols_;
    std::vector<uint8_t> codes_;  // int8: one byte per number; NF4: two numbers per byte
    std::vector<float> scales_;
};

// y = x W^T + bias, differentiable in x (dx = dy W) and in the bias, not in W.
Tensor quantized_linear(const Tensor& x, std::shared_ptr<const QuantizedMatrix> weight,
                        const Tensor& bias = {});

}  // namespace slim
