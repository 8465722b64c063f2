// Quantised weights. See quantize.h.
#include "nn/quantize.h"

#include <algorithm>  // clamp, max, min
#include <cmath>      // fabs, isfinite, lround

#include "core/autograd.h"
#include "core/gemm.h"
#include "core/ops.h"

namespace slim {

namespace {

constexpr int64_t kBlock = 64;       // NF4: numbers that share a scale, counted row-major
constexpr int64_t kRowsAtOnce = 64;  // rows restored to float at a time

// The 16 levels of NF4, the quantiles of a normal distribution scaled to -1 .. 1, with an exact
// zero. (QLoRA, appendix E)
constexpr float kLevels[16] = {
    -1.0f,          -0.696192801f,  -0.525073051f, -0.394917488f, -0.284441382f, -0.184773430f,
    -0.0910500363f, 0.0f,           0.0795802996f, 0.160930201f,  0.246112302f,  0.337915242f,
    0.440709829f,   0.562617004f,   0.722956836f,  1.0f};

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
        const float scale = kind == Quantization::kInt8 ? largest / 127 : largest;
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

void QuantizedMatrix::times_transposed(int64_t n, const real* x, real beta, real* y) const {
    Tensor buffer({std::min(kRowsAtOnce, rows_), cols_});
    for (int64_t first = 0; first < rows_; first += kRowsAtOnce) {
        const int64_t count = std::min(kRowsAtOnce, rows_ - first);
        dequantize_rows(first, count, buffer.mutable_data());
        gemm(kNormal, kTransposed, n, count, cols_, 1, x, cols_, buffer.data(), cols_, beta,
             y + first, rows_);
    }
}

void QuantizedMatrix::times(int64_t n, const real* g, real beta, real* x) const {
    Tensor buffer({std::min(kRowsAtOnce, rows_), cols_});
    // At least one round, so that x is set even if W has no rows.
    for (int64_t first = 0; first == 0 || first < rows_; first += kRowsAtOnce) {
        const int64_t count = std::min(kRowsAtOnce, rows_ - first);
        dequantize_rows(first, count, buffer.mutable_data());
        gemm(kNormal, kNormal, n, cols_, count, 1, g + first, rows_, buffer.data(), cols_,
             first == 0 ? beta : 1, x, cols_);
    }
}

// ---- quantized_linear ---------------------------------------------------------------------------
// y = x W^T + bias        dx = dy W, dbias = sum of dy's rows

struct QuantizedLinearNode : Node {
    std::shared_ptr<const QuantizedMatrix> weight;

    QuantizedLinearNode(const Tensor& x, std::shared_ptr<const QuantizedMatrix> weight,
                        const Tensor& bias)
        : Node("quantized_linear", {x, bias}), weight(std::move(weight)) {}

    void backward(const Tensor& y) override {
        const int64_t batch = y.size(0), out = y.size(1);
        const real* dy = y.grad_data();
        if (needs_grad(0)) {
            const Tensor::GradSlot dx = inputs[0].grad_slot();
            weight->times(batch, dy, dx.beta, dx.data);
        }
        if (needs_grad(1)) add_column_sums(dy, batch, out, inputs[1].mutable_grad());
    }
};

Tensor quantized_linear(const Tensor& x, std::shared_ptr<const QuantizedMatrix> weight,
                        const Tensor& bias) {
    check(x.dim() == 2 && x.size(1) == weight->cols(), "quantized_linear: input of shape ",
          x.shape(), " and a weight of shape ", Shape{weight->rows(), weight->cols()},
          "; the input must be (batch, in), the weight (out, in), with the same in");
    const int64_t batch = x.size(0), out = weight->rows();
    check(!bias.defined() || bias.shape() == Shape{out}, "quantized_linear: bias of shape ",
          bias.defined() ? bias.shape() : Shape{}, "; it must be ", Shape{out});
    Tensor y({batch, out});
    real* result = y.mutable_data();
    weight->times_transposed(batch, x.data(), 0, result);
    if (bias.defined())
        for (int64_t i = 0; i < batch; i++)
            for (int64_t j = 0; j < out; j++) result[i * out + j] += bias.data()[j];
    return record(y, std::make_shared<QuantizedLinearNode>(x, weight, bias));
}

}  // namespace slim
