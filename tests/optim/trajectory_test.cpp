// SGD, Adam and AdamW against PyTorch: every parameter after every one of ten steps. And Adam where
// a division by nothing is near.
#include <functional>
#include <memory>

#include "optim/adam.h"
#include "optim/sgd.h"
#include "tests/reference/reference.h"
#include "tests/testing.h"

namespace slim {

namespace {

using Parameters = std::vector<Tensor>;
using MakeOptimizer = std::function<std::unique_ptr<Optimizer>(const Parameters&)>;

// Step `index` of a tensor whose first axis counts the steps.
Tensor at_step(const Tensor& all, int64_t index, const Shape& shape) {
    const std::vector<real> values = all.to_vector();
    const int64_t n = checked_size(shape);
    const auto first = values.begin() + index * n;
    return tensor({first, first + n}, shape);
}

// Starts from p1 and p2 of optim.txt and gives them the stored gradients.
void check_trajectory(const std::string& run, const MakeOptimizer& make) {
    const Reference torch("optim.txt");
    const Parameters parameters{torch["p1"].set_requires_grad(), torch["p2"].set_requires_grad()};
    const auto optimizer = make(parameters);
    const double relative = kDouble ? 1e-12 : 1e-5;
    for (int64_t step = 0; step < 10; step++) {
        optimizer->zero_grad();
        for (size_t i = 0; i < 2; i++) {
            const std::string number = std::to_string(i + 1);
            const Tensor g = at_step(torch["g" + number], step, parameters[i].shape());
            backward(sum(parameters[i] * g));
        }
        optimizer->step();
        for (size_t i = 0; i < 2; i++) {
            INFO(run << ".p" << i + 1 << " after step " << step + 1);
            const Tensor all = torch[run + ".p" + std::to_string(i + 1)];
            check_close(parameters[i], at_step(all, step, parameters[i].shape()), relative,
                        relative);
        }
    }
}

template <class Kind, class Options>
MakeOptimizer make(Options options) {
    return [options](const Parameters& p) { return std::make_unique<Kind>(p, options); };
}

// p1 in a group with the first options, p2 in one with the second.
template <class Kind, class Options>
MakeOptimizer make_groups(Options first, Options second) {
    return [first, second](const Parameters& p) {
        return std::make_unique<Kind>(
            std::vector<ParameterGroup<Options>>{{{p[0]}, first}, {{p[1]}, second}});
    };
}

}  // namespace

TEST_CASE("fault: SGD, Adam, AdamW: defaults and groups follow PyTorch") {
    check_trajectory("adam_default", make<Adam>(AdamOptions{}));
    check_trajectory("adamw_default", make<AdamW>(AdamOptions{}));
    check_trajectory("sgd_groups", make_groups<SGD, SGDOptions>(
                                       {.lr = 0.1, .momentum = 0.9},
                                       {.lr = 0.05, .weight_decay = 0.1}));
    check_trajectory("adam_groups", make_groups<Adam, AdamOptions>(
                                        {}, {.beta1 = 0.8, .beta2 = 0.99, .weight_decay = 0.1}));
    check_trajectory("adamw_groups",
                     make_groups<AdamW, AdamOptions>({}, {.lr = 0.01, .eps = 1e-3}));
}

TEST_CASE("SGD: PyTorch's trajectory") {
    check_trajectory("sgd", make<SGD>(SGDOptions{.lr = 0.1}));
}

TEST_CASE("SGD: PyTorch's trajectory with momentum") {
    check_trajectory("momentum", make<SGD>(SGDOptions{.lr = 0.1, .momentum = 0.9}));
}

TEST_CASE("SGD: PyTorch's trajectory with Nesterov's momentum and weight decay") {
    check_trajectory("nesterov", make<SGD>(SGDOptions{.lr = 0.1,
                                                      .momentum = 0.9,
                                                      .weight_decay = 0.01,
                                                      .nesterov = true}));
}

TEST_CASE("Adam: PyTorch's trajectory") {
    check_trajectory("adam", make<Adam>(AdamOptions{.lr = 0.005}));
}

TEST_CASE("Adam: PyTorch's trajectory with weight decay, which joins the gradient") {
    check_trajectory("adam_decay", make<Adam>(AdamOptions{.lr = 0.005, .weight_decay = 0.01}));
}

TEST_CASE("AdamW: PyTorch's trajectory, the decay apart from the gradient") {
    check_trajectory("adamw", make<AdamW>(AdamOptions{.lr = 0.005, .weight_decay = 0.01}));
}

TEST_CASE("AdamW: decays by 0.01 unless told otherwise, as PyTorch's does") {
    check_trajectory("adamw", [](const Parameters& p) {
        auto adamw = std::make_unique<AdamW>(p);  // at PyTorch's default rate of 0.001
        adamw->lr_factor = 5;
        return adamw;
    });
}

TEST_CASE("Adam: with a zero gradient for ever, the parameter stays finite and where it is") {
    Tensor w = tensor({1, -2, 0}).set_requires_grad();
    const std::vector<real> start = w.to_vector();
    Adam adam({w}, {.lr = 0.005});
    for (int step = 0; step < 3000; step++) {
        adam.zero_grad();
        backward(sum(w * zeros({3})));
        adam.step();
        if (step % 100 == 0) CHECK(w.to_vector() == start);
    }
    CHECK(w.to_vector() == start);
}

TEST_CASE("Adam: when the gradient dies away, so does the movement") {
    Tensor w = tensor({1, -2}).set_requires_grad();
    Adam adam({w}, {.lr = 0.005});
    std::vector<real> before;
    for (int step = 0; step < 2000; step++) {
        adam.zero_grad();
        backward(sum(w * (step < 5 ? tensor({3, -1}) : zeros({2}))));
        before = w.to_vector();
        adam.step();
        for (real value : w.to_vector()) REQUIRE(std::isfinite(value));
    }
    CHECK(w.to_vector() == before);
    CHECK(w.at({0}) < 1);
}

TEST_CASE("Adam: the first step has the length of the rate, whatever the gradient's size") {
    for (const double size : {1e-4, 1.0, 1e6}) {
        Tensor w = tensor({1, 1}).set_requires_grad();
        Adam adam({w}, {.lr = 0.125});
        backward(sum(w * tensor({real(size), real(-size)})));
        adam.step();
        check_close(w, tensor({0.875, 1.125}), 1e-4, 0);
    }
}

}  // namespace slim
