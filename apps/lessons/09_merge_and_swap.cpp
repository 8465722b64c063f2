// Lesson 9: one base, many adapters.
//
// You will learn: adapters are small things beside a base that nobody changes. So one base serves
//   many tasks: add, switch, disable, merge for speed, and take it back, all exact. And why merging
//   must not overwrite the weight.
//
// Run: make lesson-09    (make gdb-09 stops in slim::AdapterSet::merge)
//
// Expected output:
//
//   a fresh adapter changes nothing:     yes
//   trainable params: 24 || all params: 700 || trainable%: 3.4286
//
//   switched, the first adapter is back: yes
//   disabled, the base is back:          yes
//
//   merged: no, then: yes
//   merged, the outputs differ by less than 0.0001: yes
//   unmerged, they are the same bits:    yes
//   and so is the base:                  yes
//
//   in place, (W + D) - D is not W:      more than 5 % of the numbers differ
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/adapt.h"
#include "nn/sequential.h"

using namespace slim;

static const char* yes(bool b) { return b ? "yes" : "no"; }
static bool same_bits(const Tensor& a, const Tensor& b) { return a.to_vector() == b.to_vector(); }

static double largest_difference(const Tensor& a, const Tensor& b) {
    double worst = 0;
    for (int64_t i = 0; i < a.size(); i++)
        worst = std::max(worst, std::fabs(double(a.data()[i]) - double(b.data()[i])));
    return worst;
}

// Stands for training: moves every number that is trained a little.
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

    // Add: attach() freezes the model and puts adapters in the places of the layers that it
    // selects. The first task adapts every Linear with LoRA, the second only the last one with
    // DoRA.
    AdapterSet adapters(model);
    adapters.add("everywhere", {.rank = 2, .alpha = 4}, rng);
    std::printf("a fresh adapter changes nothing:     %s\n", yes(same_bits(model(x), before)));
    pretend_to_train(model, rng);
    const Tensor with_everywhere = model(x);
    adapters.add("last", {.method = Method::kDoRA,
                          .rank = 1, .alpha = 2,
                          .target_modules = {"layers.4"}}, rng);
    pretend_to_train(model, rng);
    const Tensor with_last = model(x);
    std::printf("%s\n\n", trainable_report(model).c_str());

    // Switch: only pointers to modules move, so it costs nothing, and what comes back is identical.
    adapters.activate("everywhere");
    std::printf("switched, the first adapter is back: %s\n",
                yes(same_bits(model(x), with_everywhere)));
    adapters.disable();
    std::printf("disabled, the base is back:          %s\n", yes(same_bits(model(x), before)));

    // Merge: with W' = W + s B A (or DoRA's) as its weight, a layer has the base's price.
    // The products are summed in another order, so the outputs agree up to rounding only.
    adapters.activate("last");
    std::printf("\nmerged: %s", yes(adapters.is_merged()));
    adapters.merge();
    std::printf(", then: %s\n", yes(adapters.is_merged()));
    std::printf("merged, the outputs differ by less than 0.0001: %s\n",
                yes(largest_difference(model(x), with_last) < 1e-4));
    adapters.unmerge();
    std::printf("unmerged, they are the same bits:    %s\n", yes(same_bits(model(x), with_last)));
    adapters.disable();
    std::printf("and so is the base:                  %s\n\n", yes(same_bits(model(x), before)));

    // How that is possible: the merged weight is a second matrix beside W. The obvious way, to add
    // the change into W and to subtract it again, rounds twice and does not come back.
    adapters.activate("everywhere");
    const auto* layer = dynamic_cast<LinearWithLoRA*>(model.layers[0].get());
    const Tensor W = layer->linear->weight, change = layer->lora.delta_weight();
    const std::vector<real> there_and_back = ((W + change) - change).to_vector();
    int64_t changed = 0;
    for (int64_t i = 0; i < W.size(); i++) changed += there_and_back[size_t(i)] != W.data()[i];
    std::printf("in place, (W + D) - D is not W:      %s\n",
                changed > W.size() / 20 ? "more than 5 % of the numbers differ" : "it is here");
}
