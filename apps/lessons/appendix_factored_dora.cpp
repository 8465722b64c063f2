// Appendix: factored DoRA, at rank 16 and a batch of 128 only 12 % (16 / 128) more work than LoRA.
//
// You will learn: how LinearWithDoRA gets the norms of W + s B A, and the gradients through them,
//   without forming that matrix. Each step is checked against the plain computation.
//
// Run: make lesson-appendix    (make gdb-appendix stops in slim::LinearWithDoRAMerged::forward)
// Do:  make ex-appendix
//
// Expected output:
//
//   largest differences; step 1, norms without V
//     n          0.000
//   step 2, forward without W'
//     y          0.000
//   step 3, backward
//     dx         0.000
//     dm         0.000
//     dB so far  7.441
//   step 4, through the norm
//     dB         0.000
//     dA         0.000
//
//   a step on 4096 x 4096, rank 16, 128 rows; LoRA's work is 1
//     by definition  1.69, with four matrices of W's size
//     factored       1.12, with none
#include <cmath>
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/adapters/dora.h"

using namespace slim;

static void compare(const char* name, const Tensor& ours, const Tensor& plain) {
    double worst = 0;
    for (int64_t i = 0; i < ours.size(); i++)
        worst = std::fmax(worst, std::fabs(double(ours.data()[i]) - double(plain.data()[i])));
    std::printf("  %-10s %.3f\n", name, worst);
}

int main() {
    const int64_t kIn = 64, kOut = 48, kRank = 3, kBatch = 16;
    const double s = 2;  // alpha / rank
    Rng rng(1);

    // The plain computation to compare with, through autograd: V = W + s B A, W' = V scaled to the
    // norms m. B and m are moved away from where they start.
    auto base = std::make_shared<Linear>(kIn, kOut, rng);
    base->set_requires_grad(false);
    LinearWithDoRAMerged plain(
        base, {.rank = kRank, .alpha = s * kRank, .norm_gradient = NormGradient::kExact}, rng);
    copy_values(normal({kOut, kRank}, 0, 0.3, rng), plain.lora.B);
    copy_values(plain.m + uniform({kOut}, 0.1, 0.5, rng), plain.m);
    Tensor x = normal({kBatch, kIn}, 0, 1, rng).set_requires_grad();
    const Tensor g = normal({kBatch, kOut}, 0, 1, rng);  // dL/dy, from whatever comes after
    const Tensor y_plain = plain(x);
    backward(y_plain, g);

    NoGrad no_grad;  // from here on we are autograd
    const Tensor W = base->weight, b = base->bias, m = plain.m;
    const Tensor A = plain.lora.A, B = plain.lora.B;  // [rank, in], [out, rank]

    // Step 1, the norms. Row j of V is W_j + s B_j A. Multiply out its square:
    //
    //     |V_j|^2 = |W_j|^2 + 2 s B_j . (A W_j) + s^2 B_j (A A^T) B_j^T
    //
    const Tensor w2 = sum(W * W, 1);                  // [out], once and for all: W never changes
    const Tensor U = matmul_nt(W, A);                 // [out, rank], all A W_j
    const Tensor G = matmul_nt(A, A);                 // [rank, rank]
    const Tensor pull = U + s * matmul(B, G);         // U + s B G, needed again below
    const Tensor n = sqrt(w2 + s * sum(B * (U + pull), 1));
    std::printf("largest differences; step 1, norms without V\n");
    compare("n", n, norm(W + plain.lora.delta_weight(), 1));

    // Step 2, forward. x W'^T has the columns of x V^T, each times c_j = m_j / n_j: scale the
    // output instead of the weight. And x V^T is what LoRA computes.
    const Tensor c = m / n;
    const Tensor h = matmul_nt(x, A);                                 // [batch, rank]
    const Tensor raw = matmul_nt(x, W) + s * matmul_nt(h, B);         // x V^T
    const Tensor y = add_row(mul_row(raw, c), b);
    std::printf("step 2, forward without W'\n");
    compare("y", y, y_plain);

    // Step 3, backward, as if n were a constant: LoRA's gradients with gc in g's place, which is g
    // times c, column by column. (The paper suggests no more than this: NormGradient::kDetached.)
    const Tensor gc = mul_row(g, c);
    const Tensor dh = s * matmul(gc, B);                              // [batch, rank]
    const Tensor dx = matmul(gc, W) + matmul(dh, A);
    Tensor dB = s * matmul_tn(gc, h), dA = matmul_tn(dh, x);
    const Tensor dc = sum(g * raw, 0);                                // y_j = c_j raw_j + b_j
    const Tensor dm = dc / n;                                         // c = m / n
    std::printf("step 3, backward\n");
    compare("dx", dx, x.grad());
    compare("dm", dm, plain.m.grad());
    compare("dB so far", dB, plain.lora.B.grad());

    // Step 4, through the norm. c = m / n gives dn = -dc m / n^2, and n = |V_j| gives each V_j the
    // gradient dn V_j / n. With t = -s dc m / n^3 and V = W + s B A put in:
    //
    //     dB_j += t_j A V_j     = t_j pull_j           no new product at all
    //     dA   += (t B)^T V     = P^T W + s (P^T B) A  with P = t B [out, rank]
    const Tensor t = -s * (dc * m / (n * n * n));
    const Tensor P = mul_col(B, t);
    dB = dB + mul_col(pull, t);
    dA = dA + matmul_tn(P, W) + s * matmul(matmul_tn(P, B), A);
    std::printf("step 4, through the norm\n");
    compare("dB", dB, plain.lora.B.grad());
    compare("dA", dA, plain.lora.A.grad());

    // What a step costs, in multiplications. By definition: y, dx and dW'; B A, dA and dB; and 5
    // for each element of W. Factored: what LoRA costs, and W A^T and P^T W.
    const double in = 4096, out = 4096, rank = 16, batch = 128;
    const double lora = batch * (2 * in * out + 3 * rank * (in + out));
    const double defined = in * out * (3 * batch + 3 * rank + 5);
    std::printf("\na step on 4096 x 4096, rank 16, 128 rows; LoRA's work is 1\n");
    std::printf("  by definition  %.2f, with four matrices of W's size\n", defined / lora);
    std::printf("  factored       %.2f, with none\n", 1 + 2 * rank * in * out / lora);
}
