// The gradient check. See gradcheck.h.
#include "core/gradcheck.h"

#include <algorithm>  // max
#include <cmath>      // fabs
#include <set>

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

// The ops behind f's result, newest first, each once: "mean, mul, sub".
std::string ops_of(const TensorFunction& f, const std::vector<Tensor>& inputs) {
    const std::vector<Tensor> graph = tensors_behind("gradcheck", f(inputs));
    std::string list;
    std::set<std::string> named;
    for (size_t i = graph.size(); i-- > 0;)
        if (const Node* node = graph[i].impl->node.get(); node && named.insert(node->op).second)
            list += (list.empty() ? "" : ", ") + std::string(node->op);
    return list;
}

// A hint if f has a kink (relu at 0, say) so near that the slopes on both sides differ.
std::string kink_hint(double below, double middle, double above, double eps) {
    const double left = (middle - below) / eps, right = (above - middle) / eps;
    if (std::fabs(left - right) <= 0.1 * std::max(std::fabs(left), std::fabs(right))) return "";
    return ". hint: the slope is " + to_text(left) + " on the left and " + to_text(right) +
           " on the right: is there a kink within eps = " + to_text(eps) + "? Move the input away";
}

}  // namespace

double gradcheck(const TensorFunction& f, std::vector<Tensor> inputs, GradcheckOptions options) {
    Rng rng(options.seed);
    Shape shape;
    {
        NoGrad no_grad;
        shape = f(inputs).shape();
    }
    const std::string title = "gradcheck of " + ops_of(f, inputs) + ": ";
    const Tensor projection = normal(shape, 0, 1, rng);
    const auto analytic = gradients(f, inputs, projection);
    check(analytic == gradients(f, inputs, projection),
          title, "two backward passes over the same inputs differ; is f random?");

    for (const std::vector<real>& gradient : gradients(f, inputs, zeros(shape)))
        for (real g : gradient)
            check(g == 0, title, "a zero upstream gradient gave ", double(g), " instead of 0");

    const auto twice = gradients(f, inputs, projection, 2);
    double worst = 0;
    for (size_t k = 0; k < inputs.size(); k++) {
        if (!inputs[k].requires_grad()) continue;
        for (int64_t i = 0; i < inputs[k].size(); i++) {
            const real value = inputs[k].data()[i];
            const real above = value + real(options.eps), below = value - real(options.eps);
            const auto loss_at = [&](real x) {
                inputs[k].mutable_data()[i] = x;
                return projected(f, inputs, projection);
            };
            const double loss_above = loss_at(above), loss_below = loss_at(below);
            const double numeric = (loss_above - loss_below) / double(above - below);
            const double loss = loss_at(value);  // and the input is as it was

            const double got = analytic[k][size_t(i)];
            const double difference = std::fabs(got - numeric);
            if (!(difference <= options.absolute + options.relative * std::fabs(numeric)))
                fail(title, "input ", k, " of shape ",
                     inputs[k].shape(), ", element ", i, ": backward says ", got,
                     ", finite differences say ", numeric,
                     kink_hint(loss_below, loss, loss_above, options.eps));
            worst = std::max(worst, difference);

            const double sum = twice[k][size_t(i)];
            check(std::fabs(sum - 2 * got) <= options.absolute + options.relative * std::fabs(got),
                  title, "input ", k, " of shape ", inputs[k].shape(), ", element ", i,
                  ": one pass gives ", got, ", two passes give ", sum,
                  " instead of twice that. hint: a gradient is added to what is there, with +=");
        }
    }
    return worst;
}

}  // namespace slim
