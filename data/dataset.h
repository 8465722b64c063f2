// DataSet: labelled rows (images or measurements), which train() and evaluate() take. Also choosing
// rows, scaling columns, and changing images (rotate, translate, invert).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/file.h"

namespace slim {

// Images keep their pixels as bytes, a quarter of the memory. Measurements are floats.
struct DataSet {
    Bytes pixels;  // images: [count, rows, cols], row-major; 0 is black. Else empty
    Bytes labels;  // [count]
    int64_t count = 0, rows = 0, cols = 0;
    std::vector<float> values = {};  // measurements: [count, cols], rows is 1. Else empty

    int64_t features() const { return rows * cols; }  // values per image or row of measurements
    int64_t classes() const;                          // the largest label + 1
};

// Returns the rows with these indices.
DataSet take_rows(const DataSet& set, const std::vector<int64_t>& indices);

// Shifts and scales each column of the measurements in both sets, as the training set says: to mean
// 0 and deviation 1 ("standard"), or from 0 to 1 ("unit"). A constant column becomes 0.
void scale_columns(DataSet& train, DataSet& test, const std::string& how);

// Changes each image of the set: "rotate:45" (degrees, anticlockwise), "translate:4" (pixels, to
// the right and down; what leaves the image is lost), "invert". Throws for any other text.
DataSet shifted(const DataSet& images, const std::string& how);

// Writes one image to `to`. Its pixel (y, x), counted from the middle, is read from `from` at
// (yy y + yx x + down, xy y + xx x + right), interpolated between pixels. (With a positive `down`
// it reads further down, so the image moves up.) Outside `from` all is black.
struct Warp {
    double yy = 1, yx = 0, xy = 0, xx = 1, down = 0, right = 0;
};
void warp_image(const uint8_t* from, uint8_t* to, int64_t rows, int64_t cols, const Warp& warp);

}  // namespace slim
