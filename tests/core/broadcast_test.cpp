// A vector over a matrix: values against plain loops, gradients, vectors that do not fit.
#include "tests/testing.h"

namespace slim {

using Binary = Tensor (*)(const Tensor&, const Tensor&);

// One row of the table: the op, which axis of x its vector runs along, and what it computes.
struct Case {
    const char* name;
    Binary op;
    int64_t axis;  // 1: v [cols], 0: v [rows]
    bool multiplies;
};

static const Case kCases[] = {{"add_row", add_row, 1, false},
                              {"mul_row", mul_row, 1, true},
                              {"add_col", add_col, 0, false},
                              {"mul_col", mul_col, 0, true}};

TEST_CASE("broadcast: values, against a double loop") {
    Rng rng(1);
    for (const Case& c : kCases)
        for (const Shape& shape : matrix_shapes()) {
            const Tensor x = random_tensor(shape, rng);
            const Tensor v = random_tensor({shape[size_t(c.axis)]}, rng);
            const Tensor y = c.op(x, v);
            INFO(c.name);
            REQUIRE(y.shape() == shape);
            for (int64_t i = 0; i < shape[0]; i++)
                for (int64_t j = 0; j < shape[1]; j++) {
                    const real a = x.at({i, j}), b = v.at({c.axis == 1 ? j : i});
                    CHECK(y.at({i, j}) == (c.multiplies ? a * b : a + b));
                }
        }
}

TEST_CASE("broadcast: gradients of the matrix and of the vector") {
    Rng rng(2);
    for (const Case& c : kCases)
        for (const Shape& shape : matrix_shapes()) {
            INFO(c.name);
            check_op([&](auto& x) { return c.op(x[0], x[1]); },
                     {random_tensor(shape, rng), random_tensor({shape[size_t(c.axis)]}, rng)});
        }
}

TEST_CASE("broadcast: gradients when matrix and vector are the same numbers") {
    Rng rng(3);
    for (const Case& c : kCases) {
        const Shape shape = c.axis == 1 ? Shape{1, 5} : Shape{5, 1};
        check_gradients([&](auto& x) { return c.op(x[0], reshape(x[0], {5})); },
                        {random_tensor(shape, rng)});
        check_gradients([&](auto& x) { return c.op(x[0], x[1]) + c.op(x[0], x[1]); },
                        {random_tensor(shape, rng), random_tensor({5}, rng)});
    }
}

TEST_CASE("scale_shift: equal to mul_row and add_row, to the bit where c is 1") {
    Rng rng(4);
    for (const Shape& shape : {Shape{2, 3}, Shape{1, 7}, Shape{5, 1}, Shape{0, 3}}) {
        const Tensor x = random_tensor(shape, rng), c = random_tensor({shape[1]}, rng);
        const Tensor b = random_tensor({shape[1]}, rng);
        check_close(scale_shift(x, c, b).detach(), add_row(mul_row(x, c), b).detach(), 1e-6, 1e-6);
        CHECK(same_bits(scale_shift(x, c).detach(), mul_row(x, c).detach()));
        CHECK(same_bits(scale_shift(x, ones(c.shape()), b).detach(), add_row(x, b).detach()));
        check_op([](const std::vector<Tensor>& in) { return scale_shift(in[0], in[1], in[2]); },
                 {x, c, b});
        check_op([](const std::vector<Tensor>& in) { return scale_shift(in[0], in[1]); }, {x, c});
    }
    const Tensor x = scale_shift(tensor({-0.0}, {1, 1}), ones({1}));
    CHECK(std::signbit(x.item()));  // nothing is added where there is no shift
    Tensor twice = random_tensor({2, 3}, rng);
    const auto f = [](const std::vector<Tensor>& in) {
        return scale_shift(in[0] * in[0], in[1]) + in[0];
    };
    check_op(f, {twice, random_tensor({3}, rng)});
}

TEST_CASE("scale_shift: shapes that do not fit are errors") {
    const Tensor x = zeros({2, 3}), c = ones({3});
    CHECK_ERROR(scale_shift(x, ones({2})), "scale_shift", "(2, 3)", "(2)", "per column");
    CHECK_ERROR(scale_shift(ones({3}), c), "scale_shift", "(3)");
    CHECK_ERROR(scale_shift(x, c, ones({2})), "scale_shift", "shift", "(2)", "(3)");
}

TEST_CASE("broadcast: a vector of the wrong length, and the other axis as a hint to the reader") {
    const Tensor x = zeros({2, 3});
    CHECK_ERROR(add_row(x, zeros({2})), "add_row", "(2, 3)", "(2)", "3 columns");
    CHECK_ERROR(mul_row(x, zeros({2})), "mul_row", "(2, 3)", "(2)", "3 columns");
    CHECK_ERROR(add_col(x, zeros({3})), "add_col", "(2, 3)", "(3)", "2 rows");
    CHECK_ERROR(mul_col(x, zeros({3})), "mul_col", "(2, 3)", "(3)", "2 rows");
}

TEST_CASE("broadcast: the wrong number of axes") {
    for (const Case& c : kCases) {
        CHECK_ERROR(c.op(zeros({2, 3}), zeros({1, 3})), c.name, "(2, 3)", "(1, 3)", "2 axes");
        CHECK_ERROR(c.op(zeros({3}), zeros({3})), c.name, "(3)");
        CHECK_ERROR(c.op(zeros({2, 3}), scalar(1)), c.name, "(2, 3)", "()");
    }
}

}  // namespace slim
