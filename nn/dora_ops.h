// The ops behind DoRA: the scale c = m / ||W + s B A||, and the layer in one piece.
#pragma once

#include <vector>

#include "nn/frozen_weight.h"

namespace slim {

enum class Axis { kOut, kIn };  // one magnitude per output feature (row of W), or per input feature
inline int64_t reduced_axis(Axis axis) { return axis == Axis::kOut ? 1 : 0; }  // for norm()
enum class NormGradient { kExact, kDetached };  // detached: backward takes the norm for a constant

// The norms of W's rows (kOut) or columns (kIn), from which m starts: a parameter. Says on standard
// error which of them are zero.
Tensor initial_magnitude(const FrozenWeight& W, Axis axis);

// c = m / n, element by element; 1, with no gradient, where n is 0: a row of zeros has no direction
// to scale, and 0 / 0 would poison the model.
Tensor magnitude_over_norm(const Tensor& m, const Tensor& n);

// c = m / ||W + s B A|| along the axis, without forming the sum. weight_norms are the squared norms
// of W along the same axis. W [out, in], A [rank, in], B [out, rank] -> c [out] or [in].
// Gradients go to m, A and B; a W that requires one is an error.
Tensor dora_scale(const FrozenWeight& W, const std::vector<double>& weight_norms, const Tensor& A,
                  const Tensor& B, const Tensor& m, double s, Axis axis, NormGradient gradient);

// y = c . (x W^T + s x A^T B^T) + bias with c = dora_scale(..., Axis::kOut), as one op that reads W
// once forward and once backward, where the composition reads it twice. Equal to the composition to
// rounding. x [batch, in]; bias [out] or undefined -> y [batch, out].
Tensor dora_linear(const Tensor& x, const FrozenWeight& W, const std::vector<double>& weight_norms,
                   const Tensor& bias, const Tensor& A, const Tensor& B, const Tensor& m, double s,
                   NormGradient gradient);

// What one layer need not compute again as long as its numbers stay what they are.
class DoraScaleCache {
public:
    const std::vector<double>& weight_norms(const FrozenWeight& W, Axis axis);  // once per W

    // dora_scale(). With `reuse`, for evaluation, it is the c of the last such call, unless
    // something that c depends on has changed; that c has no history.
    Tensor scale(bool reuse, const FrozenWeight& W, const Tensor& A, const Tensor& B,
                 const Tensor& m, double s, Axis axis, NormGradient gradient);

private:
    std::vector<double> norms_;
    uint64_t norms_version_ = 0;
    Tensor c_;  // valid while the versions and the scaling are these:
    std::vector<uint64_t> c_versions_;
    double c_scaling_ = 0;
};

}  // namespace slim
