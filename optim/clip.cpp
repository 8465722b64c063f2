// The norm of the gradients. See clip.h.
#include "optim/clip.h"

#include "core/row_gradient.h"

#include <cmath>  // sqrt

namespace slim {

double gradient_norm(const std::vector<Tensor>& parameters) {
    double squares = 0;
    for (Tensor p : parameters)
        for (real g : grad_values(p)) squares += double(g) * double(g);
    return std::sqrt(squares);
}

double clip_gradient_norm(const std::vector<Tensor>& parameters, double max_norm) {
    check(max_norm > 0, "clip_gradient_norm: a bound of ", max_norm, "; it must be positive");
    const double norm = gradient_norm(parameters);
    if (norm > max_norm) {
        const real factor = real(max_norm / norm);
        for (Tensor p : parameters)
            for (real& g : grad_values(p)) g *= factor;
    }
    return norm;
}

}  // namespace slim
