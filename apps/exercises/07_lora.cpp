// Exercise 7: LoRA, by yourself.
//
//     y = x W^T + b + s (x A^T) B^T       x [batch, in], W [out, in], A [rank, in], B [out, rank]
//
// Before you write: which of A and B gets a gradient in the first step? Which starts at zero, and
// why not both? Then write the layer. W and b are not to be trained.
// Then a change of W is fitted, 8 u1 v1 + 4 u2 v2 + 2 u3 v3 + 1 u4 v4, where each u is a column and
// each v a row. All have norm 1; the columns are at right angles to each other, and so are the
// rows. 8, 4, 2 and 1 are its "singular values". Predict what remains of it with rank 1, 2, 3, 4.
//
// Check: make ex-07    Hint: make hint-07
#include <cmath>

#include "apps/exercises/check.h"
#include "apps/exercises/train.h"
#include "core/ops.h"
#include "nn/linear.h"

using namespace slim;
// ---- your part ----------------------------------------------------------------------------------

struct MyLoRA {
    Tensor W, b, A, B;
    double s;
    // Makes A and B, which require gradients: uniform(shape, low, high, rng), zeros(shape).
    MyLoRA(const Tensor& W, const Tensor& b, int64_t rank, double s, Rng& rng) : W(W), b(b), s(s) {
        const int64_t out = W.size(0), in = W.size(1);
        TO_WRITE("make A [rank, in] and B [out, rank]");
    }

    Tensor forward(const Tensor& x) const { TO_WRITE("return y"); }
};

// ---- the check ----------------------------------------------------------------------------------

static void check_lora() {
    Rng rng(1);
    const Tensor W = normal({6, 8}, 0, 1, rng), b = normal({6}, 0, 1, rng);
    const Tensor x = normal({5, 8}, 0, 1, rng), base = linear(x, W, b);
    MyLoRA lora(W, b, 2, 3, rng);
    expect("A", 0 * lora.A, zeros({2, 8}));
    expect("B", 0 * lora.B, zeros({6, 2}));
    require(lora.A.requires_grad() && lora.B.requires_grad(), "A and B must require gradients");
    require(!W.requires_grad() && !b.requires_grad(), "W and b must not require gradients");
    expect("before training, y - base, element ", lora.forward(x) - base, zeros({5, 6}), {}, 0);
    backward(sum(lora.forward(x)));
    const Tensor dA = lora.A.grad(), dB = lora.B.grad();
    require(sum(dA * dA).item() + sum(dB * dB).item() > 0,
            "dB is zero, as A is, and dA is zero, as B is: nothing will ever move");
    copy_values(normal({2, 8}, 0, 1, rng), lora.A), copy_values(normal({6, 2}, 0, 1, rng), lora.B);
    const Tensor expected = 3 * matmul_nt(matmul_nt(x, lora.A), lora.B);
    expect("A and B random, y - base, element ", lora.forward(x) - base, expected,
           {{expected / 3, "the factor s is missing"}, {zeros({5, 6}), "the branch is missing"}});
    print_ranks([](const Tensor& W, const Tensor& b, int64_t rank, Rng& rng) {
        auto lora = std::make_shared<MyLoRA>(W, b, rank, 2, rng);
        return Trainable{{lora->A, lora->B}, [lora](const Tensor& x) { return lora->forward(x); }};
    });
}

int main() { return run_exercise(__FILE__, check_lora); }
