// The handle: what is shared and what is not, reading, shapes, factories, and wrong uses.
#include "core/tensor.h"

#include "tests/testing.h"

namespace slim {

TEST_CASE("tensor: the factories fill their shapes") {
    CHECK(zeros({2, 3}).to_vector() == std::vector<real>(6, 0));
    CHECK(ones({3}).to_vector() == std::vector<real>{1, 1, 1});
    CHECK(full({2}, -2.5).to_vector() == std::vector<real>{-2.5, -2.5});
    CHECK(zeros_like(ones({5, 2})).shape() == Shape{5, 2});
    CHECK(tensor({1, 2, 3}).shape() == Shape{3});
    CHECK(tensor({1, 2, 3, 4, 5, 6}, {2, 3}).at({1, 0}) == 4);
    CHECK(scalar(7).shape() == Shape{});
    CHECK(scalar(7).item() == 7);
}

TEST_CASE("tensor: random factories draw in order from the generator they are given") {
    Rng rng(3), again(3);
    Tensor u = uniform({2, 2}, -1, 1, rng), z = normal({3}, 10, 2, rng);
    for (real value : u.to_vector()) CHECK(value == real(again.uniform(-1, 1)));
    for (real value : z.to_vector()) CHECK(value == doctest::Approx(10 + 2 * again.normal()));
}

TEST_CASE("tensor: shape, dim and size; a negative axis counts from the end") {
    const Tensor x = zeros({2, 3, 5});
    CHECK(x.dim() == 3);
    CHECK(x.size() == 30);
    CHECK(x.size(0) == 2);
    CHECK(x.size(2) == 5);
    CHECK(x.size(-1) == 5);
    CHECK(x.size(-3) == 2);
    CHECK(scalar(1).dim() == 0);
    CHECK(scalar(1).size() == 1);
    CHECK(zeros({4, 0}).size() == 0);
}

TEST_CASE("tensor: at reads row-major") {
    const Tensor x = tensor({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {2, 3, 2});
    CHECK(x.at({0, 0, 1}) == 1);
    CHECK(x.at({0, 2, 0}) == 4);
    CHECK(x.at({1, 1, 1}) == 9);
    CHECK(scalar(3).at({}) == 3);
}

TEST_CASE("tensor: copying a handle shares everything") {
    Tensor x = zeros({2}), same = x;
    same.mutable_data()[1] = 5;
    CHECK(x.at({1}) == 5);
    CHECK(x.version() == same.version());
    same.set_requires_grad();
    CHECK(x.requires_grad());
}

TEST_CASE("tensor: detach shares the numbers and forgets the history") {
    Tensor x = ones({2}).set_requires_grad();
    Tensor y = 2 * x, d = y.detach();
    CHECK(d.is_leaf());
    CHECK(!d.requires_grad());
    CHECK(!y.is_leaf());
    y.mutable_data()[0] = 9;
    CHECK(d.at({0}) == 9);
    CHECK(d.version() == y.version());
}

TEST_CASE("tensor: grad shares the memory that optimisers update") {
    Tensor x = ones({2}).set_requires_grad();
    CHECK(!x.grad().defined());
    backward(sum(3 * x));
    Tensor g = x.grad();
    CHECK(g.to_vector() == std::vector<real>{3, 3});
    g.mutable_data()[0] = 8;
    CHECK(x.grad().at({0}) == 8);
    x.zero_grad();
    CHECK(!x.grad().defined());
    CHECK(g.at({0}) == 8);  // whoever holds it keeps it
}

TEST_CASE("tensor: no longer requiring a gradient drops the gradient") {
    Tensor x = ones({2}).set_requires_grad();
    backward(sum(x));
    CHECK(x.grad().defined());
    x.set_requires_grad(false);
    CHECK(!x.grad().defined());
}

TEST_CASE("tensor: copy_values copies into the same storage") {
    Tensor from = tensor({1, 2, 3}), to = zeros({3});
    const real* where = to.data();
    const uint64_t version = to.version();
    copy_values(from, to);
    CHECK(to.data() == where);
    CHECK(to.to_vector() == from.to_vector());
    CHECK(to.version() != version);
}

TEST_CASE("tensor: copies and clones of an op's result own nothing of it in the end") {
    const LeakCounter leaks;
    {
        Tensor a = zeros({3, 4}), b = a, c = reshape(a, {12}), d = a.detach(), e = clone(a);
        CHECK(leaks.leaked() == 2);  // a, shared by four, and e
    }
    CHECK(leaks.leaked() == 0);
}

TEST_CASE("tensor: shapes that cannot be are refused before any memory is asked for") {
    CHECK_ERROR(Tensor({2, -3}), "tensor", "(2, -3)", "negative");
    CHECK_ERROR(zeros({int64_t(1) << 40, int64_t(1) << 40}), "tensor", "1099511627776");
    // The product overflows, although a zero comes first: 0 elements, and that is what counts.
    CHECK(checked_size({0, int64_t(1) << 62, 8}) == 0);
    CHECK_ERROR(checked_size({0, -1}), "(0, -1)", "negative");
    CHECK_ERROR(tensor({1, 2, 3}, {2, 2}), "tensor", "3 values", "(2, 2)", "4");
}

TEST_CASE("tensor: wrong reads say the index and the shape") {
    const Tensor x = zeros({2, 3});
    CHECK_ERROR(x.at({0}), "at", "1 indices", "(2, 3)");
    CHECK_ERROR(x.at({0, 3}), "at", "index 3", "axis 1", "(2, 3)", "between 0 and 2");
    CHECK_ERROR(x.at({-1, 0}), "at", "index -1", "axis 0");
    CHECK_ERROR(x.size(2), "size", "axis 2", "(2, 3)");
    CHECK_ERROR(x.size(-3), "size", "axis -3", "between -2 and 1");
    for (const int64_t axis : {0, -1}) {
        CHECK_ERROR(scalar(1).size(axis), "size", "shape ()", "a scalar has no axes");
        CHECK_ERROR(sum(scalar(1), axis), "sum", "shape ()", "a scalar has no axes");
    }
    CHECK_ERROR(x.item(), "item", "(2, 3)", "6 elements");
    CHECK_ERROR(zeros({0}).item(), "item", "(0)", "0 elements");
}

TEST_CASE("tensor: an undefined tensor says so, whatever it is asked") {
    Tensor nothing;
    CHECK(!nothing.defined());
    CHECK_ERROR(nothing.shape(), "undefined");
    CHECK_ERROR(nothing.data(), "undefined");
    CHECK_ERROR(nothing.mutable_data(), "undefined");
    CHECK_ERROR(nothing.zero_grad(), "undefined");
    CHECK_ERROR(relu(nothing), "undefined");
    CHECK_ERROR(zeros({1}) + nothing, "undefined");
    CHECK_ERROR(backward(nothing), "undefined");
}

TEST_CASE("tensor: copy_values and gradients of the wrong tensor are refused") {
    Tensor x = ones({2, 3}), y = ones({3, 2});
    CHECK_ERROR(copy_values(x, y), "copy_values", "(2, 3)", "(3, 2)");
    CHECK_ERROR(x.mutable_grad(), "grad", "(2, 3)", "does not require");
    x.set_requires_grad();
    Tensor z = 2 * x;
    CHECK_ERROR(z.set_requires_grad(false), "set_requires_grad", "(2, 3)", "detach");
}

}  // namespace slim
