// Exercise 8: DoRA's magnitude, and three impostors.
//
//     V = W + s B A      n_j = |row j of V|      W'_j = m_j V_j / n_j      y = x W'^T
//
// 1. At the start B = 0 and m = n. Derive dL/dm_j there, from g = dL/dy, and write it with ops.
// 2. Write a test that tells a DoRA from a layer that is only called so.
//
// Check: make ex-08    Hint: make hint-08
#include <cmath>

#include "apps/exercises/check.h"
#include "apps/exercises/impostors.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"

using namespace slim;
using impostors::Layer;

// ---- your part ----------------------------------------------------------------------------------

// x [batch, in], W [out, in], g [batch, out] -> dL/dm [out].
static Tensor dm_at_start(const Tensor& x, const Tensor& W, const Tensor& g) {
    TO_WRITE("return dL/dm at B = 0");
}

// Whether the layer is a DoRA, with s = 1. B is not zero. You may call the layer and backward().
static bool is_dora(const Layer& layer, const Tensor& x, const Tensor& W, const Tensor& A,
                    const Tensor& B, const Tensor& m) {
    TO_WRITE("return whether this is a DoRA");
}

// ---- the check ----------------------------------------------------------------------------------

static void check_dora() {
    Rng rng(1);
    const Tensor x = normal({3, 4}, 0, 1, rng), W = normal({4, 4}, 0, 1, rng);
    const Tensor A = normal({2, 4}, 0, 1, rng), g = normal({3, 4}, 0, 1, rng);
    Tensor B = zeros({4, 2}).set_requires_grad(), m = norm(W, 1).set_requires_grad();
    backward(impostors::true_dora(W, A, B, m)(x), g);
    const Tensor gy = sum(g * matmul_nt(x, W), 0);
    expect("dm, element ", dm_at_start(x, W, g), m.grad(),
           {{gy, "y_j = m_j (x V_j / n_j): divide by n_j"},
            {gy / norm(W, 0), "these are norms of columns; m belongs to rows here"}});
    copy_values(normal({4, 2}, 0, 1, rng), B);
    const auto ask = [&](const char* name, const Layer& layer, bool expected, const char* words) {
        m.zero_grad();
        const bool got = is_dora(layer, x, W, A, B, m);
        require(got == expected, std::string("is_dora(") + name + "): " + words);
    };
    ask("a true DoRA", impostors::true_dora(W, A, B, m), true, "expected true, got false");
    ask("LoRA", impostors::drops_m(W, A, B, m), false,
        "expected false, got true. Does m reach the output?");
    ask("LoRA with normalised outputs", impostors::normalises_output(W, A, B, m), false,
        "expected false, got true. m has a gradient there. Is the output x W'^T?");
    ask("V divided by W's norms", impostors::divides_by_base(W, A, B, m), false,
        "expected false, got true. Are the rows of W' of norm m?");
}

int main() { return run_exercise(__FILE__, check_dora); }
