// Lesson 5: regression, then XOR, or what training is and why a network has layers.
//
// You will learn: the four lines of every training loop (predict, measure, backward, step), on the
//   smallest model there is: a line. Then a task that no line can do, and a network that can. How a
//   model is put together from modules and trained by an optimiser.
//
// Run: make lesson-05    (make gdb-05 stops in slim::relu)
// Do:  make ex-05
//
// Expected output:
//
//   step    loss   slope   intercept
//      0    4.71    0.00        0.00
//      1    4.04    0.19       -0.18
//     10    1.05    1.51       -1.15
//    100    0.01    2.98       -2.02
//    300    0.01    2.98       -2.02
//   least squares:  2.98       -2.02
//
//   a b  a^b   one layer   two layers   two layers without relu
//   0 0   0       0.5         0.0          0.5
//   0 1   1       0.5         1.0          0.5
//   1 0   1       0.5         1.0          0.5
//   1 1   0       0.5         0.0          0.5
//
//   Sequential(
//     (0): Linear(in_features=2, out_features=8, bias=True)
//     (1): ReLU()
//     (2): Linear(in_features=8, out_features=1, bias=True)
//     (3): Sigmoid()
//   )
#include <cstdio>

#include "core/autograd.h"
#include "core/random.h"
#include "nn/activation.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "optim/adam.h"

using namespace slim;

static void fit_a_line(Rng& rng) {
    const int64_t kPoints = 50;
    const real kLearningRate = 0.1;
    // Points [50, 1] near the line 3 x - 2, which the model has to find: prediction = x w^T + b.
    const Tensor x = uniform({kPoints, 1}, -1, 1.5, rng);
    const Tensor y = 3 * x - 2 + normal({kPoints, 1}, 0, 0.1, rng);
    Tensor w = zeros({1, 1}).set_requires_grad(), b = zeros({1}).set_requires_grad();

    std::printf("step    loss   slope   intercept\n");
    for (int step = 0; step <= 300; step++) {
        const Tensor prediction = linear(x, w, b);    // 1. predict
        const Tensor loss = mse_loss(prediction, y);  // 2. measure: the mean squared difference
        if (step <= 1 || step == 10 || step == 100 || step == 300)
            std::printf("%4d   %5.2f   %5.2f       %5.2f\n", step, double(loss.item()),
                        double(w.item()), double(b.item()));
        backward(loss);                       // 3. for each parameter, which way is uphill?
        for (Tensor* parameter : {&w, &b}) {  // 4. step the other way
            parameter->mutable_data()[0] -= kLearningRate * parameter->grad().item();
            parameter->zero_grad();  // gradients add up; the next step wants its own
        }
    }

    // For a line there is a formula: slope = covariance(x, y) / variance(x). For a network there is
    // none. The four lines are what remains.
    const Tensor dx = x - mean(x).item(), dy = y - mean(y).item();
    const double slope = mean(dx * dy).item() / mean(dx * dx).item();
    std::printf("least squares:  %.2f       %5.2f\n\n", slope,
                mean(y).item() - slope * mean(x).item());
}

// Trains on all four cases at once, and returns what the model says about them in the end.
// Step 4 above is SGD, w -= lr g: where the gradient is small, so is the step. Here Adam does it:
// w -= lr m / sqrt(v), with running means m of g and v of g^2. So each parameter moves by about lr
// per step, however large its gradients are.
static Tensor train(Module& model, const Tensor& x, const Tensor& y) {
    Adam adam(model.parameters(), {.lr = 0.05});
    for (int step = 0; step < 500; step++) {
        backward(mse_loss(model(x), y));
        adam.step();
        adam.zero_grad();
    }
    NoGrad no_grad;  // no backward follows: the ops leave no nodes
    return model(x);
}

int main() {
    Rng rng(1), line_rng(1);  // parameters start random: were they equal, they would stay equal
    fit_a_line(line_rng);

    // XOR. Each case is a corner of a square. One Linear with a sigmoid (which squeezes a number
    // into 0 .. 1) draws a straight line: 01 and 10 are never on one side, 00 and 11 on the other.
    // It can get three corners right, but the squared error then approaches 0.25, as the fourth is
    // quite wrong. Answering 0.5 four times costs 0.25 as well, and that is where training stops.
    //
    // Two layers bend the plane first. Each hidden value is relu(w x + b): zero on one side of its
    // line, rising on the other. Two of them suffice:  a^b = relu(a + b) - 2 relu(a + b - 1).
    const Tensor x = tensor({0, 0, 0, 1, 1, 0, 1, 1}, {4, 2});
    const Tensor y = tensor({0, 1, 1, 0}, {4, 1});
    Sequential one({std::make_shared<Linear>(2, 1, rng), std::make_shared<Sigmoid>()});
    Sequential two({std::make_shared<Linear>(2, 8, rng), std::make_shared<ReLU>(),
                    std::make_shared<Linear>(8, 1, rng), std::make_shared<Sigmoid>()});
    // Without the relu, two layers are one: W2 (W1 x + b1) + b2 is a line again.
    Sequential flat({std::make_shared<Linear>(2, 8, rng), std::make_shared<Linear>(8, 1, rng),
                     std::make_shared<Sigmoid>()});

    const Tensor with_two = train(two, x, y), with_one = train(one, x, y);
    const Tensor with_flat = train(flat, x, y);
    std::printf("a b  a^b   one layer   two layers   two layers without relu\n");
    for (int64_t i = 0; i < 4; i++)
        std::printf("%.0f %.0f   %.0f       %.1f         %.1f          %.1f\n",
                    double(x.at({i, 0})), double(x.at({i, 1})), double(y.at({i, 0})),
                    double(with_one.at({i, 0})), double(with_two.at({i, 0})),
                    double(with_flat.at({i, 0})));

    std::printf("\n%s\n", to_string(two).c_str());
}
