// Gradient checkpointing: the same gradients to the bit, in less memory.
#include "nn/recompute.h"

#include "nn/activation.h"
#include "nn/adapters/adapt.h"
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

TEST_CASE("checkpoint: the same bits for a wide DoRA layer") {
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

// Adds a tensor from outside, which is no parameter; throws in its second run if asked to.
struct AddOutside : Module {
    Tensor h;
    int runs = 0, throw_in_run = 0;
    std::string name() const override { return "AddOutside"; }
    Tensor forward(const Tensor& x) override {
        check(++runs != throw_in_run, "AddOutside: on purpose");
        return h.defined() ? x + h : x;
    }
};

TEST_CASE("fault: checkpoint: what the block captures from outside gets its gradient") {
    Tensor w = tensor({1, 2}).set_requires_grad();
    const Tensor x = tensor({3, 4});
    AddOutside block;
    SUBCASE("the result of an op, used elsewhere too") {
        block.h = w * w;
        backward(sum(checkpoint(block, x)) + sum(block.h));
        CHECK(w.grad().to_vector() == std::vector<real>{4, 8});
    }
    SUBCASE("the result of an op, used here alone") {
        block.h = w * w;
        backward(sum(checkpoint(block, x)));
        CHECK(w.grad().to_vector() == std::vector<real>{2, 4});
    }
    SUBCASE("a leaf") {
        block.h = w;
        backward(sum(3 * checkpoint(block, x)));
        CHECK(w.grad().to_vector() == std::vector<real>{3, 3});
    }
    SUBCASE("nothing: a block that returns its input") {
        backward(sum(checkpoint(block, w * w)));
        CHECK(w.grad().to_vector() == std::vector<real>{2, 4});
    }
    SUBCASE("in two blocks in turn") {
        AddOutside second;
        block.h = second.h = w * w;
        backward(sum(checkpoint(second, checkpoint(block, w))));
        CHECK(w.grad().to_vector() == std::vector<real>{5, 9});
    }
}

TEST_CASE("fault: checkpoint: an error in the second run leaves modes and generators alone") {
    Rng rng(1);
    auto thrower = std::make_shared<AddOutside>();
    auto drop = std::make_shared<Dropout>(0.5, rng);
    Sequential block({drop, thrower});
    Tensor x = ones({100}).set_requires_grad();
    const Tensor y = checkpoint(block, x);
    block.eval();
    const uint64_t state = drop->rng.state;
    thrower->throw_in_run = 2;
    CHECK_ERROR(backward(sum(y)), "on purpose");
    CHECK(!drop->training);
    CHECK(!thrower->training);
    CHECK(drop->rng.state == state);
}

TEST_CASE("fault: checkpoint: each module runs again in the mode that it had") {
    Rng rng(1);
    auto frozen = std::make_shared<Dropout>(0.5, rng), active = std::make_shared<Dropout>(0.5, rng);
    Sequential block({active, frozen});
    frozen->eval();
    Tensor x = ones({100}).set_requires_grad();
    const Tensor y = checkpoint(block, x);
    backward(sum(y));
    CHECK(x.grad().to_vector() == y.to_vector());  // y = mask x with x = 1
    CHECK(active->training);
    CHECK(!frozen->training);
}

TEST_CASE("fault: checkpoint: a mode that changes before backward does not reach the second run") {
    Rng rng(2);
    Dropout dropout(0.5, rng);
    Tensor x = ones({100}).set_requires_grad();
    const Tensor y = checkpoint(dropout, x);
    dropout.eval();
    const uint64_t state = dropout.rngs()[0]->state;
    backward(sum(y));
    CHECK(x.grad().to_vector() == y.to_vector());  // y = mask x with x = 1
    CHECK(!dropout.training);
    CHECK(dropout.rngs()[0]->state == state);
}

}  // namespace slim
