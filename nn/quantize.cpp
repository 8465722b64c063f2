// Quantised weights. See quantize.h.
#include "nn/quantize.h"

#include <algorithm>  // clamp, max, min
#include <cmath>      // fabs, isfinite, lround, nextafter

namespace slim {

namespace {

constexpr int64_t kBlock = 64;  // NF4: elements that share a scale, counted row-major

// The 16 levels of NF4, the quantiles of a normal distribution scaled to -1 .. 1, with an exact
// zero. (QLoRA, appendix E)
constexpr float kLevels[16] = {
    -1.0f,          -0.696192801f,  -0.525073051f, -0.394917488f, -0.284441382f, -0.184773430f,
    -0.0910500363f, 0.0f,           0.0795802996f, 0.160930201f,  0.246112302f,  0.337915242f,
    0.440709829f,   0.562617004f,   0.722956836f,  1.0f};

// 127 times the scale must be finite, also for the largest float: its quotient may round up.
float int8_scale(float largest) {
    const float scale = largest / 127;
    return std::isfinite(127 * scale) ? scale : std::nextafter(scale, 0.0f);
}

uint8_t nearest_level(float value) {
    uint8_t code = 0;
    while (code < 15 && value > (kLevels[code] + kLevels[code + 1]) / 2) code++;
    return code;
}

float largest_magnitude(const real* values, int64_t n) {
    real largest = 0;
    for (int64_t i = 0; i < n; i++) largest = std::max(largest, std::fabs(values[i]));
    return float(largest);
}

}  // namespace

QuantizedMatrix::QuantizedMatrix(const Tensor& weight, Quantization kind)
    : kind_(kind) {
    check(weight.dim() == 2, "quantize: a weight of shape ", weight.shape(),
          "; it must be a matrix");
    rows_ = weight.size(0), cols_ = weight.size(1);
    const int64_t size = weight.size();
    const real* w = weight.data();
    for (int64_t i = 0; i < size; i++)
        check(std::isfinite(float(w[i])), "quantize: element ", i, " of a weight of shape ",
              weight.shape(), " is ", double(w[i]), "; all must be finite floats");

    const int64_t per_scale = kind == Quantization::kInt8 ? cols_ : kBlock;
    codes_.assign(size_t(kind == Quantization::kInt8 ? size : (size + 1) / 2), 0);
    for (int64_t first = 0; first < size; first += per_scale) {
        const int64_t last = std::min(first + per_scale, size);
        const float largest = largest_magnitude(w + first, last - first);
        const float scale = kind == Quantization::kInt8 ? int8_scale(largest) : largest;
        scales_.push_back(scale);
        for (int64_t i = first; i < last; i++) {
            const float value = scale > 0 ? float(w[i]) / scale : 0;
            if (kind == Quantization::kInt8)
                codes_[size_t(i)] = uint8_t(int8_t(std::clamp(std::lround(value), -127l, 127l)));
            else  // two to a byte, the first in the upper half
                codes_[size_t(i / 2)] |= uint8_t(nearest_level(value) << (i % 2 == 0 ? 4 : 0));
        }
    }
}

int64_t QuantizedMatrix::bytes() const {
    return int64_t(codes_.size() + scales_.size() * sizeof(float));
}

void QuantizedMatrix::dequantize_rows(int64_t first, int64_t count, real* out) const {
    if (cols_ == 0) return;  // then there are no scales either
    if (kind_ == Quantization::kInt8) {
        for (int64_t row = first; row < first + count; row++) {
            const float scale = scales_[size_t(row)];
            const uint8_t* codes = codes_.data() + row * cols_;
            for (int64_t j = 0; j < cols_; j++) *out++ = scale * float(int8_t(codes[j]));
        }
        return;
    }
    for (int64_t i = first * cols_; i < (first + count) * cols_; i++) {
        const uint8_t pair = codes_[size_t(i / 2)];
        *out++ = scales_[size_t(i / kBlock)] * kLevels[i % 2 == 0 ? pair >> 4 : pair & 15];
    }
}

Tensor QuantizedMatrix::dequantized() const {
    Tensor weight({rows_, cols_});
    dequantize_rows(0, rows_, weight.mutable_data());
    return weight;
}

}  // namespace slim
