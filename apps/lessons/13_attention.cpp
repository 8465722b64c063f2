// Lesson 13: one attention head by hand, then a small Llama.
//
// You will learn: how a position of a text looks at those before it, softmax(q k^T / sqrt(d)) v
//   with a causal mask; its backward, with pencil and paper; and that a Llama is such heads between
//   Linear layers (and a few small ops). A small one learns a verse by heart in a few seconds.
//
// Run: make lesson-13    (make gdb-13 stops in slim::CausalAttentionNode::backward)
// Do:  make ex-13
//
// Expected output:
//
//   P = tensor([[1.0000, 0.0000, 0.0000, 0.0000],
//           [0.3860, 0.6140, 0.0000, 0.0000],
//           [0.7215, 0.2195, 0.0590, 0.0000],
//           [0.7052, 0.0206, 0.2207, 0.0535]])
//
//   causal_attention's squared distance: y 0.000000, dq 0.000000, dk 0.000000, dv 0.000000
//
//   it writes: Twinkleie.Uypmab.ptaagUnnwb
//   step   0: loss 3.42
//   step 300: loss 0.06
//   it writes: Twinkle, twinkle, little star,
//   How I wonder what you are!
//   Up above the world so high,
//   Like a diamond in the sky.
#include <cmath>
#include <cstdio>
#include <iostream>

#include "apps/program.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "core/transformer.h"
#include "data/text.h"
#include "nn/llama/generate.h"
#include "optim/adam.h"

using namespace slim;

static double distance(const Tensor& a, const Tensor& b) { return sum((a - b) * (a - b)).item(); }

// ---- one head -----------------------------------------------------------------------------------
// Each position i of a text asks with its query q_i, offers its key k_i, and hands over its value
// v_i. It takes a mean of the values of positions 0 to i, weighted by how well their keys fit:
//     S = q k^T / sqrt(d) + mask      P = softmax of each row of S      y = P v
// q, k, v and y are [time, d], S and P [time, time]. The mask is 0 up to the diagonal and -10^9
// after it: e^-10^9 is 0. So no position sees a later one, which it is to predict. A product of
// two random vectors grows like sqrt(d). Dividing by sqrt(d) keeps the softmax soft.

static void one_head() {
    const int64_t kTime = 4, kDim = 8;
    const double root = std::sqrt(double(kDim));
    Rng rng(1);
    const Shape shape{kTime, kDim};
    Tensor q = normal(shape, 0, 1, rng), k = normal(shape, 0, 1, rng);
    Tensor v = normal(shape, 0, 1, rng), mask = zeros({kTime, kTime});
    for (int64_t i = 0; i < kTime; i++)
        for (int64_t j = i + 1; j < kTime; j++) mask.mutable_data()[i * kTime + j] = -1e9;
    const Tensor P = softmax(matmul_nt(q, k) / root + mask), y = matmul(P, v);
    std::cout << "P = " << P << "\n\n";
    // Backward, given dy (here random). The products are those of lesson 4: y = P v, so
    //     dv = P^T dy         dP = dy v^T
    // Softmax: P_ij = e^S_ij / sum over k of e^S_ik. S_ij occurs in each P_ik of its row:
    //     dP_ij/dS_ij = P_ij - P_ij P_ij      dP_ik/dS_ij = -P_ik P_ij  for k != j
    // Summed over the row, each times its dP_ik, dS_ij = P_ij (dP_ij - sum over k of dP_ik P_ik).
    // The mask is a constant that was added: nothing to do, and where P is 0, dS is 0 already.
    // And S = q k^T / sqrt(d) is x W^T of lesson 4 with x = q and W = k:
    //     dq = dS k / sqrt(d)      dk = dS^T q / sqrt(d)
    const Tensor dy = normal(shape, 0, 1, rng), dv = matmul_tn(P, dy), dP = matmul_nt(dy, v);
    const Tensor dS = P * add_col(dP, -sum(dP * P, 1));
    const Tensor dq = matmul(dS, k) / root, dk = matmul_tn(dS, q) / root;
    // The library's op: many heads of many texts at once, and nothing computed after the diagonal.
    for (Tensor* x : {&q, &k, &v}) x->set_requires_grad();
    const Tensor fused = causal_attention(q, k, v, 1, 1, kTime);
    backward(fused, dy);
    std::printf("causal_attention's squared distance: y %.6f, dq %.6f, dk %.6f, dv %.6f\n\n",
                distance(fused, y), distance(q.grad(), dq), distance(k.grad(), dk),
                distance(v.grad(), dv));
}

// ---- a Llama ------------------------------------------------------------------------------------

const std::string kVerse =
    "Twinkle, twinkle, little star,\nHow I wonder what you are!\n"
    "Up above the world so high,\nLike a diamond in the sky.\n";  // Jane Taylor, 1806

static int lesson(int, char**) {
    one_head();
    std::string letters;  // each once; its place is its id
    for (char c : kVerse)
        if (letters.find(c) == letters.npos) letters += c;
    std::vector<int> text;
    for (char c : kVerse) text.push_back(int(letters.find(c)));
    // Two layers of four heads (nn/llama/llama.h). At each position it predicts the next letter.
    Rng rng(1);
    LlamaForCausalLM model({.vocab_size = int64_t(letters.size()), .hidden_size = 32,
                            .intermediate_size = 64, .num_hidden_layers = 2,
                            .max_position_embeddings = 32}, &rng);
    const auto write = [&](int64_t count, double temperature) {
        std::printf("it writes: Twinkle");
        for (int id : generate(model, {text.begin(), text.begin() + 7}, count, {temperature}, rng))
            std::putchar(letters[size_t(id)]);
        std::printf("\n");
    };
    write(20, 1);
    Adam adam(model.parameters(), {.lr = 0.005});
    for (int step = 0; step <= 300; step++) {
        const Windows windows = random_windows(text, 16, 32, rng);
        const Tensor loss = cross_entropy(model.lookup(windows.ids), windows.next);
        if (step % 300 == 0) std::printf("step %3d: loss %.2f\n", step, loss.item());
        backward(loss);
        adam.step();
        adam.zero_grad();
    }
    write(int64_t(text.size()) - 8, 0);  // temperature 0: always the most likely letter
    return 0;
}

int main(int argc, char** argv) { return run_program(argc, argv, lesson); }
