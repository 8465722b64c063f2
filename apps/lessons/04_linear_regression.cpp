// Lesson 4: linear regression, or what training is.
//
// You will learn: the four lines that every training loop consists of (predict, measure, backward,
//   step), here on the smallest model there is: a line. And that it finds what the formula from
//   statistics says, without knowing it.
//
// Run: make lesson-04    (make gdb-04 stops in slim::mse_loss)
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
//   the data were made with 3 and -2, and noise
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/linear.h"

using namespace slim;

int main() {
    const double kSlope = 3, kIntercept = -2, kNoise = 0.1;  // what the model has to find
    const int64_t kPoints = 50;
    const real kLearningRate = 0.1;
    const int kSteps = 300;

    // The data: points [50, 1] near a line.
    Rng rng(1);
    const Tensor x = uniform({kPoints, 1}, -1, 1.5, rng);
    const Tensor noise = normal({kPoints, 1}, 0, kNoise, rng);
    const Tensor y = add_scalar(kSlope * x, kIntercept) + noise;

    // The model: prediction = x w^T + b. Two numbers, to be learned, zero at first.
    Tensor w = zeros({1, 1}).set_requires_grad();
    Tensor b = zeros({1}).set_requires_grad();

    std::printf("step    loss   slope   intercept\n");
    for (int step = 0; step <= kSteps; step++) {
        const Tensor prediction = linear(x, w, b);    // 1. predict
        const Tensor loss = mse_loss(prediction, y);  // 2. measure: the mean squared difference
        if (step <= 1 || step == 10 || step == 100 || step == kSteps)
            std::printf("%4d   %5.2f   %5.2f       %5.2f\n", step, double(loss.item()),
                        double(w.item()), double(b.item()));
        backward(loss);  // 3. ask, for each parameter, which way is uphill
        for (Tensor* parameter : {&w, &b}) {  // 4. step the other way
            const Tensor gradient = parameter->grad();
            parameter->mutable_data()[0] -= kLearningRate * gradient.item();
            parameter->zero_grad();  // gradients add up; the next step wants its own
        }
    }
    // Step 4 is all that the optimiser SGD does (optim/sgd.cpp); Adam does something cleverer with
    // the same gradients.

    // For a line there is a formula: slope = covariance(x, y) / variance(x). For a network there is
    // none, and these four lines are what remains.
    double mean_x = 0, mean_y = 0, covariance = 0, variance = 0;
    for (int64_t i = 0; i < kPoints; i++) {
        mean_x += x.at({i, 0}) / double(kPoints);
        mean_y += y.at({i, 0}) / double(kPoints);
    }
    for (int64_t i = 0; i < kPoints; i++) {
        const double dx = x.at({i, 0}) - mean_x;
        covariance += dx * (y.at({i, 0}) - mean_y);
        variance += dx * dx;
    }
    const double slope = covariance / variance;
    std::printf("least squares:  %.2f       %5.2f\n", slope, mean_y - slope * mean_x);
    std::printf("the data were made with %g and %g, and noise\n", kSlope, kIntercept);
}
