// Linear. See linear.h; the product and its backward are linear() in core/matmul.cpp.
#include "nn/linear.h"

#include <cmath>  // sqrt

#include "core/ops.h"
#include "core/random.h"

namespace slim {

Linear::Linear(int64_t in_features, int64_t out_features, Rng& rng, bool with_bias) {
    check(in_features > 0 && out_features > 0, "Linear: ", in_features, " inputs and ",
          out_features, " outputs; both must be positive");
    const double bound = 1 / std::sqrt(double(in_features));
    weight = uniform({out_features, in_features}, -bound, bound, rng).set_requires_grad();
    if (with_bias) bias = uniform({out_features}, -bound, bound, rng).set_requires_grad();
}

Linear::Linear(Tensor weight, Tensor bias) : weight(weight), bias(bias) {
    check(weight.dim() == 2 && (!bias.defined() || bias.shape() == Shape{weight.size(0)}),
          "Linear: a weight of shape ", weight.shape(), " and a bias of shape ",
          bias.defined() ? bias.shape() : Shape{}, "; they must be (out, in) and (out)");
}

Linear::Linear(std::shared_ptr<const QuantizedMatrix> weight, Tensor bias)
    : bias(bias), quantized(std::move(weight)) {}

std::string Linear::extra() const {
    return "in_features=" + to_text(in_features()) + ", out_features=" + to_text(out_features()) +
           ", bias=" + (bias.defined() ? "True" : "False") +
           (quantized ? quantized->kind() == Quantization::kInt8 ? ", int8" : ", nf4" : "");
}

Tensor Linear::forward(const Tensor& x) {
    return quantized ? quantized_linear(x, quantized, bias) : linear(x, weight, bias);
}

Tensor Linear::product(const Tensor& x) const {
    return quantized ? quantized_linear(x, quantized) : matmul_nt(x, weight);
}

std::shared_ptr<Linear> as_linear(const ModulePtr& module) {
    auto linear = std::dynamic_pointer_cast<Linear>(module);
    check(linear != nullptr, "expected a Linear, got ", module ? module->name() : "nothing",
          ". hint: print the model to see which of its layers are Linear");
    return linear;
}

}  // namespace slim
