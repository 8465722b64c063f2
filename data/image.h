// Reads PNG and JPEG pictures as shades of grey.
#pragma once

#include <cstdint>
#include <string>

#include "data/file.h"

namespace slim {

struct GreyImage {
    int64_t rows = 0, cols = 0;
    Bytes pixels;  // [rows, cols], row-major; 0 is black, 255 white
};

// A PNG or JPEG file of at most 64 MB and 4096 x 4096 pixels. Colours become their brightness.
// Transparent parts become white, or black if the strokes are light. The orientation that a camera
// notes in EXIF is applied. Throws when the file is something else, or broken.
GreyImage read_image(const std::string& path);

// The same from the file's bytes; errors call it `name`.
GreyImage parse_image(const Bytes& bytes, const std::string& name);

}  // namespace slim
