// What a training step costs: the calls of gemm and their work, counted against a list of the
// products that the mathematics asks for, and memory asked of the system, which is none.
#include "core/gemm.h"
#include "nn/adapters/adapt.h"
#include "nn/sequential.h"
#include "optim/adam.h"
#include "tests/testing.h"

namespace slim {

namespace {

constexpr int64_t kBatch = 64, kRank = 4;

// One step of MNIST's perceptron on one batch, to be taken repeatedly.
struct Steps {
    Rng rng{1};
    MLP model{784, 128, 256, 10, rng};
    std::unique_ptr<Adam> adam;
    Tensor x = random_tensor({kBatch, 784}, rng, false);
    std::vector<int> labels = std::vector<int>(size_t(kBatch), 3);

    void adapt(AdapterConfig config) {
        config.rank = kRank;
        attach(model, config, rng);
    }
    void take() {
        if (!adam) adam = std::make_unique<Adam>(model.parameters());
        adam->zero_grad();
        backward(cross_entropy(model(x), labels));
        adam->step();
    }
};

// Adds up the products that a layer [out, in] needs, by name.
struct Expected {
    GemmCount count;
    void product(int64_t m, int64_t n, int64_t k) {
        count.calls++;
        count.flops += 2 * m * n * k;
    }
    void linear(int64_t in, int64_t out, bool dx, bool dW) {
        product(kBatch, out, in);          // x W^T
        if (dx) product(kBatch, in, out);  // dy W
        if (dW) product(out, in, kBatch);  // dy^T x
    }
    void lora(int64_t in, int64_t out, bool dx) {
        linear(in, out, dx, false);
        product(kRank, kBatch, in), product(kBatch, out, kRank);  // h = A x^T, h^T B^T
        product(kRank, out, kBatch);                              // dB^T = h dy
        product(kRank, kBatch, out), product(kRank, in, kBatch);  // dh = B^T dy^T, dA = dh x
        if (dx) product(kBatch, in, kRank);                       // dh^T A
    }
    void dora(int64_t in, int64_t out, bool dx, Axis axis, NormGradient gradient) {
        lora(in, out, dx || axis == Axis::kIn);  // per input, m needs dx even in the first layer
        const bool per_output = axis == Axis::kOut;
        const int64_t count = per_output ? out : in, other = per_output ? in : out;
        product(kRank, count, other);                                // A W^T, or B^T W
        product(kRank, kRank, other), product(kRank, count, kRank);  // gram, gram K
        if (gradient == NormGradient::kDetached) return;
        product(kRank, other, count);                                // Q W, or W Q^T
        product(kRank, kRank, count), product(kRank, other, kRank);  // (Q B) A, or B (A Q^T)
    }
};

void check_step(Steps& steps, const Expected& want) {
    for (int i = 0; i < 2; i++) steps.take();  // warm up
    const GemmCount before = gemm_count();
    const int64_t misses = memory_use().pool_misses;
    for (int i = 0; i < 10; i++) steps.take();
    CHECK(gemm_count().calls - before.calls == 10 * want.count.calls);
    CHECK(gemm_count().flops - before.flops == 10 * want.count.flops);
    CHECK(memory_use().pool_misses == misses);
}

}  // namespace

TEST_CASE("a step of full training: 8 products, and no memory asked of the system") {
    Steps steps;
    Expected want;
    want.linear(784, 128, false, true), want.linear(128, 256, true, true);
    want.linear(256, 10, true, true);
    REQUIRE(want.count.calls == 8);
    check_step(steps, want);
}

TEST_CASE("a step with the first layer frozen: nothing is computed to reach it") {
    Steps steps;
    for (NamedParameter p : steps.model.named_parameters())
        if (p.name.starts_with("layers.0.")) p.tensor.set_requires_grad(false);
    Expected want;
    want.linear(784, 128, false, false), want.linear(128, 256, false, true);
    want.linear(256, 10, true, true);
    check_step(steps, want);
}

TEST_CASE("a step of LoRA: no gradient of a frozen weight, no memory asked of the system") {
    Steps steps;
    steps.adapt({});
    Expected want;
    want.lora(784, 128, false), want.lora(128, 256, true), want.lora(256, 10, true);
    check_step(steps, want);
}

TEST_CASE("a step of DoRA: LoRA's products and the norms', no memory asked of the system") {
    for (const Axis axis : {Axis::kOut, Axis::kIn})
        for (const NormGradient gradient : {NormGradient::kExact, NormGradient::kDetached}) {
            Steps steps;
            steps.adapt({.method = Method::kDoRA, .axis = axis, .norm_gradient = gradient});
            Expected want;
            want.dora(784, 128, false, axis, gradient), want.dora(128, 256, true, axis, gradient);
            want.dora(256, 10, true, axis, gradient);
            check_step(steps, want);
        }
}

}  // namespace slim
