// Lesson 8: DoRA, magnitude and direction.
//
// You will learn: DoRA gives each row (or each column) of the weight a norm of its own, the
//   magnitude m, and lets LoRA turn only the direction. How to recognise a false DoRA.
//
// Run: make lesson-08    (make gdb-08 stops in slim::LinearWithDoRA::forward)
// Do:  make ex-08
//
// Expected output:
//
//   W:           rows (3.00 4.00) and (0.00 2.00), norms 5.00 and 2.00
//                its columns have norms 3.00 and 4.47
//   LoRA's V:    rows (5.00 8.00) and (-1.00 0.00), norms 9.43 and 1.00
//   DoRA's W':   rows (2.65 4.24) and (-2.00 0.00), norms 5.00 and 2.00
//
//   layer                 dm   y - x W'^T   y(2x) - 2 y(x)   dB at B = 0
//   DoRA                5.35         0.00             0.00        finite
//   LinearWithDoRA      5.35         0.00             0.00        finite
//   drops m             0.00        12.46             0.00        finite
//   normalises output   2.68         6.11             4.47    not finite
//
//   both rows are to turn, and row 0 to grow from 5 to 7.5:
//     step   0: loss  5.722, m 5.00 2.00
//     step 250: loss  0.014, m 7.34 2.00
//     step 500: loss  0.000, m 7.50 2.00
#include <cmath>
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/adapters/dora.h"
#include "optim/adam.h"

using namespace slim;

static double largest(const Tensor& x) {
    double most = 0;
    for (real value : x.to_vector())
        most = std::isfinite(value) ? std::fmax(most, std::fabs(value)) : INFINITY;
    return most;
}

struct Parameters {
    Tensor W, A, B, m;  // [out, in], [rank, in], [out, rank], [out]; s is 1 here
    Tensor V() const { return W + matmul(B, A); }  // the direction, V = W + s B A
};

// The definition: each row of V is brought to the norm m. W' = m V / |V|, y = x W'^T.
static Tensor merged(const Parameters& p) { return mul_col(p.V(), p.m / norm(p.V(), 1)); }
static Tensor dora(const Tensor& x, const Parameters& p) { return matmul_nt(x, merged(p)); }

// Two false DoRA layers, as tutorials have them. The first computes a normalised output times m but
// never uses it (that part is left out here). So m has no effect: it is LoRA.
static Tensor drops_m(const Tensor& x, const Parameters& p) {
    return matmul_nt(x, p.W) + matmul_nt(matmul_nt(x, p.A), p.B);
}
// Here m gets a gradient. But DoRA normalises a weight, and this an output, per example: y(2x) is
// not 2 y(x), so there is no W' to merge. At B = 0 it divides 0 by 0.
static Tensor normalises_output(const Tensor& x, const Parameters& p) {
    const Tensor change = matmul_nt(matmul_nt(x, p.A), p.B), n = norm(change, 1);
    return matmul_nt(x, p.W) + mul_row(mul_col(change, ones(n.shape()) / n), p.m);
}

static void show(const char* name, const Tensor& W) {
    const real* w = W.data();
    std::printf("%-12s rows (%.2f %.2f) and (%.2f %.2f), norms %.2f and %.2f\n", name, w[0], w[1],
                w[2], w[3], std::hypot(w[0], w[1]), std::hypot(w[2], w[3]));
}

int main() {
    // 1. m starts at the norms of W: of its rows (outputs) in the paper's code and in PEFT, of its
    //    columns (inputs) in the tutorials. kExact: backward goes through |V|. (By default,
    //    kDetached, it holds |V| constant, as the paper's section 4.3 does to save memory.)
    Rng rng(1);
    auto base = std::make_shared<Linear>(tensor({3, 4, 0, 2}, {2, 2}));  // no bias
    base->set_requires_grad(false);
    LinearWithDoRA layer(base, {.rank = 1, .alpha = 1, .norm_gradient = NormGradient::kExact}, rng);
    Parameters p{base->weight, layer.lora.A, layer.lora.B, layer.m};
    show("W:", p.W);
    std::printf("             its columns have norms %.2f and %.2f\n", norm(p.W, 0).at({0}),
                norm(p.W, 0).at({1}));

    // 2. B A turns the rows, whose norms stay 5 and 2. In LoRA's V norm and direction both change.
    const Tensor x = tensor({1, 2, -1, 1, 0.5, 3}, {3, 2}), B = tensor({2, -1}, {2, 1});
    copy_values(tensor({1, 2}, {1, 2}), p.A), copy_values(B, p.B);
    show("LoRA's V:", p.V()), show("DoRA's W':", merged(p));

    // 3. Four questions to each. LinearWithDoRA is the definition without forming V (appendix).
    std::printf("\nlayer                 dm   y - x W'^T   y(2x) - 2 y(x)   dB at B = 0\n");
    const auto question = [&](const char* name, const auto& f) {
        copy_values(B, p.B);
        const double off = largest(f(x, p) - matmul_nt(x, merged(p)));
        const double bent = largest(f(2 * x, p) - 2 * f(x, p));
        backward(sum(f(x, p)));
        const double dm = p.m.has_grad() ? largest(p.m.grad()) : 0;
        layer.zero_grad();
        copy_values(zeros({2, 1}), p.B);
        backward(sum(f(x, p)));
        std::printf("%-18s %5.2f %12.2f %16.2f %13s\n", name, dm, off, bent,
                    std::isfinite(largest(p.B.grad())) ? "finite" : "not finite");
        layer.zero_grad();
    };
    question("DoRA", dora);
    question("LinearWithDoRA", [&](const Tensor& x, const Parameters&) { return layer(x); });
    question("drops m", drops_m);
    question("normalises output", normalises_output);

    std::printf("\nboth rows are to turn, and row 0 to grow from 5 to 7.5:\n");
    const Tensor target = matmul_nt(x, tensor({6, 4.5, 1.2, 1.6}, {2, 2}));
    Adam adam({p.A, p.B, p.m}, {.lr = 0.02});
    for (int step = 0; step <= 500; step++) {
        const Tensor loss = mse_loss(dora(x, p), target);
        if (step % 250 == 0)
            std::printf("  step %3d: loss %6.3f, m %.2f %.2f\n", step, double(loss.item()),
                        double(p.m.at({0})), double(p.m.at({1})));
        backward(loss);
        adam.step(), adam.zero_grad();
    }
}
