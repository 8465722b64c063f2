// Activations, Dropout, Sequential and MLP as modules.
#include "nn/activation.h"
#include "nn/dropout.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "tests/testing.h"

namespace slim {

TEST_CASE("activations: each module is the op of its name, and has no parameters") {
    Rng rng(1);
    const Tensor x = random_tensor({3, 5}, rng, false);
    ReLU r;
    Tanh t;
    Sigmoid s;
    CHECK(same_bits(r(x), relu(x)));
    CHECK(same_bits(t(x), tanh(x)));
    CHECK(same_bits(s(x), sigmoid(x)));
    for (Module* m : {static_cast<Module*>(&r), static_cast<Module*>(&t),
                      static_cast<Module*>(&s)})
        CHECK(m->parameters().empty());
    CHECK(to_string(r) == "ReLU()");
    CHECK(to_string(t) == "Tanh()");
    CHECK(to_string(s) == "Sigmoid()");
}

TEST_CASE("Dropout: in evaluation it is the identity and draws nothing") {
    Rng seed(2);
    Dropout layer(0.5, seed);
    layer.eval();
    const uint64_t before = layer.rng.state;
    const Tensor x = random_tensor({3, 5}, seed, false);
    CHECK(same_bits(layer(x), x));
    CHECK(layer.rng.state == before);
}

TEST_CASE("Dropout: in training it zeroes the share p and scales the rest by 1 / (1 - p)") {
    Rng seed(3);
    Dropout layer(0.25, seed);
    const int64_t n = 40000;
    const Tensor y = layer(ones({n}));
    int64_t zeros_seen = 0;
    for (real v : y.to_vector()) {
        zeros_seen += v == 0;
        if (v != 0) CHECK(v == real(1 / 0.75));
    }
    // Five standard deviations of a binomial count.
    CHECK(std::fabs(double(zeros_seen) - 0.25 * n) < 5 * std::sqrt(n * 0.25 * 0.75));
}

TEST_CASE("Dropout: the same seed gives the same masks, and a rewound generator the same again") {
    Rng one(4), again(4);
    Dropout a(0.5, one), b(0.5, again);
    const Tensor x = ones({100});
    const uint64_t start = a.rng.state;
    const Tensor first = a(x), second = a(x);
    CHECK(same_bits(first, b(x)));
    CHECK(same_bits(second, b(x)));
    CHECK(!same_bits(first, second));
    a.rng.state = start;
    CHECK(same_bits(first, a(x)));
}

TEST_CASE("Dropout: gradients go through the mask that the forward pass drew") {
    Rng seed(5);
    Dropout layer(0.5, seed);
    const uint64_t start = layer.rng.state;
    check_gradients(
        [&](const std::vector<Tensor>& in) {
            layer.rng.state = start;
            return layer(in[0]);
        },
        {random_tensor({3, 7}, seed)});
}

TEST_CASE("Dropout: p of 0 and 1 are allowed, anything outside is an error") {
    Rng seed(6);
    const Tensor x = ones({50});
    CHECK(same_bits(Dropout(0, seed)(x), x));
    CHECK(same_bits(Dropout(1, seed)(x), zeros({50})));
    CHECK_ERROR(Dropout(-0.1, seed), "Dropout", "-0.1", "between 0 and 1");
    CHECK_ERROR(Dropout(1.5, seed), "Dropout", "1.5");
    CHECK_ERROR(Dropout(std::nan(""), seed), "Dropout", "nan");
}

TEST_CASE("Sequential: modules one after another; empty is the identity") {
    Rng rng(7);
    auto a = std::make_shared<Linear>(5, 3, rng), b = std::make_shared<Linear>(3, 2, rng);
    Sequential model({a, std::make_shared<Tanh>(), b});
    const Tensor x = random_tensor({4, 5}, rng, false);
    CHECK(same_bits(model(x), (*b)(tanh((*a)(x)))));
    Sequential empty({});
    CHECK(same_bits(empty(x), x));
}

TEST_CASE("MLP: two hidden layers with ReLU, and every gradient") {
    Rng rng(8);
    MLP model(5, 7, 3, 2, rng);
    const Tensor x = random_tensor({4, 5}, rng);
    const StateDict p = model.state_dict();
    const Tensor h1 = relu(linear(x, p.at("layers.0.weight"), p.at("layers.0.bias")));
    const Tensor h2 = relu(linear(h1, p.at("layers.2.weight"), p.at("layers.2.bias")));
    CHECK(same_bits(model(x), linear(h2, p.at("layers.4.weight"), p.at("layers.4.bias"))));

    if (!kDouble) return;  // the float build's steps are wide enough to cross ReLU's kink
    std::vector<Tensor> inputs = model.parameters();
    inputs.push_back(x);
    check_gradients([&](const std::vector<Tensor>&) { return model(x); }, inputs);
}

TEST_CASE("MLP: 784-128-256-10 has 136,074 parameters, and one seed always makes the same model") {
    Rng one(9), again(9);
    MLP a(784, 128, 256, 10, one), b(784, 128, 256, 10, again);
    int64_t total = 0;
    for (const Tensor& p : a.parameters()) total += p.size();
    CHECK(total == 136074);
    const StateDict other = b.state_dict();
    for (const auto& [name, tensor] : a.state_dict()) CHECK(same_bits(tensor, other.at(name)));
}

}  // namespace slim
