// Lesson 3: how to know that a gradient is right.
//
// You will learn: finite differences find a wrong backward, but only if the loss asks the right
//   question. With a plain sum as the loss, the most common mistake of all, a backward that forgets
//   to multiply by the gradient that comes in, goes unnoticed.
//
// Run: make lesson-03    (make gdb-03 stops in slim::gradcheck)
//
// Expected output:
//
//   loss = sum(y), y = x^2, broken backward:
//     x       backward   differences
//      1.0        2.0        2.0
//     -2.0       -4.0       -4.0
//      3.0        6.0        6.0
//   all the same: the mistake is not seen
//
//   loss = sum(y * v), v = 0.5, -1, 2:
//     x       backward   differences
//      1.0        2.0        1.0
//     -2.0       -4.0        4.0
//      3.0        6.0       12.0
//   now it is
//
//   gradcheck(broken): gradcheck of broken_square: a zero upstream gradient gave 2 instead of 0
//   gradcheck(mul(x, x)): no complaint
#include <cmath>
#include <cstdio>

#include "core/autograd.h"
#include "core/gradcheck.h"
#include "core/ops.h"

using namespace slim;

// y = x^2. If y changes by dy for the loss, x does by 2 x dy. Somebody forgot the dy.
struct BrokenSquareNode : Node {
    explicit BrokenSquareNode(const Tensor& x) : Node("broken_square", {x}) {}
    void backward(const Tensor& y) override {
        const real* x = saved(0);
        real* dx = inputs[0].mutable_grad();
        for (int64_t i = 0; i < y.size(); i++) dx[i] += 2 * x[i];  // right: 2 * x[i] * dy[i]
    }
};

static Tensor broken_square(const Tensor& x) {
    Tensor y(x.shape());
    real* out = y.mutable_data();
    for (int64_t i = 0; i < x.size(); i++) out[i] = x.data()[i] * x.data()[i];
    return record(y, std::make_shared<BrokenSquareNode>(x));
}

// The loss as a function of x: the sum of y_i v_i. With v = 1 it is the plain sum of y.
static Tensor loss_of(const Tensor& x, const Tensor& v) { return sum(broken_square(x) * v); }

// Compares, element by element, what backward says with what happens when that element is nudged
// down and up: (L(x + h) - L(x - h)) / 2h. Returns true if they agree.
static bool compare(Tensor x, const Tensor& v) {
    const real kNudge = 0.01;
    x.zero_grad();
    backward(loss_of(x, v));
    bool agree = true;
    std::printf("  x       backward   differences\n");
    for (int64_t i = 0; i < x.size(); i++) {
        const real value = x.data()[i];
        x.mutable_data()[i] = value + kNudge;
        const double above = loss_of(x, v).item();
        x.mutable_data()[i] = value - kNudge;
        const double below = loss_of(x, v).item();
        x.mutable_data()[i] = value;

        const double numeric = (above - below) / (2 * kNudge), analytic = x.grad().at({i});
        std::printf("  %4.1f     %6.1f     %6.1f\n", double(value), analytic, numeric);
        agree = agree && std::fabs(numeric - analytic) < 0.05;
    }
    return agree;
}

int main() {
    Tensor x = tensor({1, -2, 3}).set_requires_grad();

    // The derivative of a plain sum with respect to each y_i is 1. So dy is 1 everywhere, and a
    // backward that multiplies by dy does the same as one that does not.
    std::printf("loss = sum(y), y = x^2, broken backward:\n");
    const bool fooled = compare(x, ones({3}));
    std::printf("%s\n\n", fooled ? "all the same: the mistake is not seen" : "seen");

    // Weights that differ make dy = v: now the missing factor shows.
    std::printf("loss = sum(y * v), v = 0.5, -1, 2:\n");
    const bool passed = compare(x, tensor({0.5, -1, 2}));
    std::printf("%s\n\n", passed ? "not seen" : "now it is");

    // The library's check draws random weights. It also tries dy = 0, which must give exactly 0
    // (our broken op fails here already), and two passes, which must add up: that finds a backward
    // that says = where it should say +=.
    const auto run = [&](const char* name, const TensorFunction& f) {
        try {
            gradcheck(f, {x});
            std::printf("gradcheck(%s): no complaint\n", name);
        } catch (const Error& e) {
            std::printf("gradcheck(%s): %s\n", name, e.what());
        }
    };
    run("broken", [](const std::vector<Tensor>& in) { return broken_square(in[0]); });
    run("mul(x, x)", [](const std::vector<Tensor>& in) { return in[0] * in[0]; });
}
