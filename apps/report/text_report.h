// The results of build/gpt: a table, a page with the curves, and the figures for --json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace slim {

struct LossPoint {
    int64_t step;
    double training, held_out;  // held_out is NaN where it was not measured
};

// A language model that was trained in one way, from one seed.
struct TextRow {
    std::string method;
    int64_t seed = 0, trained = 0, bytes = 0;  // trained parameters, and the size of the file
    double new_loss = 0, old_loss = 0, ms_per_step = 0;  // losses on the held-out parts
    std::vector<LossPoint> curve = {};                   // on the text that it was trained on
    std::string sample = {};                             // what it writes
};

// Returns a line per method. With several seeds it has their means, and the ranges of the losses.
std::string text_table(const std::vector<TextRow>& rows, const std::string& unit);

std::string text_json(const std::vector<TextRow>& rows);

// Returns an HTML page: the table, and the held-out loss over the steps of each method. The curves
// begin with the loss of the first row, the base.
std::string text_page(const std::vector<TextRow>& rows, const std::string& unit);

}  // namespace slim
