// Lesson 8: DoRA, length and direction.
//
// You will learn: DoRA gives each row (or each column) of the weight a length of its own, the
//   magnitude m, and lets LoRA turn only the direction. And how to notice a "DoRA" that is none:
//   look whether m gets a gradient.
//
// Run: make lesson-08    (make gdb-08 stops in slim::LinearWithDoRA::forward)
//
// Expected output:
//
//   W = (3 4)  magnitudes per output (rows):    5.00 2.00
//       (0 2)  magnitudes per input (columns):  3.00 4.47
//
//   row 0 of W:                   ( 3.00  4.00), length 5.00
//   row 0 of W + s B A (LoRA):    ( 5.00  8.00), length 9.43
//   row 0 of W' (DoRA):           ( 2.65  4.24), length 5.00
//   row 0 of W' with m_0 = 10:    ( 5.30  8.48), length 10.00
//   columns of W' (per input):    lengths 3.00 4.47
//
//   forward is x W'^T, per output: yes, per input: yes
//   m has a gradient, in our DoRA: yes, in the tutorial's: no
//   the tutorial's output is LoRA's, bit for bit: yes
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/dora.h"

using namespace slim;

static const char* yes(bool b) { return b ? "yes" : "no"; }

static bool close(const Tensor& a, const Tensor& b) {
    double worst = 0;
    for (int64_t i = 0; i < a.size(); i++)
        worst = std::max(worst, std::fabs(double(a.data()[i]) - double(b.data()[i])));
    return worst < 1e-4;
}

// The layer called LinearWithDoRA in a tutorial that many have copied. Go through it line by line
// before you read on: what does `modification` do?
static Tensor tutorial_forward(Linear& linear, LoRALayer& lora, const Tensor& m, const Tensor& x) {
    const Tensor base = linear.forward(x);
    const Tensor change = lora.forward(x);                  // an output, not a weight
    const Tensor length = norm(change, 1);                  // one per *example* [batch]
    const Tensor direction = mul_col(change, ones(length.shape()) / length);
    const Tensor modification = mul_row(direction, m);
    return base + change;
}

int main() {
    const AdapterConfig kPerOutput{.rank = 1, .alpha = 1, .axis = Axis::kOut};
    const AdapterConfig kPerInput{.rank = 1, .alpha = 1, .axis = Axis::kIn};

    // A weight [out, in] = [2, 2] with rows (3, 4) and (0, 2).
    auto base = std::make_shared<Linear>(tensor({3, 4, 0, 2}, {2, 2}));
    const Tensor x = tensor({1, 2, -1, 1, 0.5, 3}, {3, 2});

    // 1. Where m starts: at the lengths that W has. A row makes one output, a column belongs to one
    //    input. The paper's code and PEFT take rows; the tutorials take columns.
    Rng rng(1);
    LinearWithDoRA per_output(base, kPerOutput, rng), per_input(base, kPerInput, rng);
    std::printf("W = (3 4)  magnitudes per output (rows):    %.2f %.2f\n",
                double(per_output.m.at({0})), double(per_output.m.at({1})));
    std::printf("    (0 2)  magnitudes per input (columns):  %.2f %.2f\n\n",
                double(per_input.m.at({0})), double(per_input.m.at({1})));

    // 2. V = W + s B A, then each row of V is brought to the length m:  W' = m V / |V|.
    //    B A turns row 0; its length stays 5, whatever B A is. LoRA would have changed both at
    //    once.
    for (LinearWithDoRA* layer : {&per_output, &per_input}) {
        copy_values(tensor({1, 2}, {1, 2}), layer->lora.A);
        copy_values(tensor({2, -1}, {2, 1}), layer->lora.B);
    }
    const auto print_row = [](const char* name, const Tensor& W) {
        std::printf("%s (%5.2f %5.2f), length %.2f\n", name, double(W.at({0, 0})),
                    double(W.at({0, 1})), double(norm(W, 1).at({0})));
    };
    print_row("row 0 of W:                  ", base->weight);
    print_row("row 0 of W + s B A (LoRA):   ", base->weight + per_output.lora.delta_weight());
    print_row("row 0 of W' (DoRA):          ", per_output.merged_weight());
    per_output.m.mutable_data()[0] = 10;
    print_row("row 0 of W' with m_0 = 10:   ", per_output.merged_weight());
    const Tensor columns = norm(per_input.merged_weight(), 0);
    std::printf("columns of W' (per input):    lengths %.2f %.2f\n\n", double(columns.at({0})),
                double(columns.at({1})));

    // 3. The layer never forms W' (lesson 10 shows how), and is the same function.
    std::printf("forward is x W'^T, per output: %s, per input: %s\n",
                yes(close(per_output(x), matmul_nt(x, per_output.merged_weight()))),
                yes(close(per_input(x), matmul_nt(x, per_input.merged_weight()))));

    // 4. The tutorial's layer normalises the wrong thing (activations, where DoRA has a weight),
    //    and then drops the result: what it returns is LoRA. It trains, its loss falls, its
    //    accuracy is fine. Only its gradients tell: nothing that m is in ever reaches the loss.
    Tensor m = ones({2}).set_requires_grad();
    LinearWithLoRA lora(base, kPerOutput, rng);
    copy_values(per_output.lora.A, lora.lora.A);
    copy_values(per_output.lora.B, lora.lora.B);
    const Tensor y = tutorial_forward(*base, lora.lora, m, x);
    backward(sum(y * y));
    const Tensor y_dora = per_output(x);
    backward(sum(y_dora * y_dora));
    std::printf("m has a gradient, in our DoRA: %s, in the tutorial's: %s\n",
                yes(per_output.m.has_grad()), yes(m.has_grad()));
    std::printf("the tutorial's output is LoRA's, bit for bit: %s\n",
                yes(y.to_vector() == lora(x).to_vector()));
}
