// The scale of DoRA: c = m / ||W + s B A||, without forming the sum.
#pragma once

#include <vector>

#include "nn/frozen_weight.h"

namespace slim {

enum class Axis { kOut, kIn };  // one magnitude per output feature (row of W), or per input feature
inline int64_t reduced_axis(Axis axis) { return axis == Axis::kOut ? 1 : 0; }  // for norm()
enum class NormGradient { kExact, kDetached };  // detached: backward takes the norm for a constant

// A row (or column) of a smaller norm has no direction to speak of: weight decay shrinks columns of
// unused inputs to 1e-13 and less in a few epochs. There c = 1, and no gradient passes through c,
// in every form of DoRA. The bound is the eps of torch.nn.functional.normalize.
inline bool has_direction(real norm) { return norm >= real(1e-12); }

// The norms of W's rows (kOut) or columns (kIn), from which m starts: a parameter. Warns on stderr
// and names those without a direction.
Tensor initial_magnitude(const FrozenWeight& W, Axis axis);

// c = m / n, element by element; 1, with no gradient, where n has no direction.
Tensor magnitude_over_norm(const Tensor& m, const Tensor& n);

// c = m / ||W + s B A|| along the axis, without forming the sum. weight_norms are the squared norms
// of W along the same axis. W [out, in], A [rank, in], B [out, rank] -> c [out] or [in].
// Gradients go to m, A and B; a W that requires one is an error.
Tensor dora_scale(const FrozenWeight& W, const std::vector<double>& weight_norms, const Tensor& A,
                  const Tensor& B, const Tensor& m, double s, Axis axis, NormGradient gradient);

// The same on the way through an op: what dora_scale and dora_linear share. The letters are those
// of the derivation in dora_scale.cpp.
struct DoraScale {
    Axis axis;
    NormGradient gradient;
    real s;
    Tensor K, pull;       // [rank, count], where count is out or in
    std::vector<real> n;  // [count]

    DoraScale(const Tensor& A, const Tensor& B, double s, Axis axis, NormGradient gradient);

    // c [count], given product [rank, count]: A W^T or B^T W.
    Tensor forward(const FrozenWeight& W, const std::vector<double>& weight_norms, const Tensor& A,
                   const Tensor& B, const Tensor& m, const Tensor& product);
    // Given dL/dc, adds to the gradients of A, B and m, of those that require one, all but one
    // term: Q W, which belongs to dA, or W Q^T, which belongs to dB. Returns Q [rank, count],
    // undefined when the norm is detached and there is no such term.
    Tensor backward(const real* dc, Tensor& A, Tensor& B, Tensor& m) const;
};

// The checks that both ops make. Throws, naming the op.
void check_scale(const char* op, const FrozenWeight& W, const std::vector<double>& weight_norms,
                 const Tensor& m, Axis axis);

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
