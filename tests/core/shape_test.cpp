// reshape and clone: whose numbers, and that gradients are handed back in order.
#include "tests/testing.h"

namespace slim {

TEST_CASE("reshape: keeps the numbers and their order, in the same storage") {
    const Tensor x = tensor({1, 2, 3, 4, 5, 6}, {2, 3}), y = reshape(x, {3, 2});
    CHECK(y.shape() == Shape{3, 2});
    CHECK(y.data() == x.data());
    CHECK(y.at({1, 0}) == 3);
    CHECK(x.shape() == Shape{2, 3});
}

TEST_CASE("reshape: one dimension of -1 is worked out") {
    const Tensor x = zeros({2, 3, 5});
    CHECK(reshape(x, {-1}).shape() == Shape{30});
    CHECK(reshape(x, {5, -1}).shape() == Shape{5, 6});
    CHECK(reshape(x, {-1, 30, 1}).shape() == Shape{1, 30, 1});
    CHECK(reshape(zeros({0, 3}), {-1, 7}).shape() == Shape{0, 7});
    CHECK(reshape(scalar(2), {1, 1}).at({0, 0}) == 2);
    CHECK(reshape(ones({1, 1}), {}).item() == 1);
}

TEST_CASE("reshape: gradients, also through both shapes at once") {
    Rng rng(1);
    for (const Shape& shape : matrix_shapes())
        check_op([](auto& x) { return reshape(x[0], {x[0].size()}); }, {random_tensor(shape, rng)});
    check_gradients([](auto& x) { return matmul(x[0], reshape(x[0], {3, 2})); },
                    {random_tensor({2, 3}, rng)});
}

TEST_CASE("clone: a copy with its own numbers, through which gradients pass") {
    Rng rng(2);
    Tensor x = random_tensor({2, 3}, rng), y = clone(x);
    CHECK(same_bits(x, y));
    CHECK(x.data() != y.data());
    y.mutable_data()[0] = 100;
    CHECK(x.at({0, 0}) != 100);
    for (const Shape& shape : matrix_shapes())
        check_op([](auto& in) { return clone(in[0]); }, {random_tensor(shape, rng)});
    check_gradients([](auto& in) { return clone(in[0]) * in[0]; }, {x});
}

TEST_CASE("clone: protects the numbers that backward needs") {
    Tensor x = tensor({2, 3}).set_requires_grad();
    Tensor safe = clone(x), y = safe * safe;
    x.mutable_data()[0] = 50;
    backward(sum(y));
    CHECK(x.grad().to_vector() == std::vector<real>{4, 6});
}

TEST_CASE("fault: transpose is an op: rows become columns, and gradients come back") {
    Rng rng(3);
    const Tensor y = transpose(tensor({1, 2, 3, 4, 5, 6}, {2, 3}).set_requires_grad());
    CHECK(y.shape() == Shape{3, 2});
    CHECK(y.to_vector() == std::vector<real>{1, 4, 2, 5, 3, 6});
    CHECK(y.requires_grad());
    CHECK(transpose(zeros({0, 3})).shape() == Shape{3, 0});
    for (const Shape& shape : matrix_shapes())
        check_op([](auto& in) { return transpose(in[0]); }, {random_tensor(shape, rng)});
    Tensor x = random_tensor({2, 3}, rng);
    check_gradients([](auto& in) { return matmul(in[0], transpose(in[0])); }, {x});
    CHECK_ERROR(transpose(ones({3})), "transpose", "(3)", "2 axes");
    CHECK_ERROR(transpose(Tensor()), "undefined");
}

TEST_CASE("fault: the notebook's DoRA, weight + alpha * lora.T, trains B as well as m") {
    Rng rng(4);
    const Tensor W = random_tensor({3, 5}, rng, false), x = random_tensor({8, 5}, rng, false),
                 target = random_tensor({8, 3}, rng, false);
    Tensor A = random_tensor({5, 2}, rng), B = zeros({2, 3}).set_requires_grad(),
           m = norm(W, 0).set_requires_grad();
    double first = 0, last = 0;
    for (int step = 0; step < 200; step++) {
        const Tensor V = W + 4 * transpose(matmul(A, B));
        const Tensor loss = mse_loss(matmul_nt(x, mul_row(V, m / norm(V, 0))), target);
        (step == 0 ? first : last) = loss.item();
        backward(loss);
        for (Tensor* p : {&A, &B, &m}) {
            const Tensor step_back = p->detach() - 0.02 * p->grad();
            copy_values(step_back, *p);
            p->zero_grad();
        }
    }
    double sum_B = 0;
    for (real b : B.to_vector()) sum_B += std::fabs(b);
    CHECK(sum_B > 0.1);
    CHECK(last < first / 2);
}

TEST_CASE("reshape: writing through it counts as a change of the original") {
    Tensor x = tensor({2, 3}).set_requires_grad();
    Tensor y = x * x, flat = reshape(x.detach(), {2, 1});
    flat.mutable_data()[0] = 7;
    CHECK_ERROR(backward(sum(y)), "mul", "changed in place");
}

TEST_CASE("reshape: shapes that do not fit") {
    const Tensor x = zeros({2, 3});
    CHECK_ERROR(reshape(x, {4}), "reshape", "(2, 3)", "(4)", "6");
    CHECK_ERROR(reshape(x, {-1, 4}), "reshape", "(2, 3)", "(-1, 4)", "no size for -1");
    CHECK_ERROR(reshape(x, {-1, -1}), "reshape", "(-1, -1)", "one dimension");
    CHECK_ERROR(reshape(x, {-2, -3}), "(-2, -3)", "negative");
    CHECK_ERROR(reshape(zeros({0, 3}), {0, -1}), "reshape", "(0, 3)", "(0, -1)");
    CHECK_ERROR(clone(Tensor()), "undefined");
}

}  // namespace slim
