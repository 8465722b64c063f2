// Exercise 5: momentum.
//
// SGD takes the gradient for its step. With momentum it takes v, a sum of all gradients so far, in
// which older ones count less (mu = 0.9 or so):
//
//     v = g               in the first step
//     v = mu v + g        later
//     w = w - lr v
//
// Write the step. The check halves lr on the way, and wants the bits of the library's SGD. (Its
// values have few binary digits, so that nothing is rounded.)
//
// Check: make ex-05    Hint: make hint-05
#include "apps/exercises/check.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "optim/sgd.h"

using namespace slim;

// ---- your part ----------------------------------------------------------------------------------

struct Momentum {
    real lr, mu;
    std::vector<real> v;  // empty before the first step: resize it there

    // One step: changes w, given its gradient g of the same size.
    void step(std::vector<real>& w, const std::vector<real>& g) {
        TO_WRITE("update v, then w");
    }
};

// ---- the check ----------------------------------------------------------------------------------

static void check_momentum() {
    Tensor theirs = tensor({3, -2, 0.75f}).set_requires_grad();
    const Tensor steepness = tensor({1, 0.25f, 2});  // the gradient of sum of c w^2 / 2 is c w
    Momentum ours{0.125f, 0.5f, {}};
    std::vector<real> w = theirs.to_vector();
    Tensor plain = tensor(w), inside = tensor(w), inside_v = zeros({3}), start = tensor(w);
    SGD sgd({theirs}, {.lr = 0.125, .momentum = 0.5});
    for (int step = 1; step <= 4; step++) {
        if (step == 3) sgd.lr_factor = 0.5, ours.lr = 0.0625f;
        backward(theirs, (theirs * steepness).detach());
        sgd.step();
        sgd.zero_grad();
        ours.step(w, (tensor(w) * steepness).to_vector());
        plain = plain - ours.lr * (plain * steepness);
        inside_v = 0.5 * inside_v + ours.lr * (inside * steepness);
        inside = inside - inside_v;

        expect("w after step " + to_text(step) + ", element ", tensor(w), theirs,
               {{plain, "this is SGD without momentum: v must be kept between the steps"},
                {(start + plain) / 2, "v is a sum, not a mean: g has no factor 1 - mu"},
                {inside, "lr belongs to the step, not into v: it has changed since"}}, 0);
    }
}

int main() { return run_exercise(__FILE__, check_momentum); }
