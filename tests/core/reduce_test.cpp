// Sums, means and norms: against plain loops and PyTorch, gradients, empty axes, zero vectors.
#include "tests/reference/reference.h"
#include "nn/linear.h"
#include "tests/testing.h"

namespace slim {

using AlongAxis = Tensor (*)(const Tensor&, int64_t);
static const AlongAxis kAlongAxis[] = {sum, mean, norm};

// f(the sum of x's elements, the sum of their squares, their number) along one axis of three.
template <class F>
static Tensor reduced(const Tensor& x, int64_t axis, F f) {
    Shape shape = x.shape();
    shape.erase(shape.begin() + axis);
    std::vector<double> total(size_t(checked_size(shape))), squares = total;
    for (int64_t i = 0; i < x.size(0); i++)
        for (int64_t j = 0; j < x.size(1); j++)
            for (int64_t k = 0; k < x.size(2); k++) {
                const int64_t to = axis == 0   ? j * x.size(2) + k
                                   : axis == 1 ? i * x.size(2) + k
                                               : i * x.size(1) + j;
                const double v = double(x.at({i, j, k}));
                total[size_t(to)] += v;
                squares[size_t(to)] += v * v;
            }
    std::vector<real> values;
    for (size_t i = 0; i < total.size(); i++)
        values.push_back(real(f(total[i], squares[i], double(x.size(axis)))));
    return tensor(values, shape);
}

TEST_CASE("sum, mean, norm: values along each axis of three, against a loop") {
    Rng rng(1);
    const Tensor x = random_tensor({3, 5, 7}, rng);
    for (int64_t axis : {0, 1, 2}) {
        const int64_t k = x.size(axis);
        check_close_sums(sum(x, axis), reduced(x, axis, [](double s, double, double) { return s; }),
                         k);
        check_close_sums(mean(x, axis),
                         reduced(x, axis, [](double s, double, double n) { return s / n; }), k);
        check_close_sums(
            norm(x, axis),
            reduced(x, axis, [](double, double q, double) { return std::sqrt(q); }), k);
    }
}

TEST_CASE("sum, mean: over everything") {
    const Tensor x = tensor({1, 2, 3, 4, 5, 9}, {2, 3});
    CHECK(sum(x).item() == 24);
    CHECK(mean(x).item() == 4);
    CHECK(sum(x).shape() == Shape{});
    CHECK(mean(scalar(3)).item() == 3);
}

TEST_CASE("sum: a million small terms lose no digits") {
    const int64_t n = 1000000;
    const double total = double(sum(full({n}, 0.1)).item());
    CHECK(total == relative(double(real(0.1)) * n, 1e-6));
}

TEST_CASE("sum, mean, norm: a negative axis counts from the end") {
    Rng rng(2);
    const Tensor x = random_tensor({3, 5, 7}, rng);
    for (AlongAxis op : kAlongAxis)
        for (int64_t axis : {0, 1, 2}) CHECK(same_bits(op(x, axis), op(x, axis - 3)));
}

TEST_CASE("sum, mean: gradients over everything") {
    Rng rng(3);
    for (const Shape& shape : matrix_shapes())
        check_op([](auto& x) { return sum(x[0]); }, {random_tensor(shape, rng)});
    for (const Shape& shape : {Shape{5, 3}, Shape{1, 7}, Shape{7, 1}, Shape{1, 1}, Shape{}})
        check_op([](auto& x) { return mean(x[0]); }, {random_tensor(shape, rng)});
}

TEST_CASE("sum, mean, norm: gradients along each axis") {
    Rng rng(4);
    for (AlongAxis op : kAlongAxis) {
        for (const Shape& shape : matrix_shapes())
            for (int64_t axis : {0, 1}) {
                if (shape[size_t(axis)] == 0) continue;  // tested below, by itself
                check_op([&](auto& x) { return op(x[0], axis); }, {nonzero_tensor(shape, rng)});
            }
        for (int64_t axis : {0, 1, 2})
            check_op([&](auto& x) { return op(x[0], axis); }, {nonzero_tensor({2, 3, 5}, rng)});
        check_op([&](auto& x) { return op(x[0], 0); }, {nonzero_tensor({7}, rng)});
    }
}

TEST_CASE("sum, mean, norm: gradients when the input is used twice") {
    Rng rng(5);
    for (AlongAxis op : kAlongAxis)
        check_gradients([&](auto& x) { return mul_row(x[0], op(x[0], 0)) + x[0]; },
                        {nonzero_tensor({3, 5}, rng)});
    check_gradients([](auto& x) { return sum(x[0]) * mean(x[0]); }, {random_tensor({3, 5}, rng)});
}

TEST_CASE("sum, mean, norm: of an empty axis") {
    CHECK(sum(zeros({0, 3})).item() == 0);
    CHECK(std::isnan(mean(zeros({0, 3})).item()));
    CHECK(same_bits(sum(zeros({0, 3}), 0), zeros({3})));
    CHECK(std::isnan(mean(zeros({0, 3}), 0).at({0})));
    CHECK(same_bits(norm(zeros({0, 3}), 0), zeros({3})));
    for (AlongAxis op : kAlongAxis) {
        CHECK(op(zeros({0, 3}), 1).shape() == Shape{0});
        Tensor x = zeros({0, 3}).set_requires_grad();
        backward(sum(op(x, 0)));
        CHECK(x.grad().shape() == Shape{0, 3});
    }
}

TEST_CASE("norm: the gradient at a zero vector is 0, the chosen one of its subgradients") {
    Tensor x = tensor({0, 3, 0, 4}, {2, 2}).set_requires_grad();
    backward(sum(norm(x, 0)));  // the first column is zero
    check_close(x.grad(), tensor({0, real(0.6), 0, real(0.8)}, {2, 2}), 1e-6, 0);
}

TEST_CASE("norm: NaN and infinity do not look healthy, neither forward nor backward") {
    Tensor x = tensor({NAN, 1, INFINITY, 1}, {2, 2}).set_requires_grad();
    Tensor y = norm(x, 1);
    CHECK(std::isnan(y.at({0})));
    CHECK(y.at({1}) == INFINITY);
    backward(sum(y));
    CHECK(std::isnan(x.grad().at({0, 0})));
    CHECK(std::isnan(x.grad().at({0, 1})));
    CHECK(std::isnan(x.grad().at({1, 0})));
}

TEST_CASE("norm: values and gradients are PyTorch's") {
    const Reference torch("ops.txt");
    for (int64_t axis : {0, 1}) {
        const std::string name = axis == 0 ? "norm0." : "norm1.";
        Tensor x = torch[name + "x"].set_requires_grad(), y = norm(x, axis);
        check_close_sums(y, torch[name + "y"], 5);
        backward(y, torch[name + "dy"]);
        check_close_sums(x.grad(), torch[name + "dx"], 5);
    }
}

TEST_CASE("squared_norms: in double, along either axis") {
    const Tensor x = tensor({1, 2, 3, 4, 5, 6}, {2, 3});
    CHECK(squared_norms(x, 0) == std::vector<double>{17, 29, 45});
    CHECK(squared_norms(x, 1) == std::vector<double>{14, 77});
    CHECK(squared_norms(x, -1) == std::vector<double>{14, 77});
}

TEST_CASE("sum, mean, norm: an axis that is not there") {
    const Tensor x = zeros({2, 3});
    CHECK_ERROR(sum(x, 2), "sum", "axis 2", "(2, 3)", "between -2 and 1");
    CHECK_ERROR(sum(x, -3), "sum", "axis -3", "(2, 3)");
    CHECK_ERROR(mean(x, 2), "mean", "axis 2", "(2, 3)");
    CHECK_ERROR(mean(scalar(1), 0), "mean", "axis 0", "()");
    CHECK_ERROR(norm(x, 7), "norm", "axis 7", "(2, 3)");
    CHECK_ERROR(norm(scalar(1), 0), "norm", "axis 0", "()");
}

TEST_CASE("fault: sums along an axis keep their digits") {
    const double close = 1e-6;
    CHECK(mean(full({1000000, 1}, 0.1), 0).item() == relative(0.1, close));
    CHECK(mean(full({1, 1000000}, 0.1), 1).item() == relative(0.1, close));
    CHECK(sum(full({300000, 2}, 0.1), 0).at({1}) == relative(30000, close));
    CHECK(mean(full({10}, 1e38)).item() == doctest::Approx(1e38));  // the sum is past float's end
    CHECK(mean(full({10, 1}, 1e38), 0).item() == doctest::Approx(1e38));

    Rng rng(1);
    const Tensor dy = full({60000, 3}, 1.0 / 60000), x = ones({60000, 2});
    Tensor b = zeros({3}).set_requires_grad(), v = ones({3}).set_requires_grad();
    backward(linear(x, zeros({3, 2}), b), dy);
    backward(add_row(zeros({60000, 3}), v), dy);
    backward(mul_row(ones({60000, 3}), v), dy);
    for (int64_t j = 0; j < 3; j++) {
        CHECK(b.grad().at({j}) == relative(1, close));
        CHECK(v.grad().at({j}) == relative(2, close));
    }
    Tensor u = ones({1}).set_requires_grad();
    backward(mul_col(ones({1, 60000}), u) + add_col(zeros({1, 60000}), u),
             full({1, 60000}, 1.0 / 60000));
    CHECK(u.grad().item() == relative(2, close));
}

TEST_CASE("fault: norm's gradient is x / |x| also where 1 / |x| is past float's end") {
    Tensor x = tensor({1e-39f, 0, 3e20f, 4e20f}, {2, 2}).set_requires_grad();
    backward(sum(norm(x, 1)));
    const Tensor g = x.grad();
    CHECK(g.at({0, 0}) == relative(1, 1e-5));
    CHECK(g.at({0, 1}) == 0);
    CHECK(g.at({1, 0}) == relative(0.6, 1e-5));
    CHECK(g.at({1, 1}) == relative(0.8, 1e-5));
}

TEST_CASE("fault: squares are taken in double: they leave float's range long before the norm") {
    for (double size : {1e-30, 1e-20, 1e20, 1e30}) {
        CAPTURE(size);
        const Tensor x = tensor({real(3 * size), 0, real(4 * size), 0}, {2, 2});
        CHECK(norm(x, 0).at({0}) / size == relative(5, 1e-6));
        CHECK(norm(transpose(x), 1).at({0}) / size == relative(5, 1e-6));
        CHECK(squared_norms(x, 0)[0] / size / size == relative(25, 1e-6));
        CHECK(squared_norms(transpose(x), 1)[0] / size / size == relative(25, 1e-6));
    }
    // A square has twice the digits of a float: 4097^2 = 16785409 needs 25 bits.
    CHECK(squared_norms(full({1, 1}, 4097), 0)[0] == 16785409);
    CHECK(squared_norms(full({2, 3}, 4097), 0)[2] == 2 * 16785409.0);
}

TEST_CASE("fault: column sums of a matrix wider than a block of columns") {
    for (int64_t cols : {63, 64, 65, 130}) {
        Rng rng(cols);
        const Tensor x = random_tensor({3, cols}, rng, false);
        Tensor v = zeros({cols}).set_requires_grad();
        backward(add_row(x, v), x);
        check_close(v.grad(), sum(x, 0), 1e-6, 1e-6);
        v.zero_grad();
        backward(mul_row(x, v), x);
        check_close(v.grad(), sum(x * x, 0), 1e-6, 1e-6);
    }
}

TEST_CASE("fault: mean prints its own name") {
    Tensor x = tensor({1, 3}).set_requires_grad();
    CHECK(to_string(mean(x)) == "tensor(2., grad_fn=<mean>)");
    CHECK(to_string(mean(reshape(x, {1, 2}), 1)) == "tensor([2.], grad_fn=<mean>)");
}

}  // namespace slim
