// Learning rate schedules. See schedule.h.
#include "optim/schedule.h"

#include <algorithm>  // max, min
#include <cmath>      // cos, isfinite, pow

#include "core/check.h"

namespace slim {

double step_decay(int64_t step, StepDecay options) {
    check(step >= 0, "step_decay: step ", step, "; the first is 0");
    check(options.every > 0, "step_decay: every ", options.every, " steps; it must be at least 1");
    check(std::isfinite(options.gamma) && options.gamma >= 0, "step_decay: gamma = ", options.gamma,
          "; it must be a number, 0 or more");
    return std::pow(options.gamma, double(step / options.every));
}

double cosine_with_warmup(int64_t step, Cosine options) {
    check(step >= 0, "cosine_with_warmup: step ", step, "; the first is 0");
    check(options.warmup >= 0 && options.total >= options.warmup, "cosine_with_warmup: warmup = ",
          options.warmup, ", total = ", options.total, "; expected 0 <= warmup <= total");
    if (step < options.warmup) return double(step) / double(options.warmup);
    const double span = double(std::max(int64_t(1), options.total - options.warmup));
    const double done = std::min(1.0, double(step - options.warmup) / span);
    return 0.5 * (1 + std::cos(3.14159265358979323846 * done));
}

}  // namespace slim
