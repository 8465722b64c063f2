// A made-up data set that a small model learns in a few steps.
#pragma once

#include "core/random.h"
#include "data/mnist.h"

namespace slim {

// Images of 3 x 3 pixels in three classes: row number `label` is bright, the rest is noise.
inline DataSet striped_images(int64_t count) {
    Rng rng(1);
    DataSet set{Bytes(size_t(count * 9)), Bytes(size_t(count)), count, 3, 3};
    for (int64_t i = 0; i < count; i++) {
        const int64_t label = rng.below(3);
        set.labels[size_t(i)] = uint8_t(label);
        for (int64_t k = 0; k < 9; k++)
            set.pixels[size_t(i * 9 + k)] = uint8_t(rng.below(120) + (k / 3 == label ? 130 : 0));
    }
    return set;
}

}  // namespace slim
