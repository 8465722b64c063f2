// Exercise 6: cross-entropy and its p - y, then a choice of learning rates.
//
// For logits z [batch, classes] and one label c per row:
//
//     p_k = e^z_k / sum of all e^z        L = the mean over the batch of -log(p_c)
//
// Derive dL/dz on paper (lesson 6 says where it ends) and write both. They must stay finite when a
// logit is 1000: subtract the largest of the row from all of it first. That changes no p. Why not?
// When it is right, the check trains with it: SGD and Adam, each with five learning rates.
//
// Check: make ex-06    Hint: make hint-06
#include <cmath>

#include "apps/exercises/check.h"
#include "apps/exercises/train.h"
#include "core/ops.h"

using namespace slim;

// ---- your part ----------------------------------------------------------------------------------

// Fills dz [batch, classes] with dL/dz, and returns L.
static double cross_entropy_by_hand(const Tensor& z, const std::vector<int>& labels, Tensor& dz) {
    const int64_t batch = z.size(0), classes = z.size(1);
    TO_WRITE("fill dz and return L");
}

// ---- the check ----------------------------------------------------------------------------------

static void check_loss(const std::string& what, Tensor z, const std::vector<int>& labels) {
    z.set_requires_grad();
    const Tensor loss = cross_entropy(z, labels);
    backward(loss);
    NoGrad no_grad;
    const double batch = double(z.size(0));
    Tensor dz = zeros(z.shape()), y = zeros(z.shape());
    for (size_t i = 0; i < labels.size(); i++)
        y.mutable_data()[int64_t(i) * z.size(1) + labels[i]] = 1;
    const double got = cross_entropy_by_hand(z, labels, dz);
    expect("L, " + what, got, loss.item(),
           {{scalar(loss.item() * batch), "L is the mean over the batch, not the sum"},
            {scalar(-loss.item()), "p is below 1, so log(p) is negative: mind the minus"},
            {scalar(INFINITY), "a p is 0: take z_c - largest - log(sum of e^(z - largest))"}});
    expect("dz, " + what + ", element ", dz, z.grad(),
           {{batch * z.grad(), "L is a mean: each row counts 1 / batch"},
            {-z.grad(), "this is y - p, which points downhill"},
            {softmax(z) / batch, "this is p: y is missing"},
            {(z - y) / batch, "this is z - y: p is softmax(z)"}});
}

static void check_cross_entropy() {
    check_loss("three rows", tensor({2, -1, 0.5f, 0, 0, 0, 1, 3, -2}, {3, 3}), {0, 2, 0});
    check_loss("a logit of 1000 (subtract the row's largest)",
               tensor({1000, 0, -1000, 3}, {2, 2}), {1, 0});
    print_learning_rates("data/mnist", cross_entropy_by_hand);
}

int main() { return run_exercise(__FILE__, check_cross_entropy); }
