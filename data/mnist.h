// The MNIST digits, and every data set that is published in the same four files (Fashion-MNIST,
// KMNIST): greyscale images and one label from 0 to 9 for each.
#pragma once

#include <cstdint>
#include <string>

#include "data/file.h"

namespace slim {

struct ImageSet {
    Bytes pixels;  // [count, rows, cols], row-major; 0 is black
    Bytes labels;  // [count], each 0 .. 9
    int64_t count = 0, rows = 0, cols = 0;

    int64_t features() const { return rows * cols; }  // numbers per image
};

enum class Split { kTrain, kTest };

// Reads train-images-idx3-ubyte and train-labels-idx1-ubyte, or the t10k pair, from the folder, or
// from MNIST/raw below it, where torchvision puts them. (The spelling train-images.idx3-ubyte is
// also found.) Throws a sentence that says what to do when a
// file is missing or is not what its name promises.
ImageSet load_mnist(const std::string& folder, Split split);

}  // namespace slim
