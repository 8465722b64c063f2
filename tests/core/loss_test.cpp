// Softmax and the losses: against PyTorch and each other, gradients, logits that are not moderate.
#include "tests/reference/reference.h"
#include "tests/testing.h"

namespace slim {

using Unary = Tensor (*)(const Tensor&);

static const double kLog2 = std::log(2.0), kLog3 = std::log(3.0);

// A random label below `classes` for each of `batch` rows.
static std::vector<int> random_labels(int64_t batch, int64_t classes, Rng& rng) {
    std::vector<int> labels;
    for (int64_t i = 0; i < batch; i++) labels.push_back(int(rng.below(classes)));
    return labels;
}

TEST_CASE("softmax, log_softmax: values and gradients are PyTorch's") {
    const Reference torch("ops.txt");
    const std::vector<std::pair<std::string, Unary>> ops = {{"softmax.", softmax},
                                                            {"log_softmax.", log_softmax}};
    for (const auto& [name, op] : ops) {
        Tensor x = torch[name + "x"].set_requires_grad(), y = op(x);
        check_close_sums(y, torch[name + "y"], 5);
        backward(y, torch[name + "dy"]);
        check_close_sums(x.grad(), torch[name + "dx"], 5);
    }
}

TEST_CASE("softmax: rows sum to one, and log_softmax is its logarithm") {
    Rng rng(1);
    const Tensor x = normal({7, 5}, 0, 3, rng), y = softmax(x);
    check_close_sums(sum(y, 1), ones({7}), 5);
    check_close_sums(exp(log_softmax(x)), y, 5);
}

TEST_CASE("softmax, log_softmax: over the last axis, however many there are") {
    Rng rng(2);
    const Tensor x = random_tensor({2, 3, 5}, rng);
    for (Unary op : {Unary(softmax), Unary(log_softmax)}) {
        CHECK(same_bits(op(x), reshape(op(reshape(x, {6, 5})), {2, 3, 5})));
        CHECK(op(zeros({5})).shape() == Shape{5});
    }
}

TEST_CASE("softmax, log_softmax: gradients") {
    Rng rng(3);
    for (Unary op : {Unary(softmax), Unary(log_softmax)}) {
        for (const Shape& shape : matrix_shapes())
            check_op([op](auto& x) { return op(x[0]); }, {random_tensor(shape, rng)});
        check_op([op](auto& x) { return op(x[0]); }, {random_tensor({2, 3, 5}, rng)});
        check_gradients([op](auto& x) { return op(x[0]) * x[0]; }, {random_tensor({3, 5}, rng)});
    }
}

TEST_CASE("softmax, log_softmax: a scalar has no axis") {
    CHECK_ERROR(softmax(scalar(1)), "softmax", "scalar", "at least one axis");
    CHECK_ERROR(log_softmax(scalar(1)), "log_softmax", "scalar", "at least one axis");
    CHECK_ERROR(softmax(Tensor()), "undefined");
    CHECK_ERROR(log_softmax(Tensor()), "undefined");
}

// ---- cross_entropy ------------------------------------------------------------------------------

TEST_CASE("cross_entropy: value and gradient are PyTorch's") {
    const Reference torch("ops.txt");
    Tensor logits = torch["cross_entropy.logits"].set_requires_grad();
    Tensor loss = cross_entropy(logits, torch.integers("cross_entropy.labels"));
    check_close_sums(loss, torch["cross_entropy.loss"], 7);
    backward(loss);
    check_close_sums(logits.grad(), torch["cross_entropy.dlogits"], 7);
}

TEST_CASE("cross_entropy: equals minus the mean of the chosen entries of log_softmax") {
    Rng rng(4);
    Tensor x = random_tensor({5, 3}, rng);
    const std::vector<int> labels = random_labels(5, 3, rng);
    Tensor chosen = zeros({5, 3});
    for (int64_t i = 0; i < 5; i++) chosen.mutable_data()[i * 3 + labels[size_t(i)]] = 1;

    Tensor fused = cross_entropy(x, labels), composed = -1 / 5.0 * sum(log_softmax(x) * chosen);
    check_close_sums(fused, composed, 15);
    backward(fused);
    const Tensor gradient = x.grad();
    x.zero_grad();
    backward(composed);
    check_close_sums(x.grad(), gradient, 15);
}

TEST_CASE("cross_entropy: gradients, also when the logits are used twice") {
    Rng rng(5);
    for (const Shape& shape : {Shape{5, 3}, Shape{1, 7}, Shape{7, 1}, Shape{1, 1}, Shape{2, 5}}) {
        const std::vector<int> labels = random_labels(shape[0], shape[1], rng);
        check_op([&](auto& x) { return cross_entropy(x[0], labels); }, {random_tensor(shape, rng)});
        check_op([&](auto& x) { return cross_entropy(x[0] * x[0], labels) + mean(x[0]); },
                 {random_tensor(shape, rng)});
    }
}

TEST_CASE("cross_entropy: keeps its own copy of the labels for the backward pass") {
    Tensor x = zeros({1, 2}).set_requires_grad();
    std::vector<int> labels = {0};
    Tensor loss = cross_entropy(x, labels);
    labels[0] = 1;
    backward(loss);
    CHECK(same_bits(x.grad(), tensor({-0.5, 0.5}, {1, 2})));
}

TEST_CASE("softmax, log_softmax, cross_entropy: logits of 1e30 and -1e30") {
    Tensor x = tensor({real(1e30), 0, real(-1e30)}, {1, 3}).set_requires_grad();
    CHECK(same_bits(softmax(x), tensor({1, 0, 0}, {1, 3})));
    CHECK(same_bits(log_softmax(x), tensor({0, real(-1e30), real(-2e30)}, {1, 3})));
    CHECK(cross_entropy(x, std::vector<int>{0}).item() == 0);
    Tensor wrong = cross_entropy(x, std::vector<int>{2});
    CHECK(wrong.item() == real(2e30));
    backward(wrong);
    CHECK(same_bits(x.grad(), tensor({1, 0, -1}, {1, 3})));
}

// x - (max + log n) would round log n away; (x - max) - log n does not.
TEST_CASE("softmax, log_softmax, cross_entropy: equal logits, however large, share equally") {
    for (double level : {0.0, 1e3, 1e30, -1e30}) {
        Tensor x = full({2, 3}, level).set_requires_grad();
        check_close(softmax(x), full({2, 3}, 1 / 3.), 1e-6, 0);
        check_close(log_softmax(x), full({2, 3}, -kLog3), 1e-6, 0);
        Tensor loss = cross_entropy(x, std::vector<int>{0, 2});
        CHECK(double(loss.item()) == relative(kLog3, 1e-6));
        backward(loss);
        check_close(x.grad(), tensor({-2, 1, 1, 1, 1, -2}, {2, 3}) / full({2, 3}, 6), 1e-6, 0);
    }
}

TEST_CASE("softmax, cross_entropy: a NaN logit gives NaN, it is not skipped") {
    const Tensor x = tensor({1, NAN, 2}, {1, 3});
    CHECK(std::isnan(softmax(x).at({0, 0})));
    CHECK(std::isnan(log_softmax(x).at({0, 2})));
    CHECK(std::isnan(cross_entropy(x, std::vector<int>{0}).item()));
}

TEST_CASE("softmax: -inf masks an entry out") {
    CHECK(same_bits(softmax(tensor({0, -INFINITY, 0}, {1, 3})), tensor({0.5, 0, 0.5}, {1, 3})));
    CHECK(double(cross_entropy(tensor({0, -INFINITY, 0}, {1, 3}), std::vector<int>{2}).item()) ==
          doctest::Approx(kLog2));
}

TEST_CASE("cross_entropy: labels and logits that do not fit") {
    const Tensor x = zeros({2, 3});
    const std::vector<int> two = {0, 1};
    CHECK_ERROR(cross_entropy(x, std::vector<int>{0}), "cross_entropy", "(2, 3)", "1 labels");
    CHECK_ERROR(cross_entropy(x, std::vector<int>{0, 3}), "cross_entropy", "label 3", "row 1",
                "(2, 3)", "between 0 and 2");
    CHECK_ERROR(cross_entropy(x, std::vector<int>{-1, 0}), "cross_entropy", "label -1", "row 0");
    CHECK_ERROR(cross_entropy(zeros({2}), two), "cross_entropy", "(2)", "(batch, classes)");
    CHECK_ERROR(cross_entropy(zeros({0, 3}), std::vector<int>{}), "cross_entropy", "(0, 3)");
    CHECK_ERROR(cross_entropy(zeros({2, 0}), two), "cross_entropy", "(2, 0)");
}

// ---- mse_loss and argmax_rows -------------------------------------------------------------------

TEST_CASE("mse_loss: value, gradients, and the same tensor on both sides") {
    CHECK(mse_loss(tensor({1, 2, 3}), tensor({1, 4, 0})).item() == doctest::Approx(13 / 3.));
    Rng rng(6);
    for (const Shape& shape : {Shape{5, 3}, Shape{1, 7}, Shape{7, 1}, Shape{1, 1}, Shape{}})
        check_op([](auto& x) { return mse_loss(x[0], x[1]); },
                 {random_tensor(shape, rng), random_tensor(shape, rng)});
    Tensor x = ones({3}).set_requires_grad();
    backward(mse_loss(x, x));
    CHECK(same_bits(x.grad(), zeros({3})));
}

TEST_CASE("mse_loss: shapes that differ, and nothing at all") {
    CHECK_ERROR(mse_loss(zeros({2, 3}), zeros({3, 2})), "mse_loss", "(2, 3)", "(3, 2)");
    CHECK_ERROR(mse_loss(zeros({2, 1}), zeros({2})), "mse_loss", "(2, 1)", "(2)");
    CHECK_ERROR(mse_loss(zeros({0}), zeros({0})), "mse_loss", "(0)", "not empty");
}

TEST_CASE("argmax_rows: the first of the largest in each row") {
    CHECK(argmax_rows(tensor({1, 5, 2, -3, -1, -2}, {2, 3})) == std::vector<int>{1, 1});
    CHECK(argmax_rows(tensor({4, 4, 0, 7, 0, 7}, {2, 3})) == std::vector<int>{0, 0});
    CHECK(argmax_rows(zeros({0, 3})).empty());
    CHECK(argmax_rows(zeros({3, 1})) == std::vector<int>{0, 0, 0});
}

TEST_CASE("argmax_rows: what has no rows or no columns") {
    CHECK_ERROR(argmax_rows(zeros({3})), "argmax_rows", "(3)");
    CHECK_ERROR(argmax_rows(zeros({2, 0})), "argmax_rows", "(2, 0)", "at least one column");
}

TEST_CASE("fault: softmax subtracts the largest entry; its sums keep their digits") {
    const Tensor x = tensor({0, 1000}, {1, 2});
    CHECK(softmax(x).to_vector() == std::vector<real>{0, 1});
    CHECK(log_softmax(x).to_vector() == std::vector<real>{-1000, 0});
    CHECK(softmax(tensor({-1000, -1000}, {1, 2})).to_vector() == std::vector<real>{0.5, 0.5});

    // 262,144 classes: log(262144) - x_label + log(mean e^x), here x_j = j mod 2.
    const int64_t classes = 262144;
    Tensor logits = zeros({1, classes});
    for (int64_t j = 0; j < classes; j += 2) logits.mutable_data()[j] = 1;
    const double want = std::log(classes / 2 * (1 + std::exp(1.0)));
    const int labels[] = {1};
    CHECK(cross_entropy(logits, labels).item() == relative(want, 1e-6));
    CHECK(-log_softmax(logits).at({0, 1}) == relative(want, 1e-6));
    CHECK(sum(softmax(full({1, classes}, 0.3))).item() == relative(1, 1e-6));
}

}  // namespace slim
