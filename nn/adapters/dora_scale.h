// The scale of DoRA: c = m / |W + s B A|, without forming the sum; the value that m starts from;
// and two choices: which norms (Axis), and whether backward passes through them (NormGradient).
#pragma once

#include <vector>

#include "nn/weight.h"

namespace slim {

enum class Axis { kOut, kIn };  // one magnitude per output feature (row of W), or per input feature
inline int64_t reduced_axis(Axis axis) { return axis == Axis::kOut ? 1 : 0; }  // for norm()
enum class NormGradient { kExact, kDetached };  // detached: backward takes the norm for a constant

// A row (or column) whose norm is below 1e-12 has no direction: c = 1, and no gradient passes
// through c, in every form of DoRA. (Weight decay shrinks columns of unused inputs that far in
// a few epochs.) The bound is the eps of torch.nn.functional.normalize.
inline bool has_direction(real norm) { return norm >= real(1e-12); }

// Returns what m starts at: the norms of W's rows (kOut) or columns (kIn), as a parameter. Warns on
// stderr of those without a direction.
Tensor initial_magnitude(const Weight& W, Axis axis);

// c = m / n, element by element; 1, with no gradient, where n has no direction.
Tensor magnitude_over_norm(const Tensor& m, const Tensor& n);

// c = m / |W + s B A| per output or input. weight_norms are W's SQUARED norms, of the same rows or
// columns.
// W [out, in], A [rank, in], B [out, rank] -> c [out] or [in]. Gradients go to m and, with kExact,
// to A and B. A W that requires one is an error.
Tensor dora_scale(const Weight& W, const std::vector<double>& weight_norms, const Tensor& A,
                  const Tensor& B, const Tensor& m, double s, Axis axis, NormGradient gradient);

// A value, and the versions of the tensors that it was computed from. Versions are never given out
// twice, so equal versions mean that nothing has changed.
template <class T>
struct Memo {
    T value;
    std::vector<uint64_t> versions;

    template <class Compute>
    const T& get(std::vector<uint64_t> now, Compute compute) {
        if (versions != now) {
            value = compute();
            versions = std::move(now);
        }
        return value;
    }
};

// dora_scale() for one layer: caches the squared norms of W, and c in evaluation.
class DoraScale {
public:
    // `reuse`: returns the c of the last such call if nothing that it depends on has changed. A
    // reused c has no graph.
    Tensor operator()(bool reuse, const Weight& W, const Tensor& A, const Tensor& B,
                      const Tensor& m, double s, Axis axis, NormGradient gradient);

private:
    Memo<std::vector<double>> weight_norms_;
    Memo<Tensor> c_;
};

}  // namespace slim
