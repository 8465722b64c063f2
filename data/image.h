// Pictures of handwritten digits, from a paint program, a scanner or a camera, brought into the
// form of MNIST's images, which is the only form that a network trained on them understands:
//
//     const GreyImage picture = read_image("my_seven.png");
//     const Bytes pixels = digit_from_image(picture, "my_seven.png");  // [28, 28], ink is bright
#pragma once

#include <cstdint>
#include <string>

#include "data/file.h"

namespace slim {

struct GreyImage {
    int64_t rows = 0, cols = 0;
    Bytes pixels;  // [rows, cols], row-major; 0 is black, 255 white
};

// A PNG or JPEG file of at most 64 MB and 4096 x 4096 pixels. Colours become their brightness; what
// is transparent shows paper, white or, under light strokes, black. The orientation that a camera
// notes in EXIF is applied. Throws one sentence when the file is something else, or broken.
GreyImage read_image(const std::string& path);

// The same from the file's bytes; errors call it `name`.
GreyImage parse_image(const Bytes& bytes, const std::string& name);

constexpr int64_t kDigitSide = 28;

// The digit in the picture as MNIST would show it: [28, 28], row-major, light ink on black,
// centred. One digit per picture, on paper of about one brightness, ink darker or lighter than it.
// Throws a sentence when nothing is drawn on the picture.
Bytes digit_from_image(const GreyImage& picture, const std::string& name);

// Returns a sentence about what does not look like one digit on paper, "" if nothing is odd: the
// network is sure of anything.
std::string doubt_about(const GreyImage& picture, const std::string& name);

}  // namespace slim
