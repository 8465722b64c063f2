// Products with a weight. See weight.h.
#include "nn/weight.h"

#include "core/ops.h"

namespace slim {

Tensor Weight::to_tensor() const { return quantized ? quantized->dequantized() : detach(); }

// Some rows of W give some columns of y.
void Weight::times_transposed(MatrixView x, MatrixTarget y) const {
    for_rows([&](int64_t first, MatrixView rows) {
        gemm(x, rows.t(), {y.data + first, y.rows, rows.rows, y.stride, y.beta});
    });
}

// Some columns of g times those rows of W; the products accumulate.
void Weight::times(MatrixView g, MatrixTarget x) const {
    for_rows([&](int64_t first, MatrixView rows) {
        gemm({g.data + first, g.rows, rows.rows, g.stride}, rows, x);
        x.beta = 1;
    });
}

std::vector<double> Weight::squared_norms(int64_t axis) const {
    return slim::squared_norms(to_tensor(), axis);
}

void Weight::check_low_rank(const char* op, const Tensor& A, const Tensor& B) const {
    check(A.dim() == 2 && A.size(1) == in() && B.shape() == Shape{out(), A.size(0)}, op,
          ": a weight of shape ", shape(), " with A of shape ", A.shape(),
          " and B of shape ", B.shape(), "; they must be (out, in), (rank, in) and (out, rank)");
}

}  // namespace slim
