// Adapters around an Embedding, on real text: the next byte from the sixteen bytes before it.
//
// Run: make tokens    (ARGS='--text FILE --adapt FILE' for texts of your own)
//
// A small network is pretrained on one text (the GNU General Public License, which every Debian and
// Ubuntu has) and adapted to another (the files of core/). LoRA goes around its Embedding and its
// Linear layers. Then the adapter is merged for inference, unmerged, and switched off.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <set>

#include "apps/program.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "core/storage.h"
#include "data/file.h"
#include "nn/activation.h"
#include "nn/adapters/adapt.h"
#include "nn/embedding.h"
#include "nn/recompute.h"
#include "nn/sequential.h"
#include "optim/clip.h"
#include "optim/lora_plus.h"

using namespace slim;

constexpr int64_t kContext = 16, kDim = 32, kHidden = 128, kVocabulary = 256;  // tokens are bytes

// ids [rows * kContext] -> logits [rows, kVocabulary]: a table of embeddings, a projection to
// kHidden values, three blocks that each add to them, and a head.
struct NextByte : Module {
    ModulePtr embedding, project, head;
    Sequential blocks{{}};
    bool recompute = false;  // keep nothing of a block; backward computes it again

    explicit NextByte(Rng& rng)
        : embedding(std::make_shared<Embedding>(kVocabulary, kDim, rng)),
          project(std::make_shared<Linear>(kContext * kDim, kHidden, rng)),
          head(std::make_shared<Linear>(kHidden, kVocabulary, rng)) {
        for (int i = 0; i < 3; i++)
            blocks.layers.push_back(std::make_shared<Sequential>(std::vector<ModulePtr>{
                std::make_shared<Linear>(kHidden, 2 * kHidden, rng), std::make_shared<Tanh>(),
                std::make_shared<Linear>(2 * kHidden, kHidden, rng)}));
    }
    std::string name() const override { return "NextByte"; }
    std::vector<Member> members() override {
        return {{"embedding", embedding}, {"project", project}, {"blocks", blocks}, {"head", head}};
    }
    Tensor lookup(std::span<const int> ids) override {
        Tensor h = (*project)(reshape(embedding->lookup(ids), {-1, kContext * kDim}));
        for (const ModulePtr& block : blocks.layers)
            h = h + (recompute ? checkpoint(*block, h) : (*block)(h));
        return (*head)(h);
    }
};

struct Text {
    std::vector<int> train, held_out;  // the last tenth is held out
};

// A file, or all files of a folder in alphabetical order.
static Text read_text(const std::string& path) {
    std::set<std::string> files{path};
    if (std::filesystem::is_directory(path)) {
        files.clear();
        for (const auto& entry : std::filesystem::directory_iterator(path))
            if (entry.is_regular_file()) files.insert(entry.path());
    }
    Text text;
    for (const std::string& file : files)
        for (unsigned char byte : read_file(file)) text.train.push_back(byte);
    const int64_t size = int64_t(text.train.size());
    check(size >= 100 * kContext, path, ": has ", size, " bytes; a text needs at least ",
          100 * kContext, ". hint: name a longer one with --text or --adapt");
    const auto cut = text.train.end() - size / 10;
    text.held_out.assign(cut, text.train.end());
    text.train.erase(cut, text.train.end());
    return text;
}

struct Windows {
    std::vector<int> ids, next;  // [rows * kContext], [rows]
};

static Windows windows_at(const std::vector<int>& text, const std::vector<int64_t>& starts) {
    Windows w;
    for (int64_t start : starts) {
        const auto first = text.begin() + start;
        w.ids.insert(w.ids.end(), first, first + kContext);
        w.next.push_back(first[kContext]);
    }
    return w;
}

// Mean loss over the held-out text, in nats per byte: guessing costs log(256) = 5.5.
static double held_out_loss(Module& model, const Text& text) {
    const NoGrad no_grad;
    const EvalMode eval_mode(model);
    std::vector<int64_t> starts(text.held_out.size() - size_t(kContext));
    std::iota(starts.begin(), starts.end(), 0);
    const Windows w = windows_at(text.held_out, starts);
    return cross_entropy(model.lookup(w.ids), w.next).item();
}

// Each step adds up the gradients of `passes` forward passes of `batch` windows each, and bounds
// their norm.
static void fit(NextByte& model, Optimizer& optimizer, const Text& text, int64_t steps,
                int64_t batch, int64_t passes, Rng& rng) {
    model.train();
    reset_peak_memory();
    double mean = 0;
    for (int64_t step = 1; step <= steps; step++) {
        optimizer.zero_grad();
        for (int64_t pass = 0; pass < passes; pass++) {
            std::vector<int64_t> starts((size_t(batch)));
            for (int64_t& start : starts) start = rng.below(int64_t(text.train.size()) - kContext);
            const Windows w = windows_at(text.train, starts);
            const Tensor loss = cross_entropy(model.lookup(w.ids), w.next);
            backward(scale(loss, 1 / double(passes)));
            mean += loss.item() * 5 / double(passes * steps);
        }
        const double norm = clip_gradient_norm(model.parameters(), 1);
        optimizer.step();
        if (step % (steps / 5) != 0) continue;
        std::printf("step %4ld  loss %.3f  gradient norm %.3f  memory %4ld KB, at most %4ld KB\n",
                    long(step), mean, norm, long(memory_use().live_bytes / 1024),
                    long(memory_use().peak_bytes / 1024));
        mean = 0;
    }
}

// Goes on writing after the first bytes of the held-out text.
static std::string continuation(Module& model, const Text& text, int64_t count, Rng rng) {
    const NoGrad no_grad;
    const EvalMode eval_mode(model);
    std::vector<int> ids(text.held_out.begin(), text.held_out.begin() + kContext);
    std::string written;
    for (int64_t i = 0; i < count; i++) {
        const Tensor p = softmax(2 * model.lookup(std::span(ids).last(kContext)));
        double left = rng.uniform();
        int byte = 0;
        while (byte < 255 && (left -= p.data()[byte]) > 0) byte++;
        ids.push_back(byte);
        written += byte < 32 || byte > 126 ? ' ' : char(byte);
    }
    return written;
}

static int tokens(int argc, char** argv) {
    std::string text_path = "/usr/share/common-licenses/GPL-3", adapt_path = "core";
    int64_t steps = 600, batch = 128, passes = 2, rank = 8, seed = 1;
    bool recompute = false;
    Options options("Pretrains a next-byte network on one text, adapts it to another with LoRA.");
    options.add("text", text_path, "file or folder to pretrain on", "PATH");
    options.add("adapt", adapt_path, "file or folder to adapt to", "PATH");
    options.add("steps", steps, "steps of pretraining; adapting takes half as many", 20, 1000000);
    options.add("batch", batch, "windows of text per forward pass", 1, 100000);
    options.add("accumulate", passes, "forward passes per step", 1, 1000);
    options.add("rank", rank, "rank of the adapters", 1, 1000);
    options.add("seed", seed, "seed of the random numbers", 0, 1e15);
    options.add("recompute", recompute, "gradient checkpointing of the blocks");
    options.parse_strict(argc, argv);
    const Text base_text = read_text(text_path), new_text = read_text(adapt_path);

    Rng rng{uint64_t(seed)};
    NextByte model(rng);
    model.recompute = recompute;
    std::printf("%s\n\npretraining on %s\n", to_string(model).c_str(), text_path.c_str());
    // Two groups: the table's gradient is dense, so decay would also shrink rows that a batch does
    // not even look up.
    const std::vector<Tensor> table = model.embedding->parameters();
    std::vector<Tensor> matrices = model.parameters();
    matrices.erase(matrices.begin());  // the table, which is described first
    AdamW adamw({{table, {.lr = 0.002, .weight_decay = 0}}, {matrices, {.lr = 0.002}}});
    fit(model, adamw, base_text, steps, batch, passes, rng);

    const auto report = [&](const char* what) {
        std::printf("%-22s %.3f on the first text, %.3f on the second\n", what,
                    held_out_loss(model, base_text), held_out_loss(model, new_text));
    };
    std::printf("\nheld-out loss, nats per byte:\n");
    report("pretrained");
    const std::string before = continuation(model, new_text, 70, rng);

    std::printf("\nadapting to %s\n", adapt_path.c_str());
    AdapterSet adapters(model);
    adapters.add("second", {.rank = rank, .alpha = 2 * double(rank),
                            .target_modules = {"embedding", "all-linear"}}, rng);
    std::printf("%s\n", trainable_report(model).c_str());
    AdamW adapter_adamw(lora_plus_groups(model, {.lr = 0.002}, 4));  // B learns 4 times as fast
    fit(model, adapter_adamw, new_text, steps / 2, batch, passes, rng);

    const auto seconds_per_call = [&] {
        const auto start = std::chrono::steady_clock::now();
        continuation(model, new_text, 2000, rng);
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    std::printf("\nheld-out loss, nats per byte:\n");
    report("adapter on");
    const std::string after = continuation(model, new_text, 70, rng);
    const double unmerged = seconds_per_call();
    adapters.merge();  // plain modules, for inference at the base's price
    report("adapter merged");
    std::printf("writing takes %.2f times as long merged\n", seconds_per_call() / unmerged);
    adapters.unmerge();
    adapters.disable();
    report("adapter off");
    std::printf("\nit writes, before: %s\nand after:         %s\n", before.c_str(), after.c_str());
    return 0;
}

int main(int argc, char** argv) { return run_program(argc, argv, tokens); }
