// What the exercises on MNIST share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/autograd.h"
#include "core/random.h"
#include "nn/adapters/adapter.h"

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

// How to adapt, in exercise 10.
struct Plan {
    AdapterConfig adapter;
    double lr = 0.0001;
};
struct Repair {
    int64_t values = 0;          // that are trained
    double percent = 0;          // of the moved test digits that are read rightly
    bool base_is_equal = true;   // with the adapter off, as before
};

// Lesson 10: trains a base on MNIST, attaches the adapter, and trains it for 300 steps on digits
// that are moved four pixels aside. With 7,000 values or more it only counts them.
Repair repair_moved_digits(const std::string& folder, const Plan& plan);

// Trains a network, and prints how many digits it reads that are moved by up to four pixels: as
// they are, and after centred(), which maps [28, 28] to [28, 28].
void print_centred(const std::string& folder, Tensor (*centred)(const Tensor& x));

}  // namespace slim
