// Learning rate schedules: functions of the step number that give the factor on the rate.
//
//     optimizer.lr_factor = cosine_with_warmup(step, {.warmup = 100, .total = 9380});
//
// The first step is 0. A negative step is an error.
#pragma once

#include <cstdint>

namespace slim {

// 1, then multiplied by gamma after every `every` steps. (torch.optim.lr_scheduler.StepLR)
struct StepDecay {
    int64_t every = 1000;
    double gamma = 0.1;
};
double step_decay(int64_t step, StepDecay options);

// Rises linearly from 0 during the first `warmup` steps, then falls along half a cosine to 0 at
// `total`, and stays there. Throws if total < warmup; if they are equal, step `total` has factor 1.
// (transformers.get_cosine_schedule_with_warmup, which rises again after `total`.)
struct Cosine {
    int64_t warmup = 0;
    int64_t total = 1000;
};
double cosine_with_warmup(int64_t step, Cosine options);

}  // namespace slim
