// mnist --shift: adapts a base to a changed task, in full, with LoRA and with DoRA, and compares
// with the base as it is and with training from scratch. shifted() in apps/experiment.h makes the
// change.
#pragma once

#include <functional>

#include "apps/experiment.h"

namespace slim {

struct ShiftOptions {
    std::vector<std::string> shifts;   // see shifted()
    TaskOptions data;                  // of the task before
    std::vector<int64_t> samples{0};   // training rows of the new task; 0 is all of them
    int64_t epochs = 5, batch = 64;
    double lr_full = 0, lr_adapter = 0;
    bool sweep = false;  // choose each rate on held-out rows instead
    std::function<AdapterConfig(const std::string& method)> config = {};
};

// Trains all methods on all shifts from one seed.
std::vector<Row> compare_on_shifts(MLP& base, const Task& task, const ShiftOptions& options,
                                   int64_t seed);

// A table per shift and number of samples; with several seeds, means.
void print_shift_tables(const std::vector<Row>& rows);

}  // namespace slim
