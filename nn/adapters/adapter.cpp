// Adapters: the configuration's texts and checks, and the tutorials' choices. See adapter.h.
#include "nn/adapters/adapter.h"

#include <cmath>  // isfinite, sqrt

namespace slim {

AdapterConfig tutorial_preset(int64_t rank, double alpha, Method method) {
    return {.method = method,
            .rank = rank,
            .alpha = alpha,
            .scaling = Scaling::kAlpha,
            .init = InitA::kTutorial,
            .axis = Axis::kIn,
            .norm_gradient = NormGradient::kExact};
}

double AdapterConfig::scaling_factor() const {
    switch (scaling) {
        case Scaling::kAlpha: return alpha;
        case Scaling::kAlphaOverRank: return alpha / double(rank);
        case Scaling::kAlphaOverSqrtRank: return alpha / std::sqrt(double(rank));
    }
    fail("adapter: unknown scaling");
}

std::string AdapterConfig::text() const {
    const char* formula = scaling == Scaling::kAlpha           ? "alpha"
                          : scaling == Scaling::kAlphaOverRank ? "alpha / rank"
                                                               : "alpha / sqrt(rank)";
    return "rank=" + to_text(rank) + ", alpha=" + to_text(alpha) +
           ", scaling=" + to_text(scaling_factor()) + " (" + formula + ")" +
           (dropout > 0 ? ", dropout=" + to_text(dropout) : "");
}

void AdapterConfig::check_valid() const {
    check(rank > 0, "adapter: rank ", rank, "; the rank must be at least 1");
    check(dropout >= 0 && dropout <= 1, "adapter: dropout ", dropout,
          "; the probability must be between 0 and 1");
    check(std::isfinite(alpha), "adapter: alpha ", alpha, "; it must be finite");
    check(layers_pattern.empty() || !layers_to_transform.empty(),
          "adapter: layers_pattern means nothing without layers_to_transform");
    check(layers_to_transform.empty() || target_pattern.empty(),
          "adapter: layers_to_transform means nothing where the targets are a pattern");
}

std::string Adapter::extra() const {
    std::string text;
    if (is_dora())
        text = std::string("magnitude per ") + magnitude_per() + ", norm gradient " +
               (config().norm_gradient == NormGradient::kExact ? "exact" : "detached");
    if (is_merged()) text += text.empty() ? "merged" : ", merged";
    return text;
}

void check_merged(const Tensor& weight) {
    for (int64_t i = 0; i < weight.size(); i++)
        check(std::isfinite(weight.data()[i]), "merge: element ", i, " of the merged weight is ",
              double(weight.data()[i]), "; an adapter that is not finite cannot be merged");
}

}  // namespace slim
