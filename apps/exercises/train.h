// What the exercises on MNIST share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/autograd.h"
#include "core/random.h"

namespace slim {

using LossFunction = double (*)(const Tensor& logits, const std::vector<int>& labels, Tensor& d);

// Trains a small perceptron for 150 batches with this loss, by SGD and by Adam, each with several
// learning rates, and prints the accuracies.
void print_learning_rates(const std::string& folder, LossFunction loss);

// A layer of the reader: what is trained, and its forward.
struct Trainable {
    std::vector<Tensor> parameters;
    std::function<Tensor(const Tensor& x)> forward;
};
using LayerMaker = Trainable (*)(const Tensor& W, const Tensor& b, int64_t rank, Rng& rng);

// Fits a change of W with singular values 8, 4, 2, 1 by layers of rank 1 to 4, and prints what
// remains of it. Throws when that is not what the rank allows.
void print_ranks(LayerMaker make);

}  // namespace slim
