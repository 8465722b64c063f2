// Training a language model on text, resuming it to the bit, and measuring it.
#include "optim/text_set.h"

#include <csignal>

#include "nn/adapters/adapt.h"
#include "nn/llama/llama.h"
#include "optim/adam.h"
#include "optim/schedule.h"
#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace slim {

namespace {

std::vector<int> counting_text() {
    std::vector<int> text;
    for (int i = 0; i < 300; i++) text.push_back(i * i % 7);
    return text;
}

// A run of 4 epochs of 5 steps with two passes each, which stops after the given step.
struct Run {
    std::vector<int> text = counting_text();
    Rng rng{1};
    LlamaForCausalLM model{{.vocab_size = 7, .hidden_size = 8, .intermediate_size = 12,
                            .num_hidden_layers = 1, .num_attention_heads = 2,
                            .num_key_value_heads = 1, .max_position_embeddings = 6}, &rng};
    AdapterSet adapters{model};
    std::unique_ptr<Adam> adam;
    TextSet set{text, 2, 6, 10};

    explicit Run(bool with_lora) {
        if (with_lora)
            adapters.add("a", {.rank = 2, .dropout = 0.2, .target_modules = {"q_proj"}}, rng);
        adam = std::make_unique<Adam>(model.parameters(), AdamOptions{.lr = 0.01});
    }
    TrainReport train(const std::string& file, bool resume, int64_t stop_after = 0) {
        TrainOptions options{.epochs = 4, .batch_size = 24, .accumulate = 2, .clip_norm = 1};
        options.schedule = [](int64_t step) {
            return cosine_with_warmup(step, {.warmup = 4, .total = 20});
        };
        options.checkpoint = file;
        if (resume) options.resume = file;
        options.show_progress = false;
        int64_t steps = 0;
        options.on_batch = [&](const BatchReport&) {
            if (++steps == stop_after) std::raise(SIGINT);
        };
        return slim::train(model, *adam, set, rng, options);
    }
};

}  // namespace

TEST_CASE("text: a stopped run goes on to the same bits, in full and with LoRA's dropout") {
    for (const bool with_lora : {false, true})
        for (const int64_t stop_after : {3, 5, 12}) {
            const ScratchFolder folder;
            Run whole(with_lora), first(with_lora), second(with_lora);
            whole.train("", false);
            CHECK(first.train(folder / "run", false, stop_after).interrupted);
            const TrainReport report = second.train(folder / "run", true);
            CHECK(report.steps == 20);
            const StateDict a = whole.model.state_dict(), b = second.model.state_dict();
            for (const auto& [name, tensor] : a) CHECK(same_bits(tensor, b.at(name)));
        }
}

TEST_CASE("text: a checkpoint of another text or of other windows is refused") {
    const ScratchFolder folder;
    Run first(false);
    first.train(folder / "run", false, 3);
    Run other(false);
    other.text[10] ^= 1;
    CHECK_ERROR(other.train(folder / "run", true), "another data", "fingerprint");
    CHECK(TextSet(first.text, 4, 3, 10).describe() != first.set.describe());
}

TEST_CASE("text: training lowers the held-out loss, which is the mean over every token") {
    Run run(false);
    const double before = text_loss(run.model, run.text, 6);
    CHECK(before == relative(std::log(7), 0.02));
    for (int i = 0; i < 5; i++) run.train("", false);
    CHECK(text_loss(run.model, run.text, 6) < before - 0.5);

    // By hand, token by token: 23 = 3 windows of 6 and one of 4 after the first id.
    const std::vector<int> text(run.text.begin(), run.text.begin() + 23);
    const NoGrad no_grad;
    double sum = 0;
    for (size_t first = 0; first < 22; first += 6)
        for (size_t i = first; i < std::min(first + 6, size_t(22)); i++) {
            const Tensor logits = run.model.lookup(std::span(text).subspan(first, i - first + 1));
            const Tensor p = log_softmax(logits);
            sum -= double(p.at({int64_t(i - first), text[i + 1]}));
        }
    CHECK(text_loss(run.model, text, 6) == relative(sum / 22, 1e-5));
    CHECK(run.model.training);
    CHECK_ERROR(text_loss(run.model, {1}, 6), "text_loss", "1 tokens");
    CHECK_ERROR(TextSet(text, 0, 6, 1), "TextSet", "0 windows");
}

}  // namespace slim
