// Lesson 7: LoRA, changing a big matrix with two small ones.
//
// You will learn: LoRA from plain ops: what it adds to a frozen layer, why it starts without
//   changing anything, why only one of its matrices may start at zero, and that it can learn a
//   change of low rank completely. Then the library's layer, which is the same function in one op.
//
// Run: make lesson-07    (make gdb-07 stops in slim::LinearWithLoRA::forward)
// Do:  make ex-07
//
// Expected output:
//
//   values in W: 48, in A and B: 28
//   for W [4096, 4096] and rank 8: 16777216 and 65536
//
//   before training, the largest change of the output: 0
//   step 1: largest |dA| 0.00, largest |dB| 0.76, W: no gradient
//   step 2: largest |dA| 0.16, largest |dB| 0.75, W: no gradient
//   loss at first 16.7, after 400 steps 0.000
//   largest change of W: 0
//
//   row 0 of the change wanted:  -1.92 -2.47 -2.57  0.39 ...
//   row 0 of s B A:              -1.92 -2.47 -2.57  0.39 ...
//
//   LinearWithLoRA's largest difference: output 0.0000, dA 0.0000, dB 0.0000
#include <cmath>
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/adapters/lora.h"
#include "optim/adam.h"

using namespace slim;

static double largest(const Tensor& x) {
    double most = 0;
    for (real value : x.to_vector()) most = std::fmax(most, std::fabs(double(value)));
    return most;
}

// The layer, from plain ops. It acts as if W were W + s B A, a matrix that is never formed:
//
//     y = x W^T + b + s (x A^T) B^T       x [batch, in], W [out, in], A [rank, in], B [out, rank]
static Tensor lora(const Tensor& x, const Linear& base, const Tensor& A, const Tensor& B,
                   double s) {
    const Tensor h = matmul_nt(x, A);       // [batch, rank]: squeezes 8 values into 2
    const Tensor change = matmul_nt(h, B);  // [batch, out]: makes 6 of them again
    return linear(x, base.weight, base.bias) + s * change;
}

int main() {
    const int64_t kIn = 8, kOut = 6, kRank = 2, kExamples = 64;
    // The scaling s = alpha / rank. B A is a sum of `rank` products. Dividing by the rank is meant
    // to keep its size when the rank changes. (rsLoRA divides by sqrt(rank): a sum of `rank`
    // independent products grows like sqrt(rank).)
    const double kAlpha = 4, s = kAlpha / kRank;

    // A layer that was trained before, y = x W^T + b, and that must not change.
    Rng rng(1);
    auto base = std::make_shared<Linear>(kIn, kOut, rng);
    base->set_requires_grad(false);
    const Tensor W_before = clone(base->weight);

    // A new task: the right weight would be W + change, and the change is simple: a column times a
    // row, a matrix of rank 1.
    const Tensor row = normal({1, kIn}, 0, 1, rng), column = normal({kOut, 1}, 0, 1, rng);
    const Tensor change = matmul(column, row);
    const Tensor x = normal({kExamples, kIn}, 0, 1, rng);
    const Tensor target = linear(x, base->weight + change, base->bias);

    // The library's layer makes A and B, and we use them: A random, B zero.
    LinearWithLoRA layer(base, {.rank = kRank, .alpha = kAlpha}, rng);
    const Tensor A = layer.lora.A, B = layer.lora.B;
    std::printf("values in W: %ld, in A and B: %ld\n", long(base->weight.size()),
                long(A.size() + B.size()));
    std::printf("for W [4096, 4096] and rank 8: %ld and %ld\n\n", 4096L * 4096, 2 * 8 * 4096L);

    // B starts at zero, so B A is zero: training begins exactly where the base stands.
    std::printf("before training, the largest change of the output: %g\n",
                largest(lora(x, *base, A, B, s) - base->forward(x)));

    // Were A zero as well, nothing would ever move. With g the gradient at the output,
    //     dB = s g^T h        zero if A is zero, as h = x A^T
    //     dA = s (g B)^T x    zero if B is zero
    // So only B has a gradient in step 1, and both have one from step 2 on. W never has.
    Adam adam({A, B}, {.lr = 0.02});
    double first = 0, last = 0;
    for (int step = 1; step <= 400; step++) {
        const Tensor loss = mse_loss(lora(x, *base, A, B, s), target);
        backward(loss);
        if (step <= 2)
            std::printf("step %d: largest |dA| %.2f, largest |dB| %.2f, W: %s\n", step,
                        largest(A.grad()), largest(B.grad()),
                        base->weight.has_grad() ? "a gradient" : "no gradient");
        adam.step();
        adam.zero_grad();
        (step == 1 ? first : last) = loss.item();
    }
    std::printf("loss at first %.1f, after 400 steps %.3f\n", first, last);
    std::printf("largest change of W: %g\n\n", largest(base->weight - W_before));

    // The adapter has found the change, as s B A. It could only approximate a change of rank
    // above 2: see the exercise.
    const Tensor found = s * matmul(B, A);
    for (const Tensor* W : {&change, &found}) {
        std::printf(W == &change ? "row 0 of the change wanted: " : "row 0 of s B A:             ");
        for (int64_t j = 0; j < 4; j++) std::printf(" %5.2f", double(W->at({0, j})));
        std::printf(" ...\n");
    }

    // The layer of the library: the same function, computed in one op. (Its target is
    // doubled: at the old one all gradients are near 0 by now, and would agree in any case.)
    backward(mse_loss(lora(x, *base, A, B, s), 2 * target));
    const Tensor y = lora(x, *base, A, B, s), dA = clone(A.grad()), dB = clone(B.grad());
    adam.zero_grad();
    backward(mse_loss(layer(x), 2 * target));
    std::printf("\nLinearWithLoRA's largest difference: output %.4f, dA %.4f, dB %.4f\n",
                largest(layer(x) - y), largest(A.grad() - dA), largest(B.grad() - dB));
}
