// The three products and linear: against naive loops and PyTorch, gradients, what is computed at
// all when an input is frozen.
#include "core/gemm.h"
#include "tests/reference/reference.h"
#include "nn/linear.h"
#include "tests/testing.h"

namespace slim {

using Binary = Tensor (*)(const Tensor&, const Tensor&);

// One row of the table: the op and which of its operands it reads transposed.
struct Case {
    const char* name;
    Binary op;
    bool a_transposed, b_transposed;

    Shape a_shape(int64_t m, int64_t k) const { return a_transposed ? Shape{k, m} : Shape{m, k}; }
    Shape b_shape(int64_t k, int64_t n) const { return b_transposed ? Shape{n, k} : Shape{k, n}; }
};

static const Case kCases[] = {{"matmul", matmul, false, false},
                              {"matmul_nt", matmul_nt, false, true},
                              {"matmul_tn", matmul_tn, true, false}};

struct Sizes {
    int64_t m, k, n;
};
static const Sizes kSizes[] = {{2, 3, 5}, {7, 5, 3}, {1, 1, 1}, {1, 7, 3}, {3, 7, 1},
                               {5, 1, 7}, {0, 3, 2}, {2, 0, 3}, {2, 3, 0}};

static Tensor naive_product(const Case& c, const Tensor& a, const Tensor& b, const Sizes& s) {
    Tensor y = zeros({s.m, s.n});
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) {
            double total = 0;
            for (int64_t l = 0; l < s.k; l++)
                total += double(c.a_transposed ? a.at({l, i}) : a.at({i, l})) *
                         double(c.b_transposed ? b.at({j, l}) : b.at({l, j}));
            y.mutable_data()[i * s.n + j] = real(total);
        }
    return y;
}

TEST_CASE("matmul, matmul_nt, matmul_tn: values, against three loops") {
    Rng rng(1);
    for (const Case& c : kCases)
        for (const Sizes& s : kSizes) {
            INFO(c.name << " " << s.m << " " << s.k << " " << s.n);
            const Tensor a = random_tensor(c.a_shape(s.m, s.k), rng);
            const Tensor b = random_tensor(c.b_shape(s.k, s.n), rng);
            check_close_sums(c.op(a, b), naive_product(c, a, b, s), s.k);
        }
}

TEST_CASE("matmul, matmul_nt, matmul_tn: values of a product large enough for blocked kernels") {
    Rng rng(2);
    const Sizes s{67, 251, 131};
    for (const Case& c : kCases) {
        const Tensor a = random_tensor(c.a_shape(s.m, s.k), rng);
        const Tensor b = random_tensor(c.b_shape(s.k, s.n), rng);
        check_close_sums(c.op(a, b), naive_product(c, a, b, s), s.k);
    }
}

TEST_CASE("matmul, matmul_nt, matmul_tn: gradients of both inputs") {
    Rng rng(3);
    for (const Case& c : kCases)
        for (const Sizes& s : kSizes) {
            INFO(c.name << " " << s.m << " " << s.k << " " << s.n);
            check_op([&](auto& x) { return c.op(x[0], x[1]); },
                     {random_tensor(c.a_shape(s.m, s.k), rng),
                      random_tensor(c.b_shape(s.k, s.n), rng)});
        }
}

TEST_CASE("matmul, matmul_nt, matmul_tn: gradients when both inputs are the same matrix") {
    Rng rng(4);
    for (const Case& c : kCases)
        check_gradients([&](auto& x) { return c.op(x[0], x[0]); }, {random_tensor({3, 3}, rng)});
    check_gradients([](auto& x) { return matmul_nt(x[0], x[0]); }, {random_tensor({2, 5}, rng)});
    check_gradients([](auto& x) { return matmul_tn(x[0], x[0]); }, {random_tensor({2, 5}, rng)});
}

TEST_CASE("matmul, matmul_nt, matmul_tn: inner sizes that differ") {
    CHECK_ERROR(matmul(zeros({2, 3}), zeros({2, 3})), "matmul", "(2, 3) and (2, 3)", "axis 1",
                "hint: matmul is");
    CHECK_ERROR(matmul_nt(zeros({2, 3}), zeros({3, 5})), "matmul_nt", "(2, 3)", "(3, 5)");
    CHECK_ERROR(matmul_tn(zeros({2, 3}), zeros({3, 5})), "matmul_tn", "(2, 3)", "(3, 5)", "axis 0");
}

TEST_CASE("matmul, matmul_nt, matmul_tn: operands that are not matrices") {
    for (const Case& c : kCases) {
        CHECK_ERROR(c.op(zeros({3}), zeros({3, 3})), c.name, "(3)", "(3, 3)", "reshape");
        CHECK_ERROR(c.op(zeros({3, 3}), zeros({3, 3, 3})), c.name, "(3, 3)", "(3, 3, 3)");
    }
}

// ---- linear -------------------------------------------------------------------------------------

static Tensor linear_of(const std::vector<Tensor>& x) {
    return linear(x[0], x[1], x.size() == 3 ? x[2] : Tensor());
}

TEST_CASE("linear: equals its composition from matmul_nt and add_row, gradients too") {
    Rng rng(5);
    Tensor x = random_tensor({7, 5}, rng), w = random_tensor({3, 5}, rng);
    Tensor b = random_tensor({3}, rng), dy = random_tensor({7, 3}, rng, false);
    Tensor fused = linear(x, w, b), composed = add_row(matmul_nt(x, w), b);
    check_close_sums(fused, composed, 5);
    backward(fused, dy);
    std::vector<Tensor> grads;
    for (Tensor t : {x, w, b}) {
        grads.push_back(t.grad());
        t.zero_grad();
    }
    backward(composed, dy);
    check_close_sums(x.grad(), grads[0], 3);
    check_close_sums(w.grad(), grads[1], 7);
    check_close_sums(b.grad(), grads[2], 7);
}

TEST_CASE("linear: gradients of input, weight and bias") {
    Rng rng(6);
    for (const Sizes& s : kSizes) {
        INFO("batch " << s.m << " in " << s.k << " out " << s.n);
        const std::vector<Tensor> inputs = {random_tensor({s.m, s.k}, rng),
                                            random_tensor({s.n, s.k}, rng),
                                            random_tensor({s.n}, rng)};
        check_op(linear_of, inputs);
        check_op(linear_of, {inputs[0], inputs[1]});
    }
}

TEST_CASE("linear: gradients when the weight is the input, and when it is used twice") {
    Rng rng(7);
    check_gradients([](auto& x) { return linear(x[0], x[0], x[1]); },
                    {random_tensor({3, 3}, rng), random_tensor({3}, rng)});
    check_gradients([](auto& x) { return linear(linear(x[0], x[1], x[2]), x[1], x[2]); },
                    {random_tensor({2, 3}, rng), random_tensor({3, 3}, rng),
                     random_tensor({3}, rng)});
}

TEST_CASE("linear: values and gradients are PyTorch's") {
    const Reference torch("ops.txt");
    Tensor x = torch["linear.x"].set_requires_grad(), w = torch["linear.W"].set_requires_grad();
    Tensor b = torch["linear.b"].set_requires_grad(), y = linear(x, w, b);
    check_close_sums(y, torch["linear.y"], 5);
    backward(y, torch["linear.dy"]);
    check_close_sums(x.grad(), torch["linear.dx"], 5);
    check_close_sums(w.grad(), torch["linear.dW"], 5);
    check_close_sums(b.grad(), torch["linear.db"], 5);
}

// 2 m n k operations each: forward always, dx and dW only where they are wanted.
TEST_CASE("linear, matmul: gradients that nobody wants are not computed") {
    for (int wanted = 1; wanted < 4; wanted++) {
        Tensor x = ones({2, 3}).set_requires_grad(wanted & 1);
        Tensor w = ones({5, 3}).set_requires_grad(wanted & 2);
        const GemmCount before = gemm_count();
        backward(sum(linear(x, w)));
        backward(sum(matmul_nt(x, w)));
        const int64_t products = wanted == 3 ? 3 : 2;
        CHECK(gemm_count().calls - before.calls == 2 * products);
        CHECK(gemm_count().flops - before.flops == 2 * products * 2 * 2 * 3 * 5);
    }
}

TEST_CASE("linear: inputs that do not fit") {
    const Tensor w = zeros({5, 3});
    CHECK_ERROR(linear(zeros({2, 4}), w), "linear", "(2, 4)", "(5, 3)", "(batch, in)");
    CHECK_ERROR(linear(zeros({3}), w), "linear", "(3)", "(5, 3)");
    CHECK_ERROR(linear(zeros({2, 3}), zeros({3})), "linear", "(2, 3)", "(3)");
    CHECK_ERROR(linear(zeros({2, 3}), w, zeros({3})), "linear", "bias", "(3)", "(5, 3)", "(5)");
    CHECK_ERROR(linear(zeros({2, 3}), w, zeros({1, 5})), "linear", "bias", "(1, 5)");
}

}  // namespace slim
