// Lesson 3: the gradient check, and an op of your own.
//
// You will learn: the four parts of an op (formula, node, forward, check), by adding gelu. How
//   finite differences find a wrong backward, and why a plain sum must not be the loss there.
//
// Run: make lesson-03    (make gdb-03 stops in GeluNode::backward)
// Do:  make ex-03
//
// Expected output:
//
//   x        -3.000 -1.000  0.500  1.000  3.000
//   gelu(x)  -0.004 -0.159  0.346  0.841  2.996
//   relu(x)   0.000  0.000  0.500  1.000  3.000
//
//   y = x^2 with a backward that forgets dy
//           loss = sum(y)           loss = sum(y v)
//       x   backward  differences   backward  differences
//     1.0        2.0          2.0        2.0          1.0
//    -2.0       -4.0         -4.0       -4.0          4.0
//     3.0        6.0          6.0        6.0         12.0
//
//   gelu: passed
//   gradcheck of broken_square: a zero upstream gradient gave 2 instead of 0
#include <cmath>
#include <cstdio>

#include "core/autograd.h"
#include "core/gradcheck.h"
#include "core/ops.h"

using namespace slim;

// 1. The formula, and its derivative, on paper first.
//
//     y = x P(x)                    P(x) = (1 + erf(x / sqrt 2)) / 2, the share of the bell curve
//                                   that lies below x: near 0 far left, 1/2 at 0, near 1 far right
//     dx = dy (P(x) + x p(x))       p(x) = P'(x) = e^(-x^2 / 2) / sqrt(2 pi), the bell curve
static double share_below(double x) { return 0.5 * (1 + std::erf(x / std::sqrt(2.0))); }
static double bell(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }

// 2. The node: what backward needs later. The base class keeps the inputs. saved(0) are the values
//    of input 0 in the forward pass; if they were changed since, it throws.
struct GeluNode : Node {
    explicit GeluNode(const Tensor& x) : Node("gelu", {x}) {}
    void backward(const Tensor& y) override {
        const real* x = saved(0);
        const real* dy = y.grad_data();  // "dy" is dL/dy, and "dx" dL/dx
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < y.size(); i++)  // +=, as x may be used elsewhere too
            dx[i] += real(dy[i] * (share_below(x[i]) + x[i] * bell(x[i])));
    }
};

// 3. The forward: compute, then record(), which attaches the node if x requires a gradient.
static Tensor gelu(const Tensor& x) {
    Tensor y(x.shape());
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < y.size(); i++) out[i] = real(in[i] * share_below(in[i]));
    return record(y, std::make_shared<GeluNode>(x));
}

// A mistake, to see the check fail: the factor dy is missing. (detach() drops x * x's own node.)
struct BrokenSquareNode : Node {
    explicit BrokenSquareNode(const Tensor& x) : Node("broken_square", {x}) {}
    void backward(const Tensor& y) override {
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < y.size(); i++) dx[i] += 2 * saved(0)[i];  // right: * dy[i]
    }
};

static Tensor broken_square(const Tensor& x) {
    return record((x * x).detach(), std::make_shared<BrokenSquareNode>(x));
}

int main() {
    const auto print_row = [](const char* name, const Tensor& row) {
        std::printf("%s", name);
        for (real value : row.to_vector()) std::printf(" %6.3f", double(value));
        std::printf("\n");
    };
    const Tensor values = tensor({-3, -1, 0.5, 1, 3});
    print_row("x       ", values);
    print_row("gelu(x) ", gelu(values));
    print_row("relu(x) ", relu(values));

    // 4. The check: (L(x + h) - L(x - h)) / 2h, for one element at a time. With L = sum(y), dy is 1
    //    everywhere, and a missing factor of 1 is not seen. Weights v that differ make dy = v.
    std::printf("\ny = x^2 with a backward that forgets dy\n        loss = sum(y)           "
                "loss = sum(y v)\n    x   backward  differences   backward  differences\n");
    Tensor x = tensor({1, -2, 3}).set_requires_grad();
    for (int64_t i = 0; i < x.size(); i++) {
        std::printf("%5.1f", double(x.at({i})));
        for (const Tensor& v : {ones({3}), tensor({0.5, -1, 2})}) {
            const auto loss_at = [&](double h) {
                Tensor moved = clone(x.detach());
                moved.mutable_data()[i] += real(h);
                return double(sum(broken_square(moved) * v).item());
            };
            x.zero_grad();
            backward(sum(broken_square(x) * v));
            std::printf("%11.1f %12.1f", double(x.grad().at({i})),
                        (loss_at(0.01) - loss_at(-0.01)) / 0.02);
        }
        std::printf("\n");
    }

    // gradcheck() draws random weights v. It also tries dy = 0 and two passes, which must add up.
    const auto run = [&](const char* name, Tensor (*op)(const Tensor&)) {
        try {
            gradcheck([&](const std::vector<Tensor>& in) { return op(in[0]); }, {x});
            std::printf("%s: passed\n", name);
        } catch (const Error& e) {
            std::printf("%s\n", e.what());
        }
    };
    std::printf("\n");
    run("gelu", gelu);
    run("broken_square", broken_square);
}
