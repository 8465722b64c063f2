// Lesson 7: LoRA, changing a big matrix with two small ones.
//
// You will learn: what LoRA adds to a frozen layer, why it starts without changing anything, why
//   one of its matrices must not start at zero, and that it can learn a change of low rank
//   completely.
//
// Run: make lesson-07    (make gdb-07 stops in slim::LoRALayer::forward)
//
// Expected output:
//
//   numbers in W: 48, in A and B: 28
//   for W [4096, 4096] and rank 8: 16777216 and 65536
//
//   fresh adapter gives the base's output, bit for bit: yes
//   first step: dA is zero: yes, dB is zero: no, W has a gradient: no
//   loss at first: 16.7, after 400 steps: 0.000
//   W is what it was, bit for bit: yes
//
//   row 0 of the change wanted:  -1.92 -2.47 -2.57  0.39 ...
//   row 0 of s B A:              -1.92 -2.47 -2.57  0.39 ...
#include <cmath>
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/lora.h"
#include "optim/adam.h"

using namespace slim;

static bool all_zero(const Tensor& x) {
    for (real value : x.to_vector())
        if (value != 0) return false;
    return true;
}

static const char* yes(bool b) { return b ? "yes" : "no"; }

int main() {
    const int64_t kIn = 8, kOut = 6, kRank = 2, kExamples = 64;
    const double kAlpha = 4;  // scaling s = alpha / rank = 2: how strongly the adapter speaks
    const int kSteps = 400;

    // A layer that somebody has trained, y = x W^T + b, and that we must not change.
    Rng rng(1);
    auto base = std::make_shared<Linear>(kIn, kOut, rng);
    base->set_requires_grad(false);
    const std::vector<real> W_before = base->weight.to_vector();

    // A new task: the right weight would be W + change, and the change is simple: a column times a
    // row, a matrix of rank 1.
    const Tensor row = normal({1, kIn}, 0, 1, rng), column = normal({kOut, 1}, 0, 1, rng);
    const Tensor change = matmul(column, row);
    const Tensor x = normal({kExamples, kIn}, 0, 1, rng);
    const Tensor target = linear(x, base->weight + change, base->bias);

    // The adapter: y = x W^T + b + s (x A^T) B^T. A [2, 8] squeezes 8 numbers into 2, B [6, 2]
    // makes 6 of them again. It acts as if W were W + s B A, a matrix that is never formed.
    LinearWithLoRA model(base, {.rank = kRank, .alpha = kAlpha}, rng);
    const Tensor A = model.lora.A, B = model.lora.B;
    std::printf("numbers in W: %ld, in A and B: %ld\n", long(base->weight.size()),
                long(A.size() + B.size()));
    std::printf("for W [4096, 4096] and rank 8: %ld and %ld\n\n", 4096L * 4096, 2 * 8 * 4096L);

    // Written out, y is the base's output plus the branch's; LinearWithLoRA does it in one op.
    const Tensor written_out = base->forward(x) + model.lora(x);

    // B starts at zero, so B A is zero: training begins exactly where the base stands.
    const Tensor fresh = model(x);
    std::printf("fresh adapter gives the base's output, bit for bit: %s\n",
                yes(fresh.to_vector() == base->forward(x).to_vector()));

    // Were A zero as well, nothing would ever move: with h = x A^T and g the gradient at the
    // output,
    //     dB = s g^T h        zero if A is zero
    //     dA = s (g B)^T x    zero if B is zero
    // So A starts at random. At first only B has a gradient; after one step both do.
    backward(mse_loss(written_out, target));
    std::printf("first step: dA is zero: %s, dB is zero: %s, W has a gradient: %s\n",
                yes(all_zero(A.grad())), yes(all_zero(B.grad())), yes(base->weight.has_grad()));
    model.zero_grad();

    // Only A and B require a gradient, so only they are trained. The loop is that of lesson 5.
    Adam adam(model.parameters(), {.lr = 0.02});
    double first = 0, last = 0;
    for (int step = 0; step < kSteps; step++) {
        const Tensor loss = mse_loss(model(x), target);
        backward(loss);
        adam.step();
        adam.zero_grad();
        (step == 0 ? first : last) = loss.item();
    }
    std::printf("loss at first: %.1f, after %d steps: %.3f\n", first, kSteps, last);
    std::printf("W is what it was, bit for bit: %s\n\n",
                yes(base->weight.to_vector() == W_before));

    // The adapter has found the change, as s B A. A change of full rank it could only approximate.
    const Tensor found = model.lora.delta_weight();
    std::printf("row 0 of the change wanted: ");
    for (int64_t j = 0; j < 4; j++) std::printf(" %5.2f", double(change.at({0, j})));
    std::printf(" ...\nrow 0 of s B A:             ");
    for (int64_t j = 0; j < 4; j++) std::printf(" %5.2f", double(found.at({0, j})));
    std::printf(" ...\n");
}
