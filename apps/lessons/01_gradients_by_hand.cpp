// Lesson 1: what a gradient is, by hand.
//
// You will learn: a gradient says how much the result changes when an input changes a little. There
//   are two ways to find it: nudge the input and look, or go backwards through the formula with the
//   chain rule. backward() is the second way. Learning is walking against the gradient.
//
// Run: make lesson-01    (make gdb-01 stops in slim::backward)
// Do:  make ex-01
//
// Expected output:
//
//   y = (a b + c)^2 = 4.00    at a = 2, b = 3, c = -4
//
//               dy/da   dy/db   dy/dc
//   nudged      12.01    8.00    4.00
//   by hand     12.00    8.00    4.00
//   backward()  12.00    8.00    4.00
//
//   ten steps against the gradient:
//   y: 4.00 2.10 1.16 0.66 0.38 0.22 0.13 0.08 0.05 0.03 0.02
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"

using namespace slim;

// The formula as plain C++, without any library.
static double f(double a, double b, double c) { return (a * b + c) * (a * b + c); }

int main() {
    const double kA = 2, kB = 3, kC = -4;
    const double kNudge = 0.001;
    const double kStep = 0.01;  // how far to walk against the gradient; the "learning rate"

    std::printf("y = (a b + c)^2 = %.2f    at a = 2, b = 3, c = -4\n\n", f(kA, kB, kC));
    std::printf("            dy/da   dy/db   dy/dc\n");

    // 1. Nudge. Change one input by a little, hold the others: how much does y change per unit?
    //    It needs one run of the formula for each input, and it is only nearly right, because the
    //    curve bends a little over the distance of the nudge.
    const double y = f(kA, kB, kC);
    std::printf("nudged     %6.2f  %6.2f  %6.2f\n", (f(kA + kNudge, kB, kC) - y) / kNudge,
                (f(kA, kB + kNudge, kC) - y) / kNudge, (f(kA, kB, kC + kNudge) - y) / kNudge);

    // 2. By hand. Take the formula apart into single steps,
    //
    //        p = a b        u = p + c        y = u^2
    //
    //    and go through them backwards. Each step multiplies "what y gains per unit of my result"
    //    by "what my result gains per unit of my input". That is the chain rule.
    const double u = kA * kB + kC;
    const double dy_du = 2 * u;      // y = u^2:  per unit of u, y gains 2 u, for small changes
    const double dy_dp = dy_du * 1;  // u = p + c: a sum passes on what it gets ...
    const double dy_dc = dy_du * 1;  //           ... to both of its terms
    const double dy_da = dy_dp * kB;  // p = a b:  a changes by 1, p changes by b
    const double dy_db = dy_dp * kA;  //           b changes by 1, p changes by a
    std::printf("by hand    %6.2f  %6.2f  %6.2f\n", dy_da, dy_db, dy_dc);

    // 3. The library. Each op stores its inputs in a "node". backward() visits the nodes, the last
    //    one first, and does what we have just done. One pass gives the gradients of all inputs, of
    //    three or of three million.
    Tensor a = scalar(kA).set_requires_grad();
    Tensor b = scalar(kB).set_requires_grad();
    Tensor c = scalar(kC).set_requires_grad();
    Tensor sum = a * b + c;
    backward(sum * sum);
    std::printf("backward() %6.2f  %6.2f  %6.2f\n\n", a.grad().item(), b.grad().item(),
                c.grad().item());

    // 4. What it is good for. The gradient points uphill, so a small step the other way makes y
    //    smaller. Repeat, and you have trained three parameters to make y near zero.
    std::printf("ten steps against the gradient:\ny: %.2f", y);
    for (int step = 0; step < 10; step++) {
        for (Tensor* x : {&a, &b, &c}) {
            x->mutable_data()[0] -= real(kStep) * x->grad().item();  // x = x - step dy/dx
            x->zero_grad();  // or the next gradient is added to this one: see lesson 5
        }
        sum = a * b + c;
        const Tensor result = sum * sum;
        std::printf(" %.2f", result.item());
        backward(result);
    }
    std::printf("\n");
}
