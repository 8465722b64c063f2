// What the tests of LoRA and DoRA share. Every adapter here is one in which no mistake can hide:
// not square, alpha different from the rank, B not zero, magnitudes away from the norms that they
// began as.
#pragma once

#include <algorithm>  // max
#include <map>
#include <memory>
#include <string>

#include "nn/adapters/dora.h"
#include "tests/reference/reference.h"
#include "tests/testing.h"

namespace slim {

constexpr Axis kAxes[] = {Axis::kOut, Axis::kIn};
constexpr NormGradient kNormGradients[] = {NormGradient::kExact, NormGradient::kDetached};

inline std::string axis_name(Axis axis) { return axis == Axis::kOut ? "dora_out" : "dora_in"; }
inline std::string gradient_name(NormGradient gradient) {
    return gradient == NormGradient::kExact ? "exact" : "detached";
}

inline std::shared_ptr<Linear> frozen_linear(int64_t in, int64_t out, Rng& rng, bool bias = true) {
    auto linear = std::make_shared<Linear>(in, out, rng, bias);
    linear->weight.set_requires_grad(false);
    return linear;
}

// "layers.0.lora.A" -> "A"
inline std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

// Gives B and m, if the layer has one, values that training could have left there.
inline void train_by_chance(Module& layer, Rng& rng) {
    for (NamedParameter p : layer.named_parameters()) {
        const std::string last = last_part(p.name);
        real* values = p.tensor.mutable_data();
        for (int64_t i = 0; i < p.tensor.size(); i++) {
            if (last == "B") values[i] = real(0.5 * rng.normal());
            if (last == "m") values[i] *= real(1 + 0.3 * rng.normal());
        }
    }
}

// The layer of tests/reference/adapters.txt.
template <class Layer>
std::shared_ptr<Layer> reference_layer(const Reference& torch, AdapterConfig options = {}) {
    options.rank = 3;
    options.alpha = 6;
    Rng rng(1);
    auto layer = std::make_shared<Layer>(frozen_linear(5, 7, rng), options, rng);
    StateDict state{{"linear.weight", torch["W"]}, {"linear.bias", torch["b"]},
                    {"lora.A", torch["A"]}, {"lora.B", torch["B"]}};
    if (layer->state_dict().count("m")) state["m"] = torch[axis_name(options.axis) + ".m"];
    layer->load_state_dict(state);
    return layer;
}

// What a forward and a backward pass give: "y", "dx", and "d" + the last part of the name of every
// parameter that has a gradient: "dA", "dB", "dm", "dbias".
using Results = std::map<std::string, Tensor>;

inline Results forward_backward(Module& layer, const Tensor& values, const Tensor& dy) {
    Tensor x = clone(values.detach()).set_requires_grad();
    layer.zero_grad();
    const Tensor y = layer(x);
    backward(y, dy);
    Results results{{"y", y.detach()}, {"dx", x.grad()}};
    for (const NamedParameter& p : layer.named_parameters())
        if (p.tensor.grad_data())
            results[std::string("d").append(last_part(p.name))] = p.tensor.grad();
    return results;
}

// Every element within tolerance times the largest one (or 1, if all are smaller): the same sums,
// rounded in another order.
inline void check_matches(const Tensor& got, const Tensor& want,
                          double tolerance = kDouble ? 1e-12 : 1e-5) {
    double largest = 1;
    for (real v : want.to_vector()) largest = std::max(largest, std::fabs(double(v)));
    CHECK(largest_difference(got, want) <= tolerance * largest);
}

inline bool all_finite(const Tensor& x) {
    for (real v : x.to_vector())
        if (!std::isfinite(v)) return false;
    return true;
}

}  // namespace slim
