// Labelled rows: taking some, scaling columns, and changing images. See dataset.h.
#include "data/dataset.h"

#include <algorithm>  // max, max_element, min
#include <cmath>      // cos, floor, isfinite, sin, sqrt
#include <cstdlib>    // strtod
#include <numbers>    // pi

#include "core/check.h"

namespace slim {

int64_t DataSet::classes() const {
    return labels.empty() ? 0 : 1 + *std::max_element(labels.begin(), labels.end());
}

DataSet take_rows(const DataSet& set, const std::vector<int64_t>& indices) {
    DataSet result{{}, {}, int64_t(indices.size()), set.rows, set.cols, {}};
    const auto append = [&](auto& to, const auto& from, int64_t row, int64_t width) {
        if (!from.empty())
            to.insert(to.end(), from.begin() + row * width, from.begin() + (row + 1) * width);
    };
    for (int64_t row : indices) {
        check(row >= 0 && row < set.count, "take_rows: row ", row, " of ", set.count);
        append(result.pixels, set.pixels, row, set.features());
        append(result.values, set.values, row, set.features());
        append(result.labels, set.labels, row, 1);
    }
    return result;
}

void scale_columns(DataSet& train, DataSet& test, const std::string& how) {
    check(how == "standard" || how == "unit", "scale_columns: got \"", how,
          "\"; it must be standard or unit");
    check(test.count == 0 || train.cols == test.cols, "scale_columns: ", train.cols,
          " columns to train on, ",
          test.cols, " to test on");
    for (int64_t column = 0; column < train.cols; column++) {
        double sum = 0, squares = 0, low = INFINITY, high = -INFINITY;
        for (int64_t i = column; i < int64_t(train.values.size()); i += train.cols) {
            const double value = train.values[size_t(i)];
            sum += value;
            low = std::min(low, value);
            high = std::max(high, value);
        }
        const double mean = sum / double(train.count);
        for (int64_t i = column; i < int64_t(train.values.size()); i += train.cols)
            squares += (train.values[size_t(i)] - mean) * (train.values[size_t(i)] - mean);
        const double zero = how == "unit" ? low : mean;
        const double one = how == "unit" ? high - low : std::sqrt(squares / double(train.count));
        for (DataSet* set : {&train, &test})
            for (int64_t i = column; i < int64_t(set->values.size()); i += set->cols) {
                float& value = set->values[size_t(i)];
                value = low < high ? float((value - zero) / one) : 0;
            }
    }
}

void warp_image(const uint8_t* from, uint8_t* to, int64_t rows, int64_t cols, const Warp& w) {
    const auto pixel = [&](int64_t r, int64_t c) {
        return r < 0 || c < 0 || r >= rows || c >= cols ? 0.0 : double(from[r * cols + c]);
    };
    const double middle_y = double(rows - 1) / 2, middle_x = double(cols - 1) / 2;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            const double y = double(r) - middle_y, x = double(c) - middle_x;
            const double from_y = middle_y + w.yy * y + w.yx * x + w.down;
            const double from_x = middle_x + w.xy * y + w.xx * x + w.right;
            const int64_t top = int64_t(std::floor(from_y)), left = int64_t(std::floor(from_x));
            const double v = from_y - double(top), u = from_x - double(left);
            const double upper = (1 - u) * pixel(top, left) + u * pixel(top, left + 1);
            const double lower = (1 - u) * pixel(top + 1, left) + u * pixel(top + 1, left + 1);
            *to++ = uint8_t(0.5 + (1 - v) * upper + v * lower);
        }
}

DataSet shifted(const DataSet& images, const std::string& how) {
    const std::string kind = how.substr(0, how.find(':'));
    const std::string amount = kind.size() < how.size() ? how.substr(kind.size() + 1) : "";
    char* end = nullptr;
    const double number = std::strtod(amount.c_str(), &end);
    const bool known = how == "invert" || kind == "rotate" || kind == "translate";
    check(known && *end == 0 && amount.empty() == (kind == "invert") && std::isfinite(number),
          "shift: got \"", how, "\"; it must be rotate:DEGREES, translate:PIXELS, "
          "invert, or the name of other data");
    check(!images.pixels.empty(), "shift: ", how, " changes images, and these are measurements");

    DataSet result = images;
    if (kind == "invert") {
        for (uint8_t& pixel : result.pixels) pixel = uint8_t(255 - pixel);
        return result;
    }
    const double angle = number * std::numbers::pi / 180, cos = std::cos(angle),
                 sin = std::sin(angle);
    const Warp warp = kind == "rotate" ? Warp{.yy = cos, .yx = sin, .xy = -sin, .xx = cos}
                                       : Warp{.down = -number, .right = -number};
    for (int64_t i = 0; i < images.count; i++)
        warp_image(&images.pixels[size_t(i * images.features())],
                   &result.pixels[size_t(i * images.features())], images.rows, images.cols, warp);
    return result;
}

}  // namespace slim
