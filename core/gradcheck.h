// Checks a backward function against finite differences.
#pragma once

#include <functional>
#include <vector>

#include "core/tensor.h"

namespace slim {

// Central differences: (L(x + eps) - L(x - eps)) / (2 eps). Only the double build is precise
// enough for a serious check; the float build's defaults still catch a wrong formula.
struct GradcheckOptions {
    double eps = sizeof(real) == 8 ? 1e-6 : 1e-2;
    // |analytic - numeric| <= absolute + relative |numeric|
    double absolute = sizeof(real) == 8 ? 1e-5 : 5e-3;
    double relative = sizeof(real) == 8 ? 1e-3 : 2e-2;
    uint64_t seed = 1;
};

using TensorFunction = std::function<Tensor(const std::vector<Tensor>&)>;

// Checks dL/dx for every element of every input that requires a gradient, where L is the sum of
// y = f(inputs) times a fixed random tensor. A plain sum would have dL/dy = 1 everywhere, and a
// backward that forgets to multiply by dy would pass. Also checks that the pass is repeatable to
// the bit, that two passes add up, that a zero dL/dy gives exactly zero, and that inputs that want
// no gradient get none. Throws an Error that names the ops, the input, the element and both values,
// and says when the input is near a kink. Returns the largest difference seen.
// (PyTorch: torch.autograd.gradcheck)
double gradcheck(const TensorFunction& f, std::vector<Tensor> inputs,
                 GradcheckOptions options = {});

}  // namespace slim
