// Lesson 9: one base, many adapters.
//
// You will learn: adapters are small things beside a base that stays as it is. So one base serves
//   many tasks: add, switch, disable, merge for speed, and undo it. All of it is exact, except that
//   merged outputs differ in their last bits. Why merging must not overwrite the weight. And that
//   the base may be stored in 8 or 4 bits.
//
// Run: make lesson-09    (make gdb-09 stops in slim::AdapterSet::merge)
// Do:  make ex-09
//
// Expected output:
//
//   largest difference of the outputs
//   fresh adapter against base                   0e+00
//   trained adapter against base                 2e-01
//   first adapter again against before           0e+00
//   disabled against base                        0e+00
//   merged against unmerged                      2e-08
//   unmerged again                               0e+00
//
//   (W + D) - D differs from W in 48 of 320 values
//
//   base in 8 bits: outputs of up to 0.30 differ by at most 0.0011
//   base in 4 bits: outputs of up to 0.30 differ by at most 0.0361
//   trainable params: 176 || all params: 852 || trainable%: 20.6573
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/adapters/adapt.h"
#include "nn/sequential.h"

using namespace slim;

// 0 only if the two are equal to the bit.
static double difference(const Tensor& a, const Tensor& b) {
    double worst = 0;
    for (int64_t i = 0; i < a.size(); i++)
        worst = std::max(worst, std::fabs(double(a.data()[i]) - double(b.data()[i])));
    return worst;
}

// Stands for training: moves every value that is trained a little.
static void pretend_to_train(Module& model, Rng& rng) {
    for (Tensor& parameter : model.parameters())
        if (parameter.requires_grad())
            copy_values(parameter + normal(parameter.shape(), 0, 0.1, rng), parameter);
}

int main() {
    NoGrad no_grad;  // nothing is differentiated here
    Rng rng(1);
    MLP model(20, 16, 16, 4, rng);
    model.eval();
    const Tensor x = normal({5, 20}, 0, 1, rng);
    const Tensor before = model(x);
    const auto print = [&](const char* what, const Tensor& expected) {
        std::printf("%-44s %.0e\n", what, difference(model(x), expected));
    };

    // Add: add() freezes the model and puts adapters in the places of the layers that it selects.
    // (attach() does the same for a single adapter.) The first task adapts every Linear with LoRA,
    // the second only the last one with DoRA.
    std::printf("largest difference of the outputs\n");
    AdapterSet adapters(model);
    adapters.add("everywhere", {.rank = 2, .alpha = 4}, rng);
    print("fresh adapter against base", before);
    pretend_to_train(model, rng);
    const Tensor with_everywhere = model(x);
    print("trained adapter against base", before);
    adapters.add("last", {.method = Method::kDoRA,
                          .rank = 1, .alpha = 2,
                          .target_modules = {"layers.4"}}, rng);
    pretend_to_train(model, rng);
    const Tensor with_last = model(x);

    // Switch: only pointers to modules move, so it costs nothing, and what comes back is identical.
    adapters.activate("everywhere");
    print("first adapter again against before", with_everywhere);
    adapters.disable();
    print("disabled against base", before);

    // Merge: with W' = W + s B A (or DoRA's) as its weight, a layer costs as much as the base.
    // x W'^T and x W^T + s (x A^T) B^T are equal on paper. But each product and each sum is
    // rounded to 24 bits, and the two forms round different ones: the last bits differ.
    adapters.activate("last");
    adapters.merge();
    print("merged against unmerged", with_last);
    adapters.unmerge();
    print("unmerged again", with_last);

    // How that is possible: the merged weight is a second matrix beside W. The obvious way, to add
    // the change into W and to subtract it again, rounds twice and does not come back.
    adapters.activate("everywhere");
    const auto* layer = dynamic_cast<LinearWithLoRA*>(model.layers[0].get());
    const Tensor W = layer->linear->weight, change = layer->lora.delta_weight();
    const std::vector<real> there_and_back = ((W + change) - change).to_vector();
    int64_t changed = 0;
    for (int64_t i = 0; i < W.size(); i++) changed += there_and_back[size_t(i)] != W.data()[i];
    std::printf("\n(W + D) - D differs from W in %ld of %ld values\n\n", long(changed),
                long(W.size()));

    // Quantise: the base is never trained, so it may be kept in fewer bits (QLoRA). The adapters
    // stay in float; training them can make up for part of the error. Quantise before attaching.
    for (Quantization kind : {Quantization::kInt8, Quantization::kNF4}) {
        Rng same(1);
        MLP small(20, 16, 16, 4, same);  // the base once more
        quantize_linear_layers(small, kind);
        std::printf("base in %s: outputs of up to %.2f differ by at most %.4f\n",
                    kind == Quantization::kInt8 ? "8 bits" : "4 bits",
                    difference(before, 0 * before), difference(small(x), before));
        attach(small, {.rank = 2, .alpha = 4}, rng);
        if (kind == Quantization::kNF4) std::printf("%s\n", trainable_report(small).c_str());
    }
}
