// The code of the five texts that slimgrad follows, snippet by snippet, in C++.
//
//     1  "LoRA and DoRA Implementation in PyTorch" (a README)
//     2  "DoRA: Weight-Decomposed Low-Rank Adaptation" (a README)
//     3  "LoRA and DoRA Implementation from Scratch" (a README, with a PEFT example)
//     4  "PyTorch LoRA Implementation" (a README, with Embedding)
//     5  the notebook: apps/notebook.cpp has its cells, tests/apps/notebook_test.cpp runs them
//
// What cannot be had, and why:
//     pip install, git clone, jupyter (1, 2): commands of the shell; README.md has ours
//     device = cuda, model.to(device) (5): there is the CPU only
//     download=True (5): make data
//     x @ lora_A on integer ids (4): ids are no matrix; the rows of A are looked up instead
//     B @ A where A is [in, rank] and B [rank, out] (4): the shapes do not fit; A @ B does
#include <sstream>

#include "nn/adapters/dora.h"
#include "nn/adapters/embedding_adapter.h"
#include "nn/peft/peft.h"
#include "nn/sequential.h"
#include "optim/adam.h"
#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace slim {

TEST_CASE("fault: source 1: a layer with LoRA, with DoRA, the same numbers at first") {
    Rng rng(123);
    const auto layer = std::make_shared<Linear>(10, 2, rng);
    const Tensor x = normal({1, 10}, 0, 1, rng);
    LinearWithLoRA layer_lora(layer, tutorial_preset(2, 4), rng);
    LinearWithDoRAMerged layer_dora(layer, tutorial_preset(2, 4), rng);
    CHECK(same_bits(layer_lora(x), (*layer)(x)));
    CHECK(largest_difference(layer_dora(x), (*layer)(x)) < 1e-6);
}

TEST_CASE("fault: source 1: an MLP, its Linears exchanged, frozen, listed, printed") {
    Rng rng(1);
    MLP model(784, 128, 256, 10, rng);
    model.layers[0] = std::make_shared<LinearWithLoRA>(model.layers[0], tutorial_preset(4, 8), rng);
    model.layers[2] = std::make_shared<LinearWithLoRA>(model.layers[2], tutorial_preset(4, 8), rng);
    model.layers[4] = std::make_shared<LinearWithLoRA>(model.layers[4], tutorial_preset(4, 8), rng);
    freeze_linear_layers(model);
    std::ostringstream out;
    for (const NamedParameter& p : model.named_parameters())
        out << p.name << ": " << (p.tensor.requires_grad() ? "True" : "False") << "\n";
    out << model;
    check_words(out.str(), {"layers.0.linear.weight: False", "layers.0.lora.A: True",
                            "layers.4.lora.B: True", "(2): LinearWithLoRA(",
                            "(linear): Linear(in_features=128, out_features=256, bias=True)"});
}

TEST_CASE("fault: source 2: W + alpha B A, and m (W + alpha B A) / |W + alpha B A|") {
    Rng rng(1);
    const auto layer = std::make_shared<Linear>(5, 3, rng);
    LinearWithLoRA lora(layer, tutorial_preset(2, 4), rng);
    LinearWithDoRA dora(layer, tutorial_preset(2, 4), rng);
    for (LoRALayer* adapter : {&lora.lora, &dora.lora})
        copy_values(normal({3, 2}, 0, 1, rng), adapter->B);
    const auto updated = [&](const LoRALayer& l) { return layer->weight + 4 * matmul(l.B, l.A); };
    const Tensor x = normal({4, 5}, 0, 1, rng), V = updated(dora.lora);
    CHECK(largest_difference(lora(x), linear(x, updated(lora.lora), layer->bias)) < 1e-5);
    CHECK(largest_difference(dora(x), linear(x, mul_row(V, dora.m / norm(V, 0)), layer->bias)) <
          1e-5);
}

// What source 3 adapts: an attention layer's q, k and v.
struct Attention : Module {
    ModulePtr q, k, v;
    explicit Attention(Rng& rng)
        : q(std::make_shared<Linear>(64, 64, rng)), k(std::make_shared<Linear>(64, 64, rng)),
          v(std::make_shared<Linear>(64, 64, rng)) {}
    std::string name() const override { return "Attention"; }
    std::vector<Member> members() override { return {{"q", q}, {"k", k}, {"v", v}}; }
    Tensor forward(const Tensor& x) override { return (*q)(x) + (*k)(x) + (*v)(x); }
};

TEST_CASE("fault: source 3: PEFT's LoraConfig for q and v, and get_peft_model") {
    Rng rng(1);
    Attention model(rng);
    const AdapterConfig lora_config{
        .rank = 32, .alpha = 32, .dropout = 0.05,
        .target_modules = {"q", "v"},
    };
    attach(model, lora_config, rng);
    CHECK(model.q->name() == "LinearWithLoRA");
    CHECK(model.k->name() == "Linear");
    CHECK(model.v->name() == "LinearWithLoRA");
    CHECK(count_parameters(model).trainable == 2 * 2 * 32 * 64);
}

TEST_CASE("fault: source 4: an Embedding and a Linear with LoRA, trained with two groups") {
    Rng rng(1);
    const int64_t vocab_size = 500, embed_dim = 24;
    // embedding = Embedding(vocab_size, embed_dim, rank=16, alpha=32); its scaling is alpha / rank
    EmbeddingWithLoRA embedding(vocab_size, embed_dim, {.rank = 16, .alpha = 32}, rng);
    // linear = LinearWithLoRA(fan_in, fan_out, rank=16, alpha=32, bias=True)
    LinearWithLoRA linear(embed_dim, embed_dim, {.rank = 16, .alpha = 32}, rng, true);
    CHECK(embedding.lora.scaling() == 2);
    CHECK(linear.lora.scaling() == 2);

    AdamW optimizer({{embedding.parameters(), {.lr = 1e-2}}, {linear.parameters(), {.lr = 1e-2}}});
    const std::vector<int> input_ids{3, 1, 4, 1, 5}, labels{1, 4, 1, 5, 9};
    double first = 0, last = 0;
    for (int epoch = 0; epoch < 30; epoch++) {
        optimizer.zero_grad();
        const Tensor embeds = embedding.lookup(input_ids);
        const Tensor output = linear(embeds);
        const Tensor loss = cross_entropy(output, labels);
        backward(loss);
        optimizer.step();
        (epoch == 0 ? first : last) = loss.item();
    }
    CHECK(last < first / 4);

    // merge_weights: W + (alpha / rank) B A, in a module beside the untouched base.
    const Tensor x = embedding.lookup(input_ids);
    CHECK(largest_difference(linear.merged()->forward(x), linear(x)) < 1e-4);
    CHECK(largest_difference(embedding.merged()->lookup(input_ids), x) < 1e-4);
}

TEST_CASE("fault: source 4: a wrapper for both kinds of layer, and the Embedding's options") {
    Rng rng(1);
    Sequential model({std::make_shared<Embedding>(50, 8, rng),
                      std::make_shared<Linear>(8, 8, rng)});
    attach(model, {.rank = 4, .dropout = 0.1, .target_modules = {"0", "1"}}, rng);
    CHECK(model[0]->name() == "EmbeddingWithLoRA");
    CHECK(model[1]->name() == "LinearWithLoRA");
    // reset_parameters(): A from N(0, 0.02), B zero
    EmbeddingWithLoRA started(50, 8, {.rank = 4, .init = InitA::kTutorial}, rng,
                              {.padding_idx = 0, .max_norm = 2, .norm_type = 2,
                               .scale_grad_by_freq = false, .sparse = true});
    for (real b : started.lora.B.to_vector()) CHECK(b == 0);
}

// The text between the marks, for each pair of them.
static std::vector<std::string> blocks_of(const std::string& text, const std::string& begin,
                                          const std::string& end) {
    std::vector<std::string> blocks;
    for (size_t at = text.find(begin); at != std::string::npos; at = text.find(begin, at)) {
        at += begin.size();
        const size_t stop = text.find(end, at);
        blocks.push_back(text.substr(at, stop - at));
    }
    return blocks;
}

TEST_CASE("fault: the README's cells beside Python are those of the notebook") {
    const std::string notebook = text_of("apps/notebook.cpp");
    const std::vector<std::string> blocks = blocks_of(text_of("README.md"), "```cpp\n", "```");
    REQUIRE(blocks.size() >= 2);
    for (size_t i : {0, 1}) {
        INFO(blocks[i]);
        CHECK(notebook.find(blocks[i]) != std::string::npos);
    }
}

}  // namespace slim
