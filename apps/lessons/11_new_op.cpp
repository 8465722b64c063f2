// Lesson 11: an op of your own.
//
// You will learn: the four parts of an op (formula, node, forward, check), by adding one that the
//   library does not have: gelu, the activation of most language models.
//
// Run: make lesson-11    (make gdb-11 stops in GeluNode::backward)
//
// Expected output:
//
//   x        -3.000 -1.000  0.500  1.000  3.000
//   gelu(x)  -0.004 -0.159  0.346  0.841  2.996
//   relu(x)   0.000  0.000  0.500  1.000  3.000
//
//   gradient check of gelu: passed
//   without the term x p(x):  caught
//
//   Sequential(
//     (0): Linear(in_features=2, out_features=3, bias=True)
//     (1): GELU()
//     (2): Linear(in_features=3, out_features=1, bias=True)
//   )
//   0.weight: has a gradient
//   0.bias: has a gradient
//   2.weight: has a gradient
//   2.bias: has a gradient
#include <cmath>
#include <cstdio>

#include "core/autograd.h"
#include "core/gradcheck.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/linear.h"
#include "nn/sequential.h"

using namespace slim;

// 1. The formula, and its derivative, on paper first.
//
// ---- gelu ---------------------------------------------------------------------------------------
// y = x P(x)                        P(x) = (1 + erf(x / sqrt 2)) / 2, the share of the bell curve
//                                   that lies below x: near 0 far left, 1/2 at 0, near 1 far right
// dx = dy (P(x) + x p(x))           p(x) = P'(x) = e^(-x^2 / 2) / sqrt(2 pi), the bell curve itself
static double share_below(double x) { return 0.5 * (1 + std::erf(x / std::sqrt(2.0))); }
static double bell(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }

// 2. The node: what is left behind for the backward pass. The base class keeps the inputs and asks
//    that backward() *adds* to their gradients. saved(0) are the numbers of input 0 as they were in
//    the forward pass; if somebody has changed them since, it throws instead of being wrong.
struct GeluNode : Node {
    explicit GeluNode(const Tensor& x) : Node("gelu", {x}) {}
    void backward(const Tensor& y) override {
        const real* x = saved(0);
        const real* dy = y.grad_data();
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < y.size(); i++)
            dx[i] += real(dy[i] * (share_below(x[i]) + x[i] * bell(x[i])));
    }
};

// 3. The forward: compute, then record(), which attaches the node if anybody wants a gradient.
static Tensor gelu(const Tensor& x) {
    Tensor y(x.shape());
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = real(in[i] * share_below(in[i]));
    return record(y, std::make_shared<GeluNode>(x));
}

// As a layer, for Sequential: one line more.
struct GELU : Module {
    std::string name() const override { return "GELU"; }
    Tensor forward(const Tensor& x) override { return gelu(x); }
};

int main() {
    // Known values first: a large negative number gives nearly 0, a large positive one nearly
    // itself, as with relu; in between it is smooth, and dips below zero.
    const Tensor x = tensor({-3, -1, 0.5, 1, 3});
    const auto print_row = [](const char* name, const Tensor& row) {
        std::printf("%s", name);
        for (real value : row.to_vector()) std::printf(" %6.3f", double(value));
        std::printf("\n");
    };
    print_row("x       ", x);
    print_row("gelu(x) ", gelu(x));
    print_row("relu(x) ", relu(x));

    // 4. The gradient check. Shapes of different primes, so that mixed-up axes would show.
    Rng rng(1);
    Tensor input = normal({3, 5}, 0, 1, rng).set_requires_grad();
    gradcheck([](const std::vector<Tensor>& in) { return gelu(in[0]); }, {input});
    std::printf("\ngradient check of gelu: passed\n");

    // A mistake to see it fail: the same forward with the p(x) term forgotten in backward.
    struct ForgetfulNode : Node {
        explicit ForgetfulNode(const Tensor& x) : Node("forgetful", {x}) {}
        void backward(const Tensor& y) override {
            real* dx = inputs[0].mutable_grad();
            for (int64_t i = 0; i < y.size(); i++)
                dx[i] += real(y.grad_data()[i] * share_below(saved(0)[i]));
        }
    };
    try {
        gradcheck([](const std::vector<Tensor>& in) {
            return record(gelu(in[0]).detach(), std::make_shared<ForgetfulNode>(in[0]));
        }, {input});
    } catch (const Error&) {
        std::printf("without the term x p(x):  caught\n\n");
    }

    // It works with everything else at once: in a model, under backward(), in print.
    Sequential model({std::make_shared<Linear>(2, 3, rng), std::make_shared<GELU>(),
                      std::make_shared<Linear>(3, 1, rng)});
    backward(sum(model(tensor({1, 2, 3, 4}, {2, 2}))));
    std::printf("%s\n", to_string(model).c_str());
    for (const NamedParameter& p : model.named_parameters())
        std::printf("%s: %s\n", p.name.c_str(), p.tensor.has_grad() ? "has a gradient" : "none");
}
