// Draws the ids that follow a prompt. See generate.h.
#include "nn/llama/generate.h"

#include <algorithm>  // copy_n, max_element, min, nth_element
#include <cmath>      // exp, isfinite
#include <functional>  // greater

#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

static int draw(const Tensor& logits, const Sampling& sampling, Rng& rng) {
    const std::vector<real> x = logits.to_vector();
    for (size_t i = 0; i < x.size(); i++)
        check(std::isfinite(x[i]), "generate: logit ", i, " is ", double(x[i]),
              "; it must be finite. hint: load other parameters");
    const real largest = *std::max_element(x.begin(), x.end());
    if (sampling.temperature == 0) return argmax_rows(logits)[0];
    real least = -HUGE_VALF;
    if (sampling.top_k > 0 && sampling.top_k < int64_t(x.size())) {
        std::vector<real> sorted = x;
        const auto kth = sorted.begin() + (sampling.top_k - 1);
        std::nth_element(sorted.begin(), kth, sorted.end(), std::greater<real>());
        least = *kth;
    }
    std::vector<double> weights;
    double total = 0;
    for (real logit : x) {
        weights.push_back(logit < least ? 0 : std::exp((logit - largest) / sampling.temperature));
        total += weights.back();
    }
    double left = rng.uniform() * total;
    size_t id = 0;
    while (id + 1 < weights.size() && (left -= weights[id]) >= 0) id++;
    while (weights[id] == 0) id--;  // rounding may end at a weight of 0
    return int(id);
}

std::vector<int> generate(LlamaForCausalLM& model, std::vector<int> ids, int64_t count,
                          const Sampling& sampling, Rng& rng) {
    check(!ids.empty(), "generate: the prompt is empty; it must have at least one id");
    check(std::isfinite(sampling.temperature) && sampling.temperature >= 0 && sampling.top_k >= 0,
          "generate: temperature ", sampling.temperature, ", top_k ", sampling.top_k,
          "; both must be finite and 0 or more");
    const NoGrad no_grad;
    const EvalMode eval_mode(model);
    const size_t prompt = ids.size(), window = size_t(model.context->length);
    for (int64_t i = 0; i < count; i++) {
        const Tensor h = model.model.lookup(std::span(ids).last(std::min(window, ids.size())));
        Tensor last({1, h.size(1)});
        std::copy_n(h.data() + h.size() - h.size(1), h.size(1), last.mutable_data());
        ids.push_back(draw((*model.lm_head)(last), sampling, rng));
    }
    return {ids.begin() + int64_t(prompt), ids.end()};
}

}  // namespace slim
