// A frozen matrix in 8 or 4 bits per element (Dettmers et al. 2023, QLoRA, arXiv 2305.14314).
// Products with it are in weight.h; quantize_linear_layers() in adapters/adapt.h quantises a model.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor.h"

namespace slim {

enum class Quantization {
    kInt8,  // one scale per row: w = scale * q, q in -127 .. 127
    kNF4,   // one scale per 64 elements, counted row after row: w = scale * level[q], q in 0 .. 15
};

class QuantizedMatrix {
public:
    QuantizedMatrix(const Tensor& weight, Quantization kind);  // weight [rows, cols], finite

    int64_t rows() const { return rows_; }
    int64_t cols() const { return cols_; }
    Quantization kind() const { return kind_; }
    int64_t bytes() const;                           // of the codes and their scales
    uint64_t version() const { return version_; }    // never that of a tensor or another matrix

    void dequantize_rows(int64_t first, int64_t count, real* out) const;  // out [count, cols]
    Tensor dequantized() const;

private:
    Quantization kind_;
    int64_t rows_, cols_;
    uint64_t version_ = next_version();
    std::vector<uint8_t> codes_;  // int8: one byte per element; NF4: two elements per byte
    std::vector<float> scales_;
};

}  // namespace slim
