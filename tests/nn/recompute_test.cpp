// Gradient checkpointing: the same gradients to the bit, in less memory.
#include "nn/recompute.h"

#include "nn/activation.h"
#include "nn/adapt.h"
#include "nn/dropout.h"
#include "nn/sequential.h"
#include "tests/testing.h"

namespace slim {

namespace {

// A block with everything that could go wrong: dropout, adapters, a frozen base.
std::shared_ptr<Sequential> adapted_block(Method method, int64_t width = 11) {
    Rng rng(3);
    auto block = std::make_shared<Sequential>(std::vector<ModulePtr>{
        std::make_shared<Linear>(width, width, rng), std::make_shared<ReLU>(),
        std::make_shared<Dropout>(0.3, rng), std::make_shared<Linear>(width, width, rng)});
    attach(*block, {.method = method, .rank = 2, .alpha = 6, .dropout = 0.2}, rng);
    for (NamedParameter p : block->named_parameters())
        if (p.name.ends_with("lora.B")) copy_values(normal(p.tensor.shape(), 0, 1, rng), p.tensor);
    return block;
}

using Gradients = std::vector<std::vector<real>>;

// y and the gradients of x, if wanted, and of all trained parameters.
Gradients run(Module& block, Tensor x, bool with_checkpoint) {
    Rng rng(5);
    const Tensor y = with_checkpoint ? checkpoint(block, x) : block(x);
    backward(y, normal(y.shape(), 0, 1, rng));
    Gradients all{y.to_vector()};
    if (x.requires_grad()) all.push_back(x.grad().to_vector());
    for (Tensor p : block.parameters())
        if (p.requires_grad()) {
            REQUIRE(p.grad().defined());
            all.push_back(p.grad().to_vector());
        }
    return all;
}

}  // namespace

TEST_CASE("checkpoint: the same values and gradients to the bit, with dropout") {
    for (Method method : {Method::kLoRA, Method::kDoRA})
        for (bool x_needs_grad : {true, false}) {
            Rng rng(7);
            const Tensor x = random_tensor({5, 11}, rng, x_needs_grad);
            const Tensor same = clone(x.detach()).set_requires_grad(x_needs_grad);
            const Gradients plain = run(*adapted_block(method), x, false);
            CHECK(plain == run(*adapted_block(method), same, true));
        }
}

TEST_CASE("checkpoint: the same bits for a DoRA layer wide enough to be computed in one piece") {
    const Gradients plain = [] {
        Rng rng(7);
        return run(*adapted_block(Method::kDoRA, 512), random_tensor({3, 512}, rng), false);
    }();
    Rng rng(7);
    CHECK(plain ==
          run(*adapted_block(Method::kDoRA, 512), random_tensor({3, 512}, rng), true));
}

TEST_CASE("checkpoint: generators go on after the backward pass as if it had not drawn") {
    auto with = adapted_block(Method::kLoRA), without = adapted_block(Method::kLoRA);
    Rng rng(7);
    const Tensor x = random_tensor({5, 11}, rng);
    run(*with, x, true);
    run(*without, x, false);
    REQUIRE(with->rngs().size() == without->rngs().size());
    for (size_t i = 0; i < with->rngs().size(); i++)
        CHECK(with->rngs()[i]->state == without->rngs()[i]->state);
}

TEST_CASE("checkpoint: gradients check, also under NoGrad around backward") {
    Rng rng(2);
    Sequential block({std::make_shared<Linear>(3, 5, rng), std::make_shared<Tanh>()});
    check_gradients([&](const std::vector<Tensor>& in) { return checkpoint(block, in[0]); },
                    {random_tensor({2, 3}, rng)});
    const Tensor y = sum(checkpoint(block, random_tensor({2, 3}, rng)));
    NoGrad no_grad;
    backward(y);
    CHECK(block.parameters()[0].grad().defined());
}

TEST_CASE("checkpoint: lowers the peak of live memory") {
    Rng rng(2);
    std::vector<ModulePtr> plain, checkpointed;
    for (int i = 0; i < 8; i++) {
        ModulePtr block = std::make_shared<Sequential>(std::vector<ModulePtr>{
            std::make_shared<Linear>(4, 4, rng), std::make_shared<Tanh>(),
            std::make_shared<Sigmoid>(), std::make_shared<Tanh>()});
        plain.push_back(block);
        checkpointed.push_back(std::make_shared<Checkpointed>(block));
    }
    const auto peak = [&](const std::vector<ModulePtr>& layers) {
        Sequential model(layers);
        const Tensor x = normal({1000, 4}, 0, 1, rng);
        const int64_t before = memory_use().live_bytes;
        reset_peak_memory();
        backward(sum(model(x)));
        return memory_use().peak_bytes - before;
    };
    const int64_t all = peak(plain), less = peak(checkpointed);
    MESSAGE("peak of live bytes: ", all, " plain, ", less, " checkpointed");
    CHECK(less < all / 2);
}

TEST_CASE("checkpoint: a parameter changed before backward is an error") {
    Rng rng(2);
    Linear block(3, 2, rng);
    const Tensor y = sum(checkpoint(block, normal({4, 3}, 0, 1, rng)));
    block.weight.mutable_data()[0] = 1;
    CHECK_ERROR(backward(y), "checkpoint", "changed in place");
}

}  // namespace slim
