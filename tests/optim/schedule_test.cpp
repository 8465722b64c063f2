// Learning rate schedules, and the norm of the gradients.
#include "optim/schedule.h"

#include "nn/adapters/adapt.h"
#include "nn/sequential.h"
#include "optim/clip.h"
#include "optim/lora_plus.h"
#include "optim/sgd.h"
#include "tests/testing.h"

namespace slim {

TEST_CASE("step_decay: the factor falls after every so many steps") {
    CHECK(step_decay(0, {.every = 3, .gamma = 0.5}) == 1);
    CHECK(step_decay(2, {.every = 3, .gamma = 0.5}) == 1);
    CHECK(step_decay(3, {.every = 3, .gamma = 0.5}) == 0.5);
    CHECK(step_decay(6, {.every = 3, .gamma = 0.5}) == 0.25);
    CHECK_ERROR(step_decay(1, {.every = 0, .gamma = 0.5}), "step_decay", "0", "at least 1");
}

TEST_CASE("cosine_with_warmup: rises to 1, falls to 0, and stays there") {
    const Cosine options{.warmup = 4, .total = 12};
    CHECK(cosine_with_warmup(0, options) == 0);
    CHECK(cosine_with_warmup(1, options) == 0.25);
    CHECK(cosine_with_warmup(4, options) == 1);
    CHECK(cosine_with_warmup(8, options) == doctest::Approx(0.5));
    CHECK(cosine_with_warmup(12, options) == doctest::Approx(0));
    CHECK(cosine_with_warmup(99, options) == doctest::Approx(0));
    CHECK(cosine_with_warmup(0, {.warmup = 0, .total = 10}) == 1);
    CHECK_ERROR(cosine_with_warmup(0, {.warmup = 9, .total = 3}), "warmup = 9, total = 3");
}

TEST_CASE("fault: schedules: steps before the first are errors; after the end it stays 0") {
    CHECK_ERROR(cosine_with_warmup(-1, {.warmup = 4, .total = 12}), "cosine_with_warmup: step -1");
    CHECK_ERROR(cosine_with_warmup(-1, {.warmup = 0, .total = 12}), "step -1", "the first is 0");
    CHECK_ERROR(step_decay(-1, {.every = 3, .gamma = 0.5}), "step_decay: step -1");
    CHECK_ERROR(step_decay(1, {.every = 3, .gamma = -0.5}), "step_decay: gamma = -0.5");
    for (const int64_t step : {12, 13, 20, 1000000})
        CHECK(cosine_with_warmup(step, {.warmup = 4, .total = 12}) == 0);
}

TEST_CASE("lr_factor: multiplies the learning rate") {
    Tensor w = tensor({1}).set_requires_grad();
    SGD sgd({w}, {.lr = 0.5});
    sgd.lr_factor = 0.25;
    backward(sum(w));
    sgd.step();
    CHECK(w.item() == doctest::Approx(1 - 0.125));
}

TEST_CASE("clip_gradient_norm: scales all gradients by one factor, and only if need be") {
    Tensor a = tensor({0, 0}).set_requires_grad(), b = tensor({0}).set_requires_grad();
    Tensor untouched = tensor({5}).set_requires_grad();
    backward(sum(a * tensor({1, 2})) + sum(b * tensor({2})));
    CHECK(gradient_norm({a, b, untouched}) == doctest::Approx(3));
    CHECK(clip_gradient_norm({a, b, untouched}, 4) == doctest::Approx(3));
    CHECK(a.grad().to_vector() == std::vector<real>{1, 2});
    CHECK(clip_gradient_norm({a, b, untouched}, 1.5) == doctest::Approx(3));
    CHECK(gradient_norm({a, b}) == doctest::Approx(1.5));
    CHECK(a.grad().at({1}) == doctest::Approx(1));
    CHECK(!untouched.grad().defined());
    CHECK_ERROR(clip_gradient_norm({a}, 0), "clip_gradient_norm", "positive");
}

TEST_CASE("lora_plus: B is faster, m is not decayed, A and the rest are as they were") {
    Rng rng(1);
    MLP model(6, 5, 4, 3, rng);
    attach(model, {.method = Method::kDoRA, .rank = 2, .alpha = 6}, rng);
    const auto groups = lora_plus_groups(model, {.lr = 0.01, .weight_decay = 0.1}, 4);
    REQUIRE(groups.size() == 3);
    CHECK(groups[1].options.lr == doctest::Approx(0.04));
    CHECK(groups[1].options.weight_decay == 0.1);
    CHECK(groups[2].options.lr == 0.01);
    CHECK(groups[2].options.weight_decay == 0);
    CHECK(groups[1].parameters.size() == 3);
    CHECK(groups[2].parameters.size() == 3);
    for (const Tensor& B : groups[1].parameters) CHECK(B.size(1) == 2);  // [out, rank]
    for (const Tensor& m : groups[2].parameters) CHECK(m.dim() == 1);
    AdamW adam(groups);
    CHECK(adam.parameters().size() == 15);  // A, B and m of three layers, and the frozen base
    CHECK_ERROR(lora_plus_groups(model, {}, 0), "lora_plus", "positive");
}

}  // namespace slim
