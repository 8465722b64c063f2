// Data sets for one test, made by hand.
#pragma once

#include <string>

#include "core/tensor.h"
#include "data/file.h"

namespace slim {

// An IDX file of this shape.
inline void write_idx(const std::string& path, const Shape& shape, const std::string& values) {
    std::string text = {0, 0, 8, char(shape.size())};
    for (int64_t n : shape)
        for (int shift = 24; shift >= 0; shift -= 8) text += char(n >> shift);
    write_file(path, {text, values});
}

}  // namespace slim
