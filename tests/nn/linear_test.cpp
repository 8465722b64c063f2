// The Linear module: initialisation as PyTorch's, the formula, gradients.
#include "nn/linear.h"

#include <algorithm>  // max

#include "tests/reference/reference.h"
#include "tests/testing.h"

namespace slim {

// The largest magnitude and the mean square of the elements.
static std::pair<double, double> spread(const Tensor& x) {
    double largest = 0, squares = 0;
    for (real v : x.to_vector()) {
        largest = std::max(largest, std::fabs(double(v)));
        squares += double(v) * double(v);
    }
    return {largest, squares / double(x.size())};
}

TEST_CASE("Linear: starts with the bounds of torch.nn.Linear, filled evenly") {
    const Reference torch("init.txt");
    Rng rng(1);
    Linear layer(784, 1000, rng);
    for (const std::string name : {"weight", "bias"}) {
        INFO(name);
        const double bound = torch["linear784." + name + "_bound"].item();
        const Tensor values = layer.state_dict().at(name);
        const auto [largest, mean_square] = spread(values);
        CHECK(largest <= bound * (1 + 1e-7));
        CHECK(largest >= 0.99 * bound);
        // A uniform distribution has variance bound^2 / 3: five standard errors on either side.
        const double share = 5 * std::sqrt(0.8 / double(values.size()));
        CHECK(mean_square == relative(bound * bound / 3, share));
    }
}

TEST_CASE("Linear: the same seed gives the same layer, another seed another") {
    Rng one(2), again(2), other(3);
    Linear a(5, 3, one), b(5, 3, again), c(5, 3, other);
    CHECK(same_bits(a.weight, b.weight));
    CHECK(same_bits(a.bias, b.bias));
    CHECK(!same_bits(a.weight, c.weight));
    CHECK(one.state == again.state);
}

TEST_CASE("Linear: x W^T + b, with PyTorch's numbers and gradients") {
    const Reference torch("ops.txt");
    Rng rng(4);
    Linear layer(5, 3, rng);
    layer.load_state_dict({{"weight", torch["linear.W"]}, {"bias", torch["linear.b"]}});
    const Tensor x = torch["linear.x"].set_requires_grad();
    const Tensor y = layer(x);
    backward(y, torch["linear.dy"]);
    const double relative = kDouble ? 1e-12 : 1e-5;
    check_close(y, torch["linear.y"], relative, relative);
    check_close(x.grad(), torch["linear.dx"], relative, relative);
    check_close(layer.weight.grad(), torch["linear.dW"], relative, relative);
    check_close(layer.bias.grad(), torch["linear.db"], relative, relative);
}

TEST_CASE("Linear: gradients, with and without bias") {
    Rng rng(5);
    for (const bool with_bias : {true, false}) {
        Linear layer(5, 3, rng, with_bias);
        std::vector<Tensor> inputs{random_tensor({7, 5}, rng)};
        for (const Tensor& p : layer.parameters()) inputs.push_back(p);
        CHECK(inputs.size() == (with_bias ? 3 : 2));
        check_gradients([&](const std::vector<Tensor>& in) { return layer(in[0]); }, inputs);
    }
}

TEST_CASE("Linear: sizes that make no layer, and an input that does not fit, are errors") {
    Rng rng(6);
    CHECK_ERROR(Linear(0, 3, rng), "Linear", "0 inputs and 3 outputs", "positive");
    CHECK_ERROR(Linear(3, -1, rng), "Linear", "-1 outputs");
    Linear layer(5, 3, rng);
    CHECK_ERROR(layer(zeros({2, 4})), "linear", "(2, 4)", "(3, 5)");
    CHECK_ERROR(layer(zeros({5})), "linear", "(5)");
}

}  // namespace slim
