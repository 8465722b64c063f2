// How fast is it? Every figure is a ratio of two things that are timed in turn in one process,
// A B A B ..., so that a busy machine slows both. The median of the ratios is what counts.
//
// The floor of a case is the matrix products that its step cannot avoid, called directly, on the
// same shapes: nothing that trains this model through BLAS can be faster.
//
// run:  build/bench --help
#include <algorithm>  // sort
#include <chrono>
#include <cstdio>
#include <functional>

#include "apps/program.h"
#include "core/autograd.h"
#include "core/gemm.h"
#include "core/ops.h"
#include "core/random.h"
#include "data/batches.h"
#include "data/json.h"
#include "nn/adapt.h"
#include "nn/embedding.h"
#include "nn/sequential.h"
#include "optim/adam.h"

using namespace slim;

namespace {

using Work = std::function<void()>;

// ---- timing -------------------------------------------------------------------------------------

double seconds_of(const Work& work, int64_t times) {
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < times; i++) work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Ratio {
    double median, low, high;  // of a / b
    double a_micros, b_micros;  // medians of one call
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

Ratio compare(const Work& a, const Work& b, int64_t pairs) {
    seconds_of(a, 3), seconds_of(b, 3);  // warm up
    // A turn takes about 5 ms, so that the clock's own cost does not show.
    const auto turns = [](const Work& work) {
        return std::max(int64_t(1), int64_t(0.005 / std::max(1e-7, seconds_of(work, 1))));
    };
    const int64_t a_times = turns(a), b_times = turns(b);
    std::vector<double> ratios, a_seconds, b_seconds;
    for (int64_t i = 0; i < pairs; i++) {
        a_seconds.push_back(seconds_of(a, a_times) / double(a_times));
        b_seconds.push_back(seconds_of(b, b_times) / double(b_times));
        ratios.push_back(a_seconds.back() / b_seconds.back());
    }
    return {median(ratios), *std::min_element(ratios.begin(), ratios.end()),
            *std::max_element(ratios.begin(), ratios.end()), 1e6 * median(a_seconds),
            1e6 * median(b_seconds)};
}

// ---- the things that are timed ------------------------------------------------------------------

// One call of gemm on buffers of its own.
Work product(Transpose ta, Transpose tb, int64_t m, int64_t n, int64_t k) {
    Rng rng(1);
    const Tensor a = normal({m * k}, 0, 1, rng), b = normal({k * n}, 0, 1, rng);
    Tensor c({m * n});
    return [=]() mutable {
        gemm(ta, tb, m, n, k, 1, a.data(), b.data(), 0, c.mutable_data());
    };
}

Work all_of(std::vector<Work> parts) {
    return [parts] {
        for (const Work& part : parts) part();
    };
}

// What full training of a chain of Linear layers needs: y, dW, and dx for all but the first.
Work floor_of_training(const std::vector<int64_t>& sizes, int64_t batch) {
    std::vector<Work> parts;
    for (size_t i = 0; i + 1 < sizes.size(); i++) {
        const int64_t in = sizes[i], out = sizes[i + 1];
        parts.push_back(product(kNormal, kTransposed, batch, out, in));
        parts.push_back(product(kTransposed, kNormal, out, in, batch));
        if (i > 0) parts.push_back(product(kNormal, kNormal, batch, in, out));
    }
    return all_of(parts);
}

// What a frozen Linear between two others needs: y and dx.
Work floor_of_frozen(int64_t width, int64_t batch) {
    return all_of({product(kNormal, kTransposed, batch, width, width),
                   product(kNormal, kNormal, batch, width, width)});
}

enum class What { kFull, kFrozen, kLoRA, kDoRAMerged, kDoRA };

AdapterConfig config_for(What what, int64_t rank, Axis axis, NormGradient gradient) {
    AdapterConfig config;
    config.method = what == What::kLoRA   ? Method::kLoRA
                    : what == What::kDoRA ? Method::kDoRA
                                          : Method::kDoRAMerged;
    config.options = {.rank = rank, .alpha = 8, .axis = axis, .norm_gradient = gradient};
    return config;
}

ImageSet random_images(int64_t count) {
    Rng rng(1);
    ImageSet set{Bytes(size_t(count * 784)), Bytes(size_t(count)), count, 28, 28};
    for (uint8_t& pixel : set.pixels) pixel = rng.uniform() < 0.2 ? uint8_t(rng.below(256)) : 0;
    for (uint8_t& label : set.labels) label = uint8_t(rng.below(10));
    return set;
}

// A training step of the MNIST perceptron with Adam, on one batch.
Work mnist_step(What what, int64_t batch = 64, Axis axis = Axis::kOut,
                NormGradient gradient = NormGradient::kExact) {
    Rng rng(1);
    auto model = std::make_shared<MLP>(784, 128, 256, 10, rng);
    if (what != What::kFull) attach(*model, config_for(what, 4, axis, gradient), rng);
    auto adam = std::make_shared<Adam>(model->parameters(), AdamOptions{.lr = 0.005});
    const Batch data = batch_of(random_images(batch), 0, batch);
    return [=] {
        adam->zero_grad();
        backward(cross_entropy((*model)(data.x), data.labels));
        adam->step();
    };
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
    auto images = std::make_shared<ImageSet>(random_images(6400));
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
    auto images = std::make_shared<ImageSet>(random_images(6400));
    Rng rng(1);
    auto order = std::make_shared<Rng>(1);
    auto batches = std::make_shared<Batches>(*images, 64);
    auto model = std::make_shared<MLP>(784, 128, 256, 10, rng);
    auto adam = std::make_shared<Adam>(model->parameters(), AdamOptions{.lr = 0.005});
    return [=, keep = images] {
        if (shuffled) batches->shuffle(*order);
        else batches->in_order();
        for (Batch batch; batches->next(batch);) {
            adam->zero_grad();
            backward(cross_entropy((*model)(batch.x), batch.labels));
            adam->step();
        }
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

// The optimiser alone, on gradients that stay.
Work adam_step(int64_t size) {
    Rng rng(1);
    Tensor w = normal({size}, 0, 1, rng).set_requires_grad();
    backward(sum(w));
    auto adam = std::make_shared<Adam>(std::vector<Tensor>{w});
    return [=] { adam->step(); };
}

// Reads and writes as much memory as a step of Adam must: w, m and v, and reads the gradient.
Work adam_floor(int64_t size) {
    Tensor w = zeros({size}), m = zeros({size}), v = zeros({size}), g = zeros({size});
    return [=]() mutable {
        real *pw = w.mutable_data(), *pm = m.mutable_data(), *pv = v.mutable_data();
        const real* pg = g.data();
        for (int64_t i = 0; i < size; i++) {
            pm[i] += pg[i];
            pv[i] += pg[i];
            pw[i] += pm[i] + pv[i];
        }
    };
}

// ---- the table ----------------------------------------------------------------------------------

struct Case {
    std::string group, a, b;
    std::function<Work()> make_a, make_b;
};

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
        const std::string name = axis == Axis::kOut ? " per output" : " per input";
        for (NormGradient g : {NormGradient::kExact, NormGradient::kDetached})
            add("mnist", "DoRA" + name + (g == NormGradient::kExact ? "" : ", detached"), "LoRA",
                [=] { return mnist_step(What::kDoRA, 64, axis, g); }, lora);
        add("mnist", "DoRA merged" + name, "LoRA",
            [=] { return mnist_step(What::kDoRAMerged, 64, axis); }, lora);
    }
    struct Wide {
        int64_t width, batch, rank;
    };
    for (const Wide w : {Wide{1024, 64, 8}, Wide{2048, 128, 16}, Wide{4096, 128, 16}}) {
        const std::string size = std::to_string(w.width) + ": ";
        const auto frozen = [w] { return wide_step(What::kFrozen, w.width, w.batch, 1); };
        add("wide", size + "frozen", "floor", frozen,
            [w] { return floor_of_frozen(w.width, w.batch); });
        add("wide", size + "LoRA", "frozen",
            [w] { return wide_step(What::kLoRA, w.width, w.batch, w.rank); }, frozen);
        for (Axis axis : {Axis::kOut, Axis::kIn}) {
            const std::string name = axis == Axis::kOut ? " per output" : " per input";
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
    add("parts", "Adam, 136,074 numbers", "plain pass", [] { return adam_step(136074); },
        [] { return adam_floor(136074); });
    add("parts", "Embedding 20000 x 64, sparse", "dense", [] { return embedding_step(true); },
        [] { return embedding_step(false); });
    return cases;
}

int bench(int argc, char** argv) {
    std::string only = "all", threads = "1", json;
    int64_t pairs = 31;
    Options options("Times parts of slimgrad against what they could cost at best.");
    options.add_choice("case", only, "which group",
                       "all|mnist|wide|batch|width|evaluation|data|parts");
    options.add("threads", threads, "BLAS threads, or auto", "N");
    options.add("pairs", pairs, "turns of each pair", 1, 10000);
    options.add("json", json, "write every figure to this file", "FILE");
    options.parse(argc, argv);
    const int thread_count = set_threads(threads);
    std::printf("OpenBLAS core %s, threads %d; median, lowest and highest of %ld ratios\n\n",
                blas_core_name(), thread_count, long(pairs));
    std::printf("%-36s %12s   %-12s %12s  %7s %7s %7s\n", "", "us", "against", "us", "ratio", "low",
                "high");
    Json::List rows;
    for (const Case& c : all_cases()) {
        if (only != "all" && only != c.group) continue;
        const Ratio r = compare(c.make_a(), c.make_b(), pairs);
        std::printf("%-36s %12.1f   %-12s %12.1f  %7.2f %7.2f %7.2f\n",
                    (c.group + " " + c.a).c_str(), r.a_micros, c.b.c_str(), r.b_micros, r.median,
                    r.low, r.high);
        std::fflush(stdout);
        rows.push_back(Json(Json::Object{{"case", c.group + " " + c.a},
                                         {"against", c.b},
                                         {"ratio", r.median},
                                         {"low", r.low},
                                         {"high", r.high},
                                         {"micros", r.a_micros},
                                         {"against_micros", r.b_micros}}));
    }
    if (!json.empty())
        write_file(json, {Json(Json::Object{{"core", blas_core_name()},
                                            {"threads", thread_count},
                                            {"rows", rows}})
                              .dump()});
    return 0;
}

}  // namespace

int main(int argc, char** argv) { return run_program(argc, argv, bench); }
