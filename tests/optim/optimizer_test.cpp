// What SGD, Adam and AdamW share: groups, frozen parameters, misuse, wrong options.
#include "optim/optimizer.h"

#include "optim/adam.h"
#include "optim/sgd.h"
#include "tests/testing.h"

namespace slim {

static Tensor parameter(const std::vector<real>& values) {
    return tensor(values).set_requires_grad();
}

// backward() of this leaves the gradient g on w.
static void set_gradient(const Tensor& w, const std::vector<real>& g) {
    backward(sum(w * tensor(g)));
}

TEST_CASE("optimizer: each group is updated with options of its own") {
    Tensor a = parameter({1, 2}), b = parameter({1, 2});
    SGD sgd({{{a}, {.lr = 0.5}}, {{b}, {.lr = 0.25, .momentum = 0.5}}});
    for (int step = 0; step < 2; step++) {
        sgd.zero_grad();
        set_gradient(a, {1, 0});
        set_gradient(b, {0, 2});
        sgd.step();
    }
    CHECK(a.to_vector() == std::vector<real>{0, 2});
    CHECK(b.to_vector() == std::vector<real>{1, 2 - 0.5 - 0.75});
}

TEST_CASE("optimizer: lr_factor multiplies the rate of every group") {
    Tensor a = parameter({1}), b = parameter({1});
    SGD sgd({{{a}, {.lr = 0.5}}, {{b}, {.lr = 0.25}}});
    sgd.lr_factor = 0.5;
    set_gradient(a, {1});
    set_gradient(b, {1});
    sgd.step();
    CHECK(a.item() == 0.75);
    CHECK(b.item() == 0.875);

    Tensor c = parameter({1}), d = parameter({1});
    Adam half({c}, {.lr = 0.25}), whole({d}, {.lr = 0.5});
    whole.lr_factor = 0.5;
    set_gradient(c, {3});
    set_gradient(d, {3});
    half.step();
    whole.step();
    CHECK(same_bits(c, d));
    CHECK(c.item() != 1);
}

TEST_CASE("fault: optimizer: a frozen parameter costs no memory, and is trained once unfrozen") {
    Tensor frozen = ones({1000}), w = parameter({1, 2});
    LeakCounter state;
    Adam adam({frozen, w}, {.lr = 0.1});
    set_gradient(w, {1, 1});
    const uint64_t version = frozen.version();
    adam.step();
    CHECK(state.leaked() == 3);  // the two moments of w, and its gradient
    CHECK(frozen.version() == version);

    frozen.set_requires_grad();
    adam.zero_grad();
    backward(sum(frozen));
    adam.step();
    CHECK(frozen.at({7}) == doctest::Approx(0.9));  // Adam's first step is lr
    adam.zero_grad();
    CHECK(!frozen.has_grad());
}

TEST_CASE("fault: optimizer: AdamW decays by 0.01 unless told otherwise, groups too, as torch") {
    using Groups = std::vector<ParameterGroup<AdamOptions>>;
    const auto after = [](AdamW&& adam, Tensor w) {
        backward(0 * sum(w));  // a gradient of zero: only the decay moves w
        adam.step();
        return double(w.item());
    };
    Tensor a = parameter({1}), b = parameter({1}), c = parameter({1}), d = parameter({1});
    CHECK(after(AdamW({a}), a) == relative(0.99999, 1e-7));
    CHECK(after(AdamW({b}, {.lr = 0.1}), b) == relative(0.999, 1e-7));
    CHECK(after(AdamW(Groups{{{c}, {}}}), c) == relative(0.99999, 1e-7));
    CHECK(after(AdamW(Groups{{{d}, {.weight_decay = 0}}}), d) == 1);
    Tensor e = parameter({1});
    Adam adam({e});
    backward(0 * sum(e));
    adam.step();
    CHECK(e.item() == 1);
}

TEST_CASE("fault: optimizer: a step without gradients is an error, an unreached parameter said") {
    Tensor reached = parameter({1}), unreached = parameter({1, 2}), frozen = ones({3});
    SGD sgd({reached, unreached, frozen});
    CHECK_ERROR(sgd.step(), "step", "none of the 3 parameters", "backward()", "attach()");
    set_gradient(reached, {1});
    const std::string said = stderr_of([&] { sgd.step(); });
    check_words(said, {"does not reach", "of its 3 parameters", "1 (shape (2))"});
    CHECK(said.find("(3)") == std::string::npos);  // frozen: meant to stay
    CHECK(stderr_of([&] { sgd.step(); }) == "");   // once
}

TEST_CASE("fault: optimizer: a parameter that is unfrozen later and not reached is said, once") {
    Tensor reached = parameter({1}), later = ones({3});
    SGD sgd({reached, later});
    set_gradient(reached, {1});
    CHECK(stderr_of([&] { sgd.step(); }) == "");
    later.set_requires_grad();
    check_words(stderr_of([&] { sgd.step(); }), {"does not reach", "1 (shape (3))"});
    CHECK(stderr_of([&] { sgd.step(); }) == "");
}

TEST_CASE("fault: optimizer: lr_factor must be a number, 0 or more") {
    Tensor w = parameter({1});
    SGD sgd({w});
    set_gradient(w, {1});
    for (const double factor : {-1.0, std::nan(""), double(INFINITY)}) {
        sgd.lr_factor = factor;
        CHECK_ERROR(sgd.step(), "lr_factor = ", "0 or more");
    }
    CHECK(w.item() == 1);
}

TEST_CASE("fault: SGD's default learning rate is torch's") {
    Tensor w = parameter({1});
    SGD sgd({w});
    set_gradient(w, {1});
    sgd.step();
    CHECK(w.item() == doctest::Approx(0.999));
}

TEST_CASE("optimizer: a parameter without a gradient, or frozen later, is not touched") {
    Tensor used = parameter({1}), unused = parameter({1}), later = parameter({1});
    AdamW adam({used, unused, later}, {.lr = 0.1, .weight_decay = 0.5});
    later.set_requires_grad(false);
    set_gradient(used, {1});
    adam.step();
    CHECK(used.item() != 1);
    CHECK(unused.item() == 1);  // no weight decay either
    CHECK(later.item() == 1);
}

TEST_CASE("optimizer: gradients of two passes add up until zero_grad drops them") {
    Tensor once = parameter({1}), twice = parameter({1});
    SGD sgd({once, twice}, {.lr = 0.125});
    set_gradient(once, {2});
    set_gradient(twice, {1});
    set_gradient(twice, {1});
    sgd.step();
    CHECK(once.item() == 0.75);
    CHECK(twice.item() == 0.75);
    sgd.zero_grad();
    CHECK(once.grad_data() == nullptr);
    CHECK(twice.grad_data() == nullptr);
}

TEST_CASE("optimizer: a step renews the version, so that caches and graphs notice it") {
    Tensor w = parameter({1, 2});
    Adam adam({w});
    set_gradient(w, {1, 1});
    const uint64_t before = w.version();
    const Tensor product = w * w;
    adam.step();
    CHECK(w.version() != before);
    CHECK_ERROR(backward(sum(product)), "mul", "changed");
}

TEST_CASE("optimizer: the same parameter given twice is an error, within a group or across") {
    Tensor w = parameter({1, 2});
    const Tensor same = w;
    CHECK_ERROR(SGD({w, same}), "optimizer", "(2)", "given twice");
    using Groups = std::vector<ParameterGroup<AdamOptions>>;
    CHECK_ERROR(Adam(Groups{{{w}, {}}, {{same}, {}}}), "optimizer", "given twice");
}

TEST_CASE("optimizer: the result of an op cannot be optimised") {
    Tensor w = parameter({1, 2});
    CHECK_ERROR(SGD({w + w}), "optimizer", "(2)", "result of an op", "leaves");
}

TEST_CASE("optimizer: no parameters at all are allowed; a step does nothing") {
    Adam adam(std::vector<Tensor>{});
    adam.step();
    adam.zero_grad();
    CHECK(adam.parameters().empty());
}

TEST_CASE("SGD: options that make no sense are errors that name them and the value") {
    const auto make = [](SGDOptions options) { SGD(std::vector<Tensor>{}, options); };
    CHECK_ERROR(make({.lr = std::nan("")}), "SGD", "lr = nan", "between 0 and");
    CHECK_ERROR(make({.lr = INFINITY}), "SGD", "lr = inf");
    CHECK_ERROR(make({.lr = -0.1}), "SGD", "lr = -0.1");
    CHECK_ERROR(make({.momentum = 1.5}), "SGD", "momentum = 1.5", "between 0 and 1");
    CHECK_ERROR(make({.momentum = -0.5}), "SGD", "momentum = -0.5");
    CHECK_ERROR(make({.weight_decay = -1}), "SGD", "weight_decay = -1");
    CHECK_ERROR(make({.nesterov = true}), "SGD", "nesterov", "momentum = 0");
    make({.lr = 0});  // a rate of 0 is a way to train nothing, not a mistake
    make({.momentum = 0.9, .nesterov = true});
}

TEST_CASE("Adam and AdamW: options that make no sense are errors under the right name") {
    const auto adam = [](AdamOptions options) { Adam(std::vector<Tensor>{}, options); };
    const auto adamw = [](AdamOptions options) { AdamW(std::vector<Tensor>{}, options); };
    CHECK_ERROR(adam({.lr = std::nan("")}), "Adam: ", "lr = nan");
    CHECK_ERROR(adam({.lr = -1}), "Adam: ", "lr = -1");
    CHECK_ERROR(adam({.beta1 = 1}), "Adam: ", "beta1 = 1;", "between 0 and 0.99999");
    CHECK_ERROR(adam({.beta1 = -0.1}), "Adam: ", "beta1 = -0.1");
    CHECK_ERROR(adam({.beta2 = 1}), "Adam: ", "beta2 = 1");
    CHECK_ERROR(adam({.beta2 = std::nan("")}), "Adam: ", "beta2 = nan");
    CHECK_ERROR(adam({.eps = -1e-8}), "Adam: ", "eps = -1e-08");
    CHECK_ERROR(adamw({.weight_decay = -0.01}), "AdamW: ", "weight_decay = -0.01");
    CHECK_ERROR(adamw({.lr = INFINITY}), "AdamW: ", "lr = inf");
    adam({.lr = 0, .beta1 = 0, .beta2 = 0});
}

}  // namespace slim
