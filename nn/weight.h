// The weight of a Linear: a matrix W [out, in], dense or quantised.
#pragma once

#include <algorithm>  // min
#include <memory>
#include <vector>

#include "core/gemm.h"
#include "nn/quantize.h"

namespace slim {

// A dense weight is a Tensor like any other. A quantised one is frozen and has codes in place of
// its elements: as a Tensor it is undefined. The members below serve both.
struct Weight : Tensor {
    std::shared_ptr<const QuantizedMatrix> quantized;  // null: dense

    Weight() = default;
    Weight(Tensor dense) : Tensor(std::move(dense)) {}
    Weight(std::shared_ptr<const QuantizedMatrix> matrix) : quantized(std::move(matrix)) {}

    Shape shape() const { return quantized ? Shape{out(), in()} : Tensor::shape(); }
    int64_t out() const { return quantized ? quantized->rows() : size(0); }
    int64_t in() const { return quantized ? quantized->cols() : size(1); }
    bool is_trained() const { return !quantized && requires_grad(); }
    uint64_t version() const { return quantized ? quantized->version() : Tensor::version(); }
    Tensor to_tensor() const;  // [out, in], without history; shares a dense weight's elements

    // Calls use(first, rows) with rows [.., in] of W from row `first` on: with all of them, or, if
    // W is quantised, with 64 dequantised rows at a time, so that products never need the whole W.
    template <class Use>
    void for_rows(Use use) const;

    void times_transposed(MatrixView x, MatrixTarget y) const;  // y = x W^T + beta y
    void times(MatrixView g, MatrixTarget x) const;  // x = g W + beta x; g must not be transposed

    std::vector<double> squared_norms(int64_t axis) const;  // of W's rows (axis 1) or columns (0)

    // Throws, naming the op, unless s B A can be added: A [rank, in], B [out, rank].
    void check_low_rank(const char* op, const Tensor& A, const Tensor& B) const;
};

template <class Use>
void Weight::for_rows(Use use) const {
    if (!quantized) return use(0, view(*this));
    const int64_t at_once = 64;
    Tensor buffer({std::min(at_once, out()), in()});
    for (int64_t first = 0; first == 0 || first < out(); first += at_once) {  // once if out() is 0
        const int64_t count = std::min(at_once, out() - first);
        quantized->dequantize_rows(first, count, buffer.mutable_data());
        use(first, {buffer.data(), count, in(), in()});
    }
}

}  // namespace slim
