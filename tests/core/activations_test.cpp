// Functions of each element: against the standard library, gradients, kinks, extreme inputs.
#include "tests/testing.h"

namespace slim {

using Unary = Tensor (*)(const Tensor&);
static const Unary kOps[] = {relu, tanh, sigmoid, exp, log, sqrt};

static const real kNan = std::numeric_limits<real>::quiet_NaN();
static const real kInf = std::numeric_limits<real>::infinity();

// f(x) for each element in double, then rounded.
template <class F>
static Tensor map(const Tensor& x, F f) {
    std::vector<real> values;
    for (real v : x.to_vector()) values.push_back(real(f(double(v))));
    return tensor(values, x.shape());
}

// The gradient of op at the one number x, with dL/dy = 1.
static real slope(Unary op, real x) {
    Tensor in = scalar(double(x)).set_requires_grad();
    backward(op(in));
    return in.grad().item();
}

TEST_CASE("activations: values against the standard library") {
    Rng rng(1);
    const Tensor x = normal({7, 5}, 0, 3, rng), positive = positive_tensor({7, 5}, rng);
    check_close_sums(tanh(x), map(x, [](double v) { return std::tanh(v); }), 1);
    check_close_sums(sigmoid(x), map(x, [](double v) { return 1 / (1 + std::exp(-v)); }), 1);
    check_close_sums(exp(x), map(x, [](double v) { return std::exp(v); }), 1);
    check_close_sums(log(positive), map(positive, [](double v) { return std::log(v); }), 1);
    check_close_sums(sqrt(positive), map(positive, [](double v) { return std::sqrt(v); }), 1);
    CHECK(same_bits(relu(x), map(x, [](double v) { return v > 0 ? v : 0; })));
}

TEST_CASE("activations: gradients") {
    Rng rng(2);
    for (Unary op : {Unary(tanh), Unary(sigmoid), Unary(exp), Unary(relu)})
        for (const Shape& shape : matrix_shapes())
            check_op([op](auto& x) { return op(x[0]); }, {nonzero_tensor(shape, rng)});
    for (Unary op : {Unary(log), Unary(sqrt)})
        for (const Shape& shape : matrix_shapes())
            check_op([op](auto& x) { return op(x[0]); }, {positive_tensor(shape, rng)});
}

TEST_CASE("activations: gradients when the input is used a second time") {
    Rng rng(3);
    for (Unary op : kOps)
        check_gradients([op](auto& x) { return op(x[0]) * x[0] + op(x[0]); },
                        {positive_tensor({2, 3}, rng)});
}

TEST_CASE("relu: the slope at 0 is 0, at both zeros") {
    CHECK(slope(relu, 0) == 0);
    CHECK(slope(relu, real(-0.0)) == 0);
    CHECK(slope(relu, std::numeric_limits<real>::min()) == 1);
    CHECK(slope(relu, -std::numeric_limits<real>::min()) == 0);
}

TEST_CASE("relu: NaN stays NaN and infinities stay what they are") {
    const Tensor y = relu(tensor({kNan, kInf, -kInf, -1}));
    CHECK(std::isnan(y.at({0})));
    CHECK(y.at({1}) == kInf);
    CHECK(y.at({2}) == 0);
    CHECK(y.at({3}) == 0);
}

TEST_CASE("activations: NaN stays NaN in all of them") {
    for (Unary op : kOps)
        CHECK(std::isnan(op(scalar(double(kNan))).item()));
}

TEST_CASE("tanh, sigmoid: saturate without overflow, with a slope of 0") {
    CHECK(tanh(tensor({1000, -1000})).to_vector() == std::vector<real>{1, -1});
    CHECK(sigmoid(tensor({1000, -1000, 0})).to_vector() == std::vector<real>{1, 0, 0.5});
    for (real x : {real(-1000), real(1000)}) {
        CHECK(slope(tanh, x) == 0);
        CHECK(slope(sigmoid, x) == 0);
    }
    CHECK(slope(tanh, 0) == 1);
    CHECK(slope(sigmoid, 0) == 0.25);
}

TEST_CASE("exp, log, sqrt: at the ends of their ranges") {
    CHECK(exp(tensor({1000, -1000, 0})).to_vector() == std::vector<real>{kInf, 0, 1});
    CHECK(log(tensor({0, 1, kInf})).to_vector() == std::vector<real>{-kInf, 0, kInf});
    CHECK(sqrt(tensor({0, 4, kInf})).to_vector() == std::vector<real>{0, 2, kInf});
    CHECK(std::isnan(log(scalar(-1)).item()));
    CHECK(std::isnan(sqrt(scalar(-1)).item()));
    CHECK(slope(log, 0) == kInf);
    CHECK(slope(sqrt, 0) == kInf);
}

TEST_CASE("activations: of an undefined tensor") {
    for (Unary op : kOps)
        CHECK_ERROR(op(Tensor()), "undefined");
}

// ---- dropout ------------------------------------------------------------------------------------

TEST_CASE("dropout: zeroes a share of p and scales the rest, so that the mean stays") {
    Rng rng(4);
    const int64_t n = 40000;
    for (double p : {0.1, 0.5, 0.8}) {
        const Tensor y = dropout(ones({n}), p, rng);
        double zeroed = 0, total = 0;
        for (real v : y.to_vector()) {
            REQUIRE((v == 0 || v == real(1 / (1 - p))));
            zeroed += v == 0;
            total += double(v);
        }
        CHECK(std::fabs(zeroed / n - p) < 0.013);  // five standard errors
        CHECK(std::fabs(total / n - 1) < 0.05);
    }
}

TEST_CASE("dropout: the gradient passes where the value passed, with the same factor") {
    for (const Shape& shape : matrix_shapes()) {
        Rng rng(5);
        check_op(
            [](auto& x) {
                Rng same_mask(6);
                return dropout(x[0], 0.4, same_mask);
            },
            {random_tensor(shape, rng)});
    }
    Rng rng(7);
    Tensor x = ones({50}).set_requires_grad(), y = dropout(x, 0.5, rng);
    backward(sum(y));
    CHECK(same_bits(x.grad(), y));
}

TEST_CASE("dropout: p = 0 is the identity and draws nothing, p = 1 is zero") {
    Rng rng(8);
    const uint64_t state = rng.state;
    Tensor x = tensor({1, 2, 3}).set_requires_grad();
    CHECK(same_bits(dropout(x, 0, rng), x));
    CHECK(rng.state == state);
    Tensor y = dropout(x, 1, rng);
    CHECK(same_bits(y, zeros({3})));
    backward(sum(y));
    CHECK(same_bits(x.grad(), zeros({3})));
}

TEST_CASE("dropout: p outside 0 .. 1") {
    Rng rng(9);
    CHECK_ERROR(dropout(ones({2}), -0.1, rng), "dropout", "-0.1", "between 0 and 1");
    CHECK_ERROR(dropout(ones({2}), 1.5, rng), "dropout", "1.5");
    CHECK_ERROR(dropout(ones({2}), double(kNan), rng), "dropout", "nan");
}

}  // namespace slim
