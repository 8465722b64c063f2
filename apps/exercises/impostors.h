// Four layers that are called DoRA, for exercise 8. One is.
#pragma once

#include <functional>

#include "core/ops.h"

namespace slim::impostors {

using Layer = std::function<Tensor(const Tensor& x)>;

inline Layer true_dora(Tensor W, Tensor A, Tensor B, Tensor m) {
    return [=](const Tensor& x) {
        const Tensor V = W + matmul(B, A);
        return matmul_nt(x, mul_col(V, m / norm(V, 1)));
    };
}

inline Layer drops_m(Tensor W, Tensor A, Tensor B, Tensor) {
    return [=](const Tensor& x) { return matmul_nt(x, W) + matmul_nt(matmul_nt(x, A), B); };
}

inline Layer normalises_output(Tensor W, Tensor A, Tensor B, Tensor m) {
    return [=](const Tensor& x) {
        const Tensor change = matmul_nt(matmul_nt(x, A), B), n = norm(change, 1);
        return matmul_nt(x, W) + mul_row(mul_col(change, ones(n.shape()) / n), m);
    };
}

inline Layer divides_by_base(Tensor W, Tensor A, Tensor B, Tensor m) {
    return [=](const Tensor& x) {
        return matmul_nt(x, mul_col(W + matmul(B, A), m / norm(W, 1)));
    };
}

}  // namespace slim::impostors
