// Element by element: values, gradients, the same tensor twice, unequal shapes.
#include "tests/testing.h"

namespace slim {

using Binary = Tensor (*)(const Tensor&, const Tensor&);
static const Binary kOps[] = {add, sub, mul, div};

TEST_CASE("add, sub, mul, div: values") {
    const Tensor a = tensor({1, -2, 3}), b = tensor({4, 5, -8});
    CHECK(same_bits(a + b, tensor({5, 3, -5})));
    CHECK(same_bits(a - b, tensor({-3, -7, 11})));
    CHECK(same_bits(a * b, tensor({4, -10, -24})));
    CHECK(same_bits(a / b, tensor({0.25, real(-0.4), -0.375})));
}

TEST_CASE("scale, add_scalar, negation: values") {
    const Tensor a = tensor({1, -2, 0.5});
    CHECK(same_bits(3 * a, tensor({3, -6, 1.5})));
    CHECK(same_bits(-a, tensor({-1, 2, -0.5})));
    CHECK(same_bits(add_scalar(a, 2), tensor({3, 0, 2.5})));
}

TEST_CASE("arithmetic: the inputs are left alone and the result has its own numbers") {
    Rng rng(1);
    const Tensor a = nonzero_tensor({2, 3}, rng), b = nonzero_tensor({2, 3}, rng);
    const std::vector<real> a_before = a.to_vector(), b_before = b.to_vector();
    for (Binary op : kOps) {
        const Tensor y = op(a, b);
        CHECK(y.data() != a.data());
        CHECK(y.data() != b.data());
    }
    CHECK(a.to_vector() == a_before);
    CHECK(b.to_vector() == b_before);
}

TEST_CASE("add, sub, mul, div: gradients") {
    Rng rng(2);
    for (Binary op : kOps)
        for (const Shape& shape : matrix_shapes())
            check_op([op](auto& x) { return op(x[0], x[1]); },
                     {nonzero_tensor(shape, rng), nonzero_tensor(shape, rng)});
}

TEST_CASE("add, sub, mul, div: gradients of scalars and of three axes") {
    Rng rng(3);
    for (Binary op : kOps)
        for (const Shape& shape : {Shape{}, Shape{2, 3, 5}})
            check_op([op](auto& x) { return op(x[0], x[1]); },
                     {nonzero_tensor(shape, rng), nonzero_tensor(shape, rng)});
}

TEST_CASE("add, sub, mul, div: gradients when both inputs are the same tensor") {
    Rng rng(4);
    for (Binary op : kOps)
        check_gradients([op](auto& x) { return op(x[0], x[0]); }, {nonzero_tensor({2, 3}, rng)});
}

TEST_CASE("add, sub, mul, div: the gradients of op(a, a), in exact numbers") {
    const std::vector<std::pair<Binary, real>> expected = {{add, 2}, {sub, 0}, {mul, 6}, {div, 0}};
    for (const auto& [op, gradient] : expected) {
        Tensor a = tensor({3}).set_requires_grad();
        backward(op(a, a));
        CHECK(a.grad().item() == gradient);
    }
}

TEST_CASE("scale, add_scalar: gradients") {
    Rng rng(5);
    for (const Shape& shape : matrix_shapes()) {
        check_op([](auto& x) { return scale(x[0], -2.5); }, {random_tensor(shape, rng)});
        check_op([](auto& x) { return add_scalar(x[0], 1.5); }, {random_tensor(shape, rng)});
        check_op([](auto& x) { return scale(x[0], 0); }, {random_tensor(shape, rng)});
    }
}

TEST_CASE("div: by zero is infinite or NaN, as in IEEE arithmetic") {
    const Tensor y = tensor({1, -1, 0}) / zeros({3});
    CHECK(y.at({0}) == INFINITY);
    CHECK(y.at({1}) == -INFINITY);
    CHECK(std::isnan(y.at({2})));
}

TEST_CASE("arithmetic: unequal shapes are never stretched") {
    const Tensor a = zeros({2, 3}), row = zeros({3}), other = zeros({3, 2}), one = scalar(1);
    CHECK_ERROR(a + row, "add", "(2, 3)", "(3)", "add_row");
    CHECK_ERROR(a + one, "add", "(2, 3)", "()");
    CHECK_ERROR(a - other, "sub", "(2, 3)", "(3, 2)", "equal");
    CHECK_ERROR(one - a, "sub", "()", "(2, 3)");
    CHECK_ERROR(a * row, "mul", "(2, 3)", "(3)", "mul_row");
    CHECK_ERROR(row * a, "mul", "(3)", "(2, 3)");
    CHECK_ERROR(a / other, "div", "(2, 3)", "(3, 2)");
    CHECK_ERROR(a / zeros({2, 3, 1}), "div", "(2, 3)", "(2, 3, 1)");
    CHECK_ERROR(zeros({0, 2}) + zeros({2, 0}), "add", "(0, 2)", "(2, 0)");
}

TEST_CASE("scale, add_scalar: of an undefined tensor") {
    CHECK_ERROR(scale(Tensor(), 2), "undefined");
    CHECK_ERROR(add_scalar(Tensor(), 2), "undefined");
}

TEST_CASE("fault: div's gradient stays in range where b * b does not") {
    struct Case {
        double a, b, dy, db;
    };
    for (const Case& c : std::vector<Case>{{1e20, 1e20, 1, -1e-20},
                                           {1e-30, 1e-30, 1, -1e30},
                                           {1e-30, 1e-30, 0, 0},
                                           {1e-35, 1e-20, 1e30, -1e35},
                                           {1e-25, 1e-10, 1e-25, -1e-30},
                                           {1e30, 1e25, 1e-3, -1e-23},
                                           {-1e-20, 1e-20, 1e-10, 1e10},
                                           {1e-30, 1e10, 1e30, -1e-20},
                                           {1e30, 1e10, 1e-30, -1e-20}}) {
        CAPTURE(c.a);
        const Tensor a = scalar(c.a).set_requires_grad(), b = scalar(c.b).set_requires_grad();
        backward(div(a, b), scalar(c.dy));
        CHECK(std::fabs(double(b.grad().item()) - c.db) <= 1e-5 * std::fabs(c.db));
        if (c.dy / c.b < 1e38)
            CHECK(std::fabs(double(a.grad().item()) - c.dy / c.b) <= 1e-5 * std::fabs(c.dy / c.b));
    }
}

TEST_CASE("fault: numbers beside tensors, on either side") {
    const Tensor x = tensor({1, 2, 4});
    const auto is = [](const Tensor& y, const std::vector<real>& want) {
        CHECK(y.to_vector() == want);
    };
    is(x * 2, {2, 4, 8});
    is(2 * x, {2, 4, 8});
    is(x / 2, {0.5, 1, 2});
    is(x + 1, {2, 3, 5});
    is(1 + x, {2, 3, 5});
    is(x - 1, {0, 1, 3});
    is(1 - x, {0, -1, -3});
    Rng rng(1);
    check_gradients([](auto& in) { return (3 - in[0] * 2) / 4 + (in[0] + 1) - 1; },
                    {random_tensor({3}, rng)});
}

}  // namespace slim
