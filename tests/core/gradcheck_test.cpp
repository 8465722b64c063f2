// The gradient check is only worth something if it catches wrong gradients. So here are ops that
// are wrong in the ways that ops are wrong, and each must be caught.
#include "core/gradcheck.h"

#include "tests/testing.h"

namespace slim {

// y = x^2 with a backward function that can be swapped for a wrong one: (x, dy, dx) of one element.
using SquareBackward = void (*)(real x, real dy, real& dx);

struct SquareNode : Node {
    SquareBackward rule;
    SquareNode(const Tensor& x, SquareBackward rule) : Node("square", {x}), rule(rule) {}
    void backward(const Tensor& y) override {
        const real *x = saved(0), *dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < y.size(); i++) rule(x[i], dy[i], dx[i]);
    }
};

static Tensor square(const Tensor& x, SquareBackward rule) {
    Tensor y(x.shape());
    for (int64_t i = 0; i < x.size(); i++) y.mutable_data()[i] = x.data()[i] * x.data()[i];
    return record(y, std::make_shared<SquareNode>(x, rule));
}

static void right(real x, real dy, real& dx) { dx += 2 * x * dy; }
static void without_dy(real x, real, real& dx) { dx += 2 * x; }
static void wrong_sign(real x, real dy, real& dx) { dx -= 2 * x * dy; }
static void wrong_factor(real x, real dy, real& dx) { dx += x * dy; }
static void dy_twice(real x, real dy, real& dx) { dx += 2 * x * dy * dy; }
static void overwrites(real x, real dy, real& dx) { dx = 2 * x * dy; }
static void nothing(real, real, real&) {}
static void not_a_number(real x, real dy, real& dx) { dx += 2 * x * dy + NAN; }
static void constant_too_much(real x, real dy, real& dx) { dx += 2 * x * dy + real(1e-9); }

static double check_square(SquareBackward rule) {
    Rng rng(1);
    return gradcheck([rule](auto& x) { return square(x[0], rule); }, {nonzero_tensor({2, 3}, rng)});
}

TEST_CASE("gradcheck: a right gradient passes, with a small difference") {
    const double difference = check_square(right);
    CHECK(difference < (kDouble ? 1e-8 : 1e-3));
    CHECK(difference > 0);
}

TEST_CASE("gradcheck: catches a missing * dy") {
    CHECK_ERROR(check_square(without_dy), "gradcheck", "zero upstream gradient");
}

TEST_CASE("gradcheck: a plain sum as the loss would not catch a missing * dy") {
    Rng rng(2);
    Tensor x = nonzero_tensor({2, 3}, rng);
    backward(sum(square(x, without_dy)));
    check_close_sums(x.grad(), 2 * x, 1);  // the right gradient of the sum, by accident
    x.zero_grad();
    backward(square(x, without_dy), full({2, 3}, 5));
    check_close_sums(x.grad(), 2 * x, 1);  // and wrong for any other loss: 10 x was due
}

TEST_CASE("gradcheck: catches a wrong use of dy that neither dy = 0 nor dy = 1 shows") {
    CHECK_ERROR(check_square(dy_twice), "gradcheck", "backward says", "finite differences say");
}

TEST_CASE("gradcheck: catches a wrong sign, a wrong factor and a forgotten input") {
    CHECK_ERROR(check_square(wrong_sign), "gradcheck", "input 0", "(2, 3)", "element 0");
    CHECK_ERROR(check_square(wrong_factor), "backward says", "finite differences say");
    CHECK_ERROR(check_square(nothing), "backward says 0", "finite differences say");
}

TEST_CASE("gradcheck: catches an op that overwrites the gradient instead of adding to it") {
    CHECK_ERROR(check_square(overwrites), "gradcheck", "input 0", "(2, 3)", "two passes", "+=");
}

TEST_CASE("gradcheck: catches NaN, and a little that comes from nowhere") {
    CHECK_ERROR(check_square(not_a_number), "gradcheck");
    CHECK_ERROR(check_square(constant_too_much), "gradcheck", "zero upstream gradient");
}

TEST_CASE("gradcheck: catches a single wrong element among many, and says which") {
    Rng rng(3);
    const Tensor x = nonzero_tensor({3, 5}, rng);
    auto one_detached = [](const std::vector<Tensor>& in) {
        Tensor wrong = zeros({3, 5});
        wrong.mutable_data()[11] = in[0].data()[11];  // escapes the graph
        return in[0] * in[0] + wrong;
    };
    CHECK_ERROR(gradcheck(one_detached, {x}), "element 11", "(3, 5)");
}

TEST_CASE("gradcheck: catches a wrong gradient of the second input only") {
    Rng rng(4);
    auto f = [](const std::vector<Tensor>& x) { return x[0] * square(x[1], wrong_sign); };
    const Tensor a = nonzero_tensor({2}, rng), b = nonzero_tensor({2}, rng);
    CHECK_ERROR(gradcheck(f, {a, b}), "input 1");
    Tensor frozen = b.detach();
    CHECK_NOTHROW(gradcheck(f, {a, frozen}));
}

// y = x + f with f frozen, whose backward function asks for f's gradient all the same.
struct GreedyAddNode : Node {
    GreedyAddNode(const Tensor& x, const Tensor& f) : Node("greedy_add", {x, f}) {}
    void backward(const Tensor& y) override {
        for (Tensor& input : inputs)
            for (int64_t i = 0; i < y.size(); i++) input.mutable_grad()[i] += y.grad_data()[i];
    }
};

TEST_CASE("gradcheck: catches an op that computes the gradient of a frozen input") {
    auto f = [](const std::vector<Tensor>& x) {
        NoGrad no_grad;
        Tensor y = x[0] + x[1];
        y.impl->requires_grad = true;
        y.impl->node = std::make_shared<GreedyAddNode>(x[0], x[1]);
        return y;
    };
    Tensor x = ones({2}).set_requires_grad(), frozen = ones({2});
    CHECK_ERROR(gradcheck(f, {x, frozen}), "grad", "(2)", "does not require");
}

TEST_CASE("gradcheck: catches a function that is random") {
    Rng rng(5);
    auto f = [&rng](const std::vector<Tensor>& x) { return dropout(x[0], 0.5, rng); };
    CHECK_ERROR(gradcheck(f, {ones({50}).set_requires_grad()}), "gradcheck", "is f random?");
}

TEST_CASE("gradcheck: catches a kink that is nearer than eps") {
    Tensor x = tensor({0}).set_requires_grad();
    CHECK_ERROR(gradcheck([](auto& in) { return relu(in[0]); }, {x}), "backward says 0",
                "finite differences say");
}

TEST_CASE("gradcheck: leaves its inputs as they were, to the bit, and without gradients") {
    Rng rng(6);
    Tensor x = nonzero_tensor({2, 3}, rng);
    const std::vector<real> before = x.to_vector();
    gradcheck([](auto& in) { return in[0] * in[0]; }, {x});
    CHECK(x.to_vector() == before);
    CHECK(!x.grad().defined());
}

TEST_CASE("gradcheck: inputs that do not matter, empty ones and scalars") {
    Tensor x = ones({2}).set_requires_grad(), unused = ones({3}).set_requires_grad();
    CHECK_NOTHROW(gradcheck([](auto& in) { return in[0] * in[0]; }, {x, unused}));
    CHECK(gradcheck([](auto& in) { return in[0] * in[0]; },
                    {zeros({0, 2}).set_requires_grad()}) == 0);
    CHECK_NOTHROW(gradcheck([](auto& in) { return tanh(in[0]); }, {scalar(1).set_requires_grad()}));
    CHECK_ERROR(gradcheck([](auto& in) { return in[0] + in[0]; }, {ones({2})}), "does not depend");
}

TEST_CASE("fault: gradcheck names the ops, and a kink that is near") {
    const Tensor x = tensor({0.0001f, 2}).set_requires_grad();
    CHECK_ERROR(gradcheck([](auto& in) { return relu(in[0]); }, {x}, {.eps = 0.01}),
                "gradcheck of relu", "element 0", "kink", "eps = 0.01");
    const Tensor y = tensor({1, 2}).set_requires_grad();
    const std::string wrong = error_of([&] {
        gradcheck([](auto& in) { return scale(square(in[0], wrong_sign), 2); }, {y});
    });
    check_words(wrong, {"gradcheck of scale, square: ", "backward says"});
    CHECK(wrong.find("kink") == std::string::npos);
    const std::string flat = error_of([&] {  // no kink where the slope is 0 on both sides
        gradcheck([](auto& in) {
            return record(ones({2}), std::make_shared<GreedyAddNode>(in[0], in[0]));
        }, {y});
    });
    check_words(flat, {"finite differences say 0"});
    CHECK(flat.find("kink") == std::string::npos);
}

}  // namespace slim
