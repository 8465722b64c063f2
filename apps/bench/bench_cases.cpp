// The pieces of work that bench times, and the list of cases. See bench_cases.h.
#include "apps/bench/bench_cases.h"

#include <algorithm>  // copy_n, max, min
#include <memory>

#include "core/autograd.h"
#include "core/gemm.h"
#include "core/ops.h"
#include "core/random.h"
#include "core/transformer.h"
#include "data/batches.h"
#include "nn/adapters/adapt.h"
#include "nn/embedding.h"
#include "nn/llama/llama.h"
#include "nn/sequential.h"
#include "optim/adam.h"

namespace slim {

namespace {

// ---- floors: the matrix products alone ----------------------------------------------------------

enum Product { kAB, kABt, kAtB };  // which operand is transposed

// One call of gemm on buffers of its own: C [m, n], sums of k terms.
Work product(Product form, int64_t m, int64_t n, int64_t k) {
    Rng rng(1);
    const Tensor a = normal(form == kAtB ? Shape{k, m} : Shape{m, k}, 0, 1, rng);
    const Tensor b = normal(form == kABt ? Shape{n, k} : Shape{k, n}, 0, 1, rng);
    Tensor c({m, n});
    return [=]() mutable {
        gemm(form == kAtB ? view(a).t() : view(a), form == kABt ? view(b).t() : view(b),
             overwrite(c));
    };
}

Work all_of(std::vector<Work> parts) {
    return [parts] {
        for (const Work& part : parts) part();
    };
}

// The optimiser alone, on gradients that stay.
Work adam_step(int64_t size) {
    Rng rng(1);
    Tensor w = normal({size}, 0, 1, rng).set_requires_grad();
    backward(sum(w));
    auto adam = std::make_shared<Adam>(std::vector<Tensor>{w});
    return [=] { adam->step(); };
}

// What full training of a chain of Linear layers needs: y, dW, dx for all but the first, and Adam.
Work floor_of_training(const std::vector<int64_t>& sizes, int64_t batch) {
    std::vector<Work> parts;
    int64_t parameters = 0;
    for (size_t i = 0; i + 1 < sizes.size(); i++) {
        const int64_t in = sizes[i], out = sizes[i + 1];
        parts.push_back(product(kABt, batch, out, in));
        parts.push_back(product(kAtB, out, in, batch));
        if (i > 0) parts.push_back(product(kAB, batch, in, out));
        parameters += out * in + out;
    }
    parts.push_back(adam_step(parameters));
    return all_of(parts);
}

// What a frozen Linear between two others needs: y and dx.
Work floor_of_frozen(int64_t width, int64_t batch) {
    return all_of({product(kABt, batch, width, width),
                   product(kAB, batch, width, width)});
}

// ---- steps --------------------------------------------------------------------------------------

enum class What { kFull, kFrozen, kLoRA, kDoRAMerged, kDoRA };

AdapterConfig config_for(What what, int64_t rank, Axis axis, NormGradient gradient) {
    AdapterConfig config{.rank = rank, .alpha = 8, .axis = axis, .norm_gradient = gradient};
    config.method = what == What::kLoRA   ? Method::kLoRA
                    : what == What::kDoRA ? Method::kDoRA
                                          : Method::kDoRAMerged;
    return config;
}

// Pixels as sparse as those of digits; with a dark border, only in the middle 20 x 20.
DataSet random_images(int64_t count, bool dark_border = false) {
    Rng rng(1);
    DataSet set{Bytes(size_t(count * 784)), Bytes(size_t(count)), count, 28, 28};
    for (int64_t i = 0; i < count * 784; i++) {
        const int64_t row = i % 784 / 28, col = i % 28;
        const bool dark = dark_border && (std::min(row, col) < 4 || std::max(row, col) >= 24);
        if (!dark && rng.uniform() < 0.2) set.pixels[size_t(i)] = uint8_t(rng.below(256));
    }
    for (uint8_t& label : set.labels) label = uint8_t(rng.below(10));
    return set;
}

// The MNIST perceptron and Adam.
struct Training {
    MLP model;
    std::unique_ptr<Adam> adam;

    explicit Training(What what = What::kFull, Axis axis = Axis::kOut,
                      NormGradient gradient = NormGradient::kExact)
        : Training(what, axis, gradient, Rng(1)) {}

    Training(What what, Axis axis, NormGradient gradient, Rng rng) : model(784, 128, 256, 10, rng) {
        if (what != What::kFull) attach(model, config_for(what, 4, axis, gradient), rng);
        adam = std::make_unique<Adam>(model.parameters(), AdamOptions{.lr = 0.005});
    }

    void step(const Batch& batch) {
        adam->zero_grad();
        backward(cross_entropy(model(batch.x), batch.labels));
        adam->step();
    }

    void epoch(Batches& batches) {
        for (Batch batch; batches.next(batch);) step(batch);
    }
};

// A step on one batch that stays.
Work mnist_step(What what, int64_t batch = 64, Axis axis = Axis::kOut,
                NormGradient gradient = NormGradient::kExact) {
    auto training = std::make_shared<Training>(what, axis, gradient);
    const Batch data = batch_of(random_images(batch), 0, batch);
    return [=] { training->step(data); };
}

// A step of a training that has gone on for so many. After the first batch the border stays dark,
// as MNIST's does for most of an epoch. Adam's averages of its gradients shrink with each step, and
// from step 900 on they are "denormal", so small that the processor takes much longer over each
// unless it is told to flush them to zero, as every program here does.
Work step_after(int64_t steps) {
    auto training = std::make_shared<Training>();
    training->step(batch_of(random_images(64), 0, 64));
    const DataSet images = random_images(6400, true);
    std::vector<Batch> batches;
    for (int64_t i = 0; i < 100; i++) batches.push_back(batch_of(images, 64 * i, 64));
    for (int64_t i = 1; i < steps; i++) training->step(batches[size_t(i % 100)]);
    return [=]() mutable { training->step(batches[size_t(steps++ % 100)]); };
}

// Forward and backward of one wide layer in the middle of a model: x wants a gradient.
Work wide_step(What what, int64_t width, int64_t batch, int64_t rank, Axis axis = Axis::kOut,
               NormGradient gradient = NormGradient::kExact) {
    Rng rng(1);
    auto model = std::make_shared<Sequential>(
        std::vector<ModulePtr>{std::make_shared<Linear>(width, width, rng)});
    if (what == What::kFrozen) freeze_linear_layers(*model);
    else if (what != What::kFull) attach(*model, config_for(what, rank, axis, gradient), rng);
    Tensor x = normal({batch, width}, 0, 1, rng).set_requires_grad();
    const Tensor dy = normal({batch, width}, 0, 1, rng);
    return [=]() mutable {
        x.zero_grad();
        model->zero_grad();
        backward((*model)(x), dy);
    };
}

// The same layer in evaluation. cold: its numbers are touched before each call, so that a cached
// norm does not count.
Work wide_evaluation(What what, int64_t width, int64_t batch, int64_t rank, bool cold = false) {
    Rng rng(1);
    auto model = std::make_shared<Sequential>(
        std::vector<ModulePtr>{std::make_shared<Linear>(width, width, rng)});
    attach(*model, config_for(what, rank, Axis::kOut, NormGradient::kExact), rng);
    model->eval();
    const Tensor x = normal({batch, width}, 0, 1, rng);
    std::vector<Tensor> trained;
    for (Tensor p : model->parameters())
        if (p.requires_grad()) trained.push_back(p);
    return [=]() mutable {
        NoGrad no_grad;
        if (cold) trained[0].mutable_data();
        (*model)(x);
    };
}

Work epoch_of_batches(bool shuffled) {
    auto images = std::make_shared<DataSet>(random_images(6400));
    auto rng = std::make_shared<Rng>(1);
    auto batches = std::make_shared<Batches>(*images, 64);
    return [=, keep = images] {
        if (shuffled) batches->shuffle(*rng);
        else batches->in_order();
        for (Batch batch; batches->next(batch);) {
        }
    };
}

Work hundred_steps_on_data(bool shuffled) {
    auto images = std::make_shared<DataSet>(random_images(6400));
    auto order = std::make_shared<Rng>(1);
    auto batches = std::make_shared<Batches>(*images, 64);
    auto training = std::make_shared<Training>();
    return [=, keep = images] {
        if (shuffled) batches->shuffle(*order);
        else batches->in_order();
        training->epoch(*batches);
    };
}

Work embedding_step(bool sparse) {
    Rng rng(1);
    auto table = std::make_shared<Embedding>(20000, 64, rng, EmbeddingOptions{.sparse = sparse});
    auto adam = std::make_shared<Adam>(table->parameters());
    std::vector<int> ids;
    for (int i = 0; i < 256; i++) ids.push_back(int(rng.below(20000)));
    return [=] {
        adam->zero_grad();
        backward(sum(table->lookup(ids)));
        adam->step();
    };
}

// Adam reads the gradient and changes w, m and v. Copying as many numbers as it writes moves almost
// as much memory: 6 numbers for each of its 7.
Work three_copies(int64_t size) {
    Tensor w = zeros({size}), m = zeros({size}), v = zeros({size});
    const Tensor g = zeros({size});
    return [=]() mutable {
        std::copy_n(g.data(), size, m.mutable_data());
        std::copy_n(m.data(), size, v.mutable_data());
        std::copy_n(v.data(), size, w.mutable_data());
    };
}

// ---- a Llama: build/gpt's default model, 16 windows of 128 bytes --------------------------------

constexpr int64_t kWindows = 16, kTime = 128, kHeads = 4, kHeadDim = 32;

// The products of attention, forward and backward, in strips of 32 rows: only up to the diagonal.
Work floor_of_attention(int64_t layers) {
    std::vector<Work> strips;
    for (int64_t keys = 32; keys <= kTime; keys += 32) {
        strips.push_back(product(kABt, 32, keys, kHeadDim));     // scores
        strips.push_back(product(kAB, 32, kHeadDim, keys));      // y
        strips.push_back(product(kAtB, keys, kHeadDim, 32));     // dv
        strips.push_back(product(kABt, 32, keys, kHeadDim));     // dP
        strips.push_back(product(kAB, 32, kHeadDim, keys));      // dq
        strips.push_back(product(kAtB, keys, kHeadDim, 32));     // dk
    }
    const Work head = all_of(strips);
    return [=] {
        for (int64_t i = 0; i < layers * kWindows * kHeads; i++) head();
    };
}

// What training all parameters needs: the products of every Linear and of attention, and Adam.
Work floor_of_llama() {
    const int64_t rows = kWindows * kTime;
    std::vector<Work> parts{floor_of_attention(4), adam_step(869504)};
    const auto linear = [&](int64_t in, int64_t out, int times) {
        const Work work = all_of({product(kABt, rows, out, in), product(kAtB, out, in, rows),
                                  product(kAB, rows, in, out)});
        for (int i = 0; i < times; i++) parts.push_back(work);
    };
    linear(128, 128, 16);
    linear(128, 352, 8);
    linear(352, 128, 4);
    linear(128, 256, 1);
    return all_of(parts);
}

Work llama_step(What what) {
    Rng rng(1);
    auto model = std::make_shared<LlamaForCausalLM>(LlamaConfig(), &rng);
    if (what != What::kFull) {
        AdapterConfig config = config_for(what, 8, Axis::kOut, NormGradient::kExact);
        config.exclude_modules = {"lm_head"};
        attach(*model, config, rng);
    }
    auto adam = std::make_shared<Adam>(model->parameters(), AdamOptions{.lr = 1e-4});
    std::vector<int> ids, next;
    for (int64_t i = 0; i < kWindows * kTime; i++) {
        ids.push_back(int(rng.below(256)));
        next.push_back(int(rng.below(256)));
    }
    return [=] {
        adam->zero_grad();
        backward(cross_entropy(model->lookup(ids), next));
        adam->step();
    };
}

// Attention alone, forward and backward, once per layer.
Work llama_attention() {
    Rng rng(1);
    const Shape shape{kWindows * kTime, kHeads * kHeadDim};
    std::vector<Tensor> x;
    for (int i = 0; i < 3; i++) x.push_back(normal(shape, 0, 1, rng).set_requires_grad());
    const Tensor dy = normal(shape, 0, 1, rng);
    return [=]() mutable {
        for (int layer = 0; layer < 4; layer++) {
            for (Tensor& input : x) input.zero_grad();
            backward(causal_attention(x[0], x[1], x[2], kHeads, kHeads, kTime), dy);
        }
    };
}

}  // namespace

// ---- the list -----------------------------------------------------------------------------------

static std::string per(Axis axis) { return axis == Axis::kOut ? " per output" : " per input"; }

std::vector<Case> all_cases() {
    const std::vector<int64_t> mlp{784, 128, 256, 10};
    std::vector<Case> cases;
    const auto add = [&](const char* group, std::string a, std::string b,
                         std::function<Work()> make_a, std::function<Work()> make_b) {
        cases.push_back({group, std::move(a), std::move(b), std::move(make_a), std::move(make_b)});
    };
    const auto mlp_floor = [mlp] { return floor_of_training(mlp, 64); };
    const auto lora = [] { return mnist_step(What::kLoRA); };
    add("mnist", "full", "floor", [] { return mnist_step(What::kFull); }, mlp_floor);
    add("mnist", "LoRA", "floor", lora, mlp_floor);
    add("mnist", "full", "LoRA", [] { return mnist_step(What::kFull); }, lora);
    for (Axis axis : {Axis::kOut, Axis::kIn}) {
        const std::string name = per(axis);
        for (NormGradient g : {NormGradient::kExact, NormGradient::kDetached})
            add("mnist", "DoRA" + name + (g == NormGradient::kExact ? "" : ", detached"), "LoRA",
                [=] { return mnist_step(What::kDoRA, 64, axis, g); }, lora);
        add("mnist", "DoRA merged" + name, "LoRA",
            [=] { return mnist_step(What::kDoRAMerged, 64, axis); }, lora);
    }
    add("gpt", "full", "floor", [] { return llama_step(What::kFull); }, floor_of_llama);
    add("gpt", "attention", "full", llama_attention, [] { return llama_step(What::kFull); });
    add("gpt", "LoRA", "full", [] { return llama_step(What::kLoRA); },
        [] { return llama_step(What::kFull); });
    add("gpt", "DoRA per output", "LoRA", [] { return llama_step(What::kDoRA); },
        [] { return llama_step(What::kLoRA); });
    struct Wide {
        int64_t width, batch, rank;
    };
    const std::vector<Wide> wide{{1024, 64, 8}, {2048, 128, 16}, {4096, 128, 16}};
    for (const Wide& w : wide) {
        const std::string size = std::to_string(w.width) + ": ";
        const auto frozen = [w] { return wide_step(What::kFrozen, w.width, w.batch, 1); };
        add("wide", size + "frozen", "floor", frozen,
            [w] { return floor_of_frozen(w.width, w.batch); });
        add("wide", size + "LoRA", "frozen",
            [w] { return wide_step(What::kLoRA, w.width, w.batch, w.rank); }, frozen);
        for (Axis axis : {Axis::kOut, Axis::kIn}) {
            const std::string name = per(axis);
            add("wide", size + "DoRA" + name, "frozen",
                [=] { return wide_step(What::kDoRA, w.width, w.batch, w.rank, axis); }, frozen);
            if (axis == Axis::kOut)
                add("wide", size + "DoRA" + name + ", detached", "frozen",
                    [=] {
                        return wide_step(What::kDoRA, w.width, w.batch, w.rank, axis,
                                         NormGradient::kDetached);
                    },
                    frozen);
            add("wide", size + "DoRA merged" + name, "frozen",
                [=] { return wide_step(What::kDoRAMerged, w.width, w.batch, w.rank, axis); },
                frozen);
        }
    }
    for (int64_t batch : {1, 4, 16, 64, 256, 1024})
        add("batch", "full, batch " + std::to_string(batch), "floor",
            [=] { return mnist_step(What::kFull, batch); },
            [=] { return floor_of_training(mlp, batch); });
    for (int64_t width : {64, 128, 256, 512, 1024, 2048})
        add("width", "DoRA per output, width " + std::to_string(width), "LoRA",
            [=] { return wide_step(What::kDoRA, width, 64, 8); },
            [=] { return wide_step(What::kLoRA, width, 64, 8); });
    for (bool cold : {false, true})
        add("evaluation", cold ? "DoRA, norms computed anew" : "DoRA, norms kept", "LoRA",
            [=] { return wide_evaluation(What::kDoRA, 1024, 64, 8, cold); },
            [] { return wide_evaluation(What::kLoRA, 1024, 64, 8); });
    add("data", "epoch of batches, shuffled", "in order", [] { return epoch_of_batches(true); },
        [] { return epoch_of_batches(false); });
    add("data", "training on shuffled batches", "in order",
        [] { return hundred_steps_on_data(true); }, [] { return hundred_steps_on_data(false); });
    add("parts", "Adam, 136,074 numbers", "three copies", [] { return adam_step(136074); },
        [] { return three_copies(136074); });
    add("parts", "Embedding 20000 x 64, sparse", "dense", [] { return embedding_step(true); },
        [] { return embedding_step(false); });
    add("long", "step 3,000 of a training", "step 300", [] { return step_after(3000); },
        [] { return step_after(300); });

    // The same work on several threads and on one. This wants an idle machine: the threads of a
    // product wait for each other, and if one of them waits for its core, so do all.
    const auto scales = [&](std::string name, std::function<Work()> make) {
        cases.push_back({"threads", std::move(name), "one thread", make, make, true});
    };
    scales("full", [] { return mnist_step(What::kFull); });
    scales("LoRA", lora);
    for (Axis axis : {Axis::kOut, Axis::kIn})
        scales("DoRA" + per(axis), [=] { return mnist_step(What::kDoRA, 64, axis); });
    for (const Wide& w : wide) {
        const std::string size = std::to_string(w.width) + ": ";
        scales(size + "LoRA", [=] { return wide_step(What::kLoRA, w.width, w.batch, w.rank); });
        for (Axis axis : {Axis::kOut, Axis::kIn})
            scales(size + "DoRA" + per(axis), [=] {
                return wide_step(What::kDoRA, w.width, w.batch, w.rank, axis);
            });
    }
    return cases;
}

}  // namespace slim
