// Pictures of handwritten digits, from a paint program, a scanner or a camera, brought into the
// form of MNIST's images, which is the only form that a network trained on them understands:
//
//     const GreyImage picture = read_image("my_seven.png");
//     const Bytes pixels = digit_from_image(picture, "my_seven.png");  // [28, 28], ink is bright
#pragma once

#include "data/image.h"

namespace slim {

constexpr int64_t kDigitSide = 28;

// The digit in the picture as MNIST would show it: [28, 28], row-major, light ink on black,
// centred. One digit per picture, on paper of about one brightness, ink darker or lighter than it.
// Throws when nothing is drawn on the picture.
Bytes digit_from_image(const GreyImage& picture, const std::string& name);

// Returns a warning if the picture does not look like one digit on paper, else "". (A network is
// confident on any input.)
std::string doubt_about(const GreyImage& picture, const std::string& name);

}  // namespace slim
