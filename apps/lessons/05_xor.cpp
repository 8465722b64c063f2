// Lesson 5: XOR, or why a network has layers.
//
// You will learn: a single Linear layer cannot compute "one or the other, but not both", however
//   long it trains; two layers with a relu between them can. How a model is put together from
//   modules and trained by an optimiser.
//
// Run: make lesson-05    (make gdb-05 stops in slim::relu)
//
// Expected output:
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

// Trains on all four cases at once, and returns what the model says about them in the end.
static Tensor train(Module& model, const Tensor& x, const Tensor& y) {
    const int kSteps = 500;
    Adam adam(model.parameters(), {.lr = 0.05});
    for (int step = 0; step < kSteps; step++) {
        backward(mse_loss(model(x), y));
        adam.step();
        adam.zero_grad();
    }
    NoGrad no_grad;
    return model(x);
}

int main() {
    const int64_t kHidden = 8;
    Rng rng(1);  // parameters start random: were they equal, they would stay equal

    const Tensor x = tensor({0, 0, 0, 1, 1, 0, 1, 1}, {4, 2});
    const Tensor y = tensor({0, 1, 1, 0}, {4, 1});

    // Each case is a corner of a square. A Linear draws one straight line through it, and the
    // sigmoid (which squeezes any number into 0 .. 1) says on which side of the line, and how far
    // off, a corner lies. No line has 01 and 10 on one side and 00 and 11 on the other. The best
    // that one layer can do is not to commit itself: 0.5.
    //
    // Two layers bend the plane first. Each of the hidden numbers is relu(w x + b): zero on one
    // side of a line of its own, rising on the other. A mix of such folds can be high in two
    // opposite corners, e.g.  a^b = relu(a + b) - 2 relu(a + b - 1).
    Sequential one({std::make_shared<Linear>(2, 1, rng), std::make_shared<Sigmoid>()});
    Sequential two({std::make_shared<Linear>(2, kHidden, rng), std::make_shared<ReLU>(),
                    std::make_shared<Linear>(kHidden, 1, rng), std::make_shared<Sigmoid>()});
    // Without the relu, the second layer of a first layer is again a straight line: depth alone
    // gains nothing.
    Sequential flat({std::make_shared<Linear>(2, kHidden, rng),
                     std::make_shared<Linear>(kHidden, 1, rng), std::make_shared<Sigmoid>()});

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
