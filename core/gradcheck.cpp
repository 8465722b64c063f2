// The gradient check. See gradcheck.h.
#include "core/gradcheck.h"

#include <algorithm>  // max
#include <cmath>      // fabs

#include "core/autograd.h"
#include "core/random.h"

namespace slim {

namespace {

// The gradients of sum(y * projection), one vector per input; empty where none is wanted. Several
// passes add up.
std::vector<std::vector<real>> gradients(const TensorFunction& f, std::vector<Tensor>& inputs,
                                         const Tensor& projection, int passes = 1) {
    for (Tensor& x : inputs) x.zero_grad();
    for (int pass = 0; pass < passes; pass++) backward(f(inputs), projection);
    std::vector<std::vector<real>> result;
    for (Tensor& x : inputs) {
        Tensor g = x.grad();
        check(x.requires_grad() || !g.defined(), "gradcheck: an input of shape ", x.shape(),
              " that requires no gradient has got one");
        if (x.requires_grad() && !g.defined()) g = zeros(x.shape());
        result.push_back(g.defined() ? g.to_vector() : std::vector<real>());
        x.zero_grad();
    }
    return result;
}

double projected(const TensorFunction& f, const std::vector<Tensor>& inputs,
                 const Tensor& projection) {
    NoGrad no_grad;
    Tensor y = f(inputs);
    double total = 0;
    for (int64_t i = 0; i < y.size(); i++)
        total += double(y.data()[i]) * double(projection.data()[i]);
    return total;
}

}  // namespace

double gradcheck(const TensorFunction& f, std::vector<Tensor> inputs, GradcheckOptions options) {
    Rng rng(options.seed);
    Shape shape;
    {
        NoGrad no_grad;
        shape = f(inputs).shape();
    }
    const Tensor projection = normal(shape, 0, 1, rng);
    const auto analytic = gradients(f, inputs, projection);
    check(analytic == gradients(f, inputs, projection),
          "gradcheck: two backward passes over the same inputs differ; is f random?");

    for (const std::vector<real>& gradient : gradients(f, inputs, zeros(shape)))
        for (real g : gradient)
            check(g == 0, "gradcheck: a zero upstream gradient gave ", double(g), " instead of 0");

    const auto twice = gradients(f, inputs, projection, 2);
    double worst = 0;
    for (size_t k = 0; k < inputs.size(); k++) {
        if (!inputs[k].requires_grad()) continue;
        for (int64_t i = 0; i < inputs[k].size(); i++) {
            const real value = inputs[k].data()[i];
            const real above = value + real(options.eps), below = value - real(options.eps);
            inputs[k].mutable_data()[i] = above;
            double numeric = projected(f, inputs, projection);
            inputs[k].mutable_data()[i] = below;
            numeric = (numeric - projected(f, inputs, projection)) / double(above - below);
            inputs[k].mutable_data()[i] = value;

            const double got = analytic[k][size_t(i)];
            const double difference = std::fabs(got - numeric);
            check(difference <= options.absolute + options.relative * std::fabs(numeric),
                  "gradcheck: input ", k, " of shape ", inputs[k].shape(), ", element ", i,
                  ": backward says ", got, ", finite differences say ", numeric);
            worst = std::max(worst, difference);

            const double sum = twice[k][size_t(i)];
            check(std::fabs(sum - 2 * got) <= options.absolute + options.relative * std::fabs(got),
                  "gradcheck: input ", k, " of shape ", inputs[k].shape(), ", element ", i,
                  ": one pass gives ", got, ", two passes give ", sum,
                  " instead of twice that. hint: a gradient is added to what is there, with +=");
        }
    }
    return worst;
}

}  // namespace slim
