// A program of your own on the installed library: trains a perceptron on XOR, then adapts it to the
// opposite question (are both inputs the same?) with DoRA, whose base stays as it is.
#include <iostream>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/version.h"
#include "nn/adapters/adapt.h"
#include "nn/sequential.h"
#include "optim/adam.h"

using namespace slim;

static double fit(Module& model, const Tensor& x, const std::vector<int>& labels, int steps) {
    Adam adam(model.parameters(), {.lr = 0.05});
    double loss = 0;
    for (int step = 0; step < steps; step++) {
        const Tensor l = cross_entropy(model(x), labels);
        loss = double(l.item());
        adam.zero_grad();
        backward(l);
        adam.step();
    }
    return loss;
}

int main() {
    Rng rng(1);
    MLP model({2, 16, 2}, rng);
    const Tensor x = tensor({0, 0, 0, 1, 1, 0, 1, 1}, {4, 2});
    std::cout << "slimgrad " << kVersion << ", " << 8 * sizeof(real) << " bits\n";
    std::cout << "XOR: loss " << fit(model, x, {0, 1, 1, 0}, 200) << "\n";

    AdapterSet adapters = attach(model, {.method = Method::kDoRA, .rank = 2, .alpha = 4}, rng);
    std::cout << "adapted to its opposite: loss " << fit(model, x, {1, 0, 0, 1}, 200) << "\n";
    adapters.disable();
    const std::vector<int> again = argmax_rows(model(x));
    std::cout << "adapter off, XOR again: " << again[0] << again[1] << again[2] << again[3] << "\n";
}
