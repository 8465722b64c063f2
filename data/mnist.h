// The MNIST digits, and every data set in four IDX files of the same names (Fashion-MNIST, KMNIST):
// greyscale images of any size, or rows of floats, and one label for each.
#pragma once

#include <string>

#include "data/dataset.h"

namespace slim {

enum class Split { kTrain, kTest };

// Reads train-images-idx3-ubyte and train-labels-idx1-ubyte, or the t10k pair, from the folder, or
// from MNIST/raw below it, where torchvision puts them (also FashionMNIST/raw, KMNIST/raw). (The
// spelling train-images.idx3-ubyte is also found.) Rows of floats [count, columns] are in
// train-images-idx2-float. Throws an Error that says what to do when a file is missing or is not
// what its name promises.
DataSet load_mnist(const std::string& folder, Split split);

}  // namespace slim
