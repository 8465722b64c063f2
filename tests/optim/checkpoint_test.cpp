// Checkpoints: a run that was stopped and resumed ends in the same bits.
#include "optim/checkpoint.h"

#include <algorithm>
#include <bit>
#include <csignal>

#include "data/safetensors.h"
#include "nn/activation.h"
#include "nn/adapters/adapt.h"
#include "nn/dropout.h"
#include "nn/sequential.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "optim/trainer.h"
#include "tests/data/scratch.h"
#include "tests/optim/images.h"
#include "tests/testing.h"

namespace slim {

namespace {

// Raises SIGINT in its n-th forward pass.
struct InterruptAfter : Module {
    int left;
    explicit InterruptAfter(int n) : left(n) {}
    std::string name() const override { return "InterruptAfter"; }
    Tensor forward(const Tensor& x) override {
        if (--left == 0) std::raise(SIGINT);
        return x;
    }
};

// Everything that has state: dropout, an adapter with dropout, Adam, shuffled data.
struct Run {
    Rng rng{4};
    Sequential model;
    Adam adam;

    explicit Run(int interrupt_in = 0)
        : model(layers(interrupt_in, rng)), adam(model.parameters(), {.lr = 0.01}) {}

    static std::vector<ModulePtr> layers(int interrupt_in, Rng& rng) {
        auto linear = std::make_shared<Linear>(9, 7, rng);
        linear->set_requires_grad(false);
        return {std::make_shared<InterruptAfter>(interrupt_in),
                std::make_shared<LinearWithDoRA>(
                    linear, AdapterConfig{.rank = 2, .alpha = 6, .dropout = 0.2}, rng),
                std::make_shared<Dropout>(0.2, rng), std::make_shared<Linear>(7, 3, rng)};
    }

    TrainReport train(const DataSet& images, int epochs, const std::string& checkpoint,
                      const std::string& resume, const std::string& config = "this run") {
        TrainOptions options;
        options.epochs = epochs;
        options.batch_size = 8;
        options.shuffle = true;
        options.show_progress = false;
        options.checkpoint = checkpoint;
        options.resume = resume;
        options.config = config;
        return slim::train(model, adam, images, rng, options);
    }

    std::map<std::string, std::vector<real>> values() {
        std::map<std::string, std::vector<real>> all;
        for (const auto& [name, tensor] : model.state_dict()) all[name] = tensor.to_vector();
        return all;
    }
};

}  // namespace

TEST_CASE("checkpoint file: resuming after an epoch ends in the same bits") {
    const DataSet images = striped_images(37);  // the last batch is short
    const ScratchFolder folder;
    Run whole;
    whole.train(images, 3, "", "");

    Run first;
    first.train(images, 1, folder / "run.checkpoint", "");
    Run second;
    const TrainReport report = second.train(images, 3, "", folder / "run.checkpoint");
    CHECK(second.values() == whole.values());
    CHECK(report.epochs.size() == 2);
    CHECK(report.steps == 15);
}

TEST_CASE("checkpoint file: resuming in the middle of an epoch ends in the same bits") {
    const DataSet images = striped_images(37);
    const ScratchFolder folder;
    Run whole;
    whole.train(images, 2, "", "");

    for (int interrupted_in : {1, 3, 5, 7}) {
        Run first(interrupted_in);
        const TrainReport stopped = first.train(images, 2, folder / "run.checkpoint", "");
        CHECK(stopped.interrupted);
        CHECK(stopped.steps == interrupted_in);
        Run second;
        second.train(images, 2, "", folder / "run.checkpoint");
        CHECK(second.values() == whole.values());
    }
}

TEST_CASE("checkpoint file: another configuration is refused, and nothing changes") {
    const DataSet images = striped_images(16);
    const ScratchFolder folder;
    Run first;
    first.train(images, 1, folder / "run.checkpoint", "");
    CHECK(checkpoint_config(folder / "run.checkpoint") == "this run");
    Run second;
    const auto before = second.values();
    CHECK_ERROR(second.train(images, 1, "", folder / "run.checkpoint", "another"), "run.checkpoint",
                "another run", "this run", "same options");
    // Only what differs is shown.
    Run third;
    third.train(images, 1, folder / "run.checkpoint", "", R"({"lr":0.5,"rank":4,"seed":1})");
    CHECK_ERROR(second.train(images, 1, "", folder / "run.checkpoint", R"({"lr":1,"rank":4})"),
                "made with lr:0.5, seed:1, but this run has lr:1. hint");
    CHECK(second.values() == before);
}

TEST_CASE("checkpoint file: a model or optimiser that does not fit is refused, nothing changes") {
    const DataSet images = striped_images(16);
    const ScratchFolder folder;
    Run first;
    first.train(images, 1, folder / "run.checkpoint", "");

    Run second;
    const auto before = second.values();
    TrainProgress progress;
    SGD sgd(second.model.parameters());
    CHECK_ERROR(load_checkpoint(folder / "run.checkpoint",
                                {second.model, sgd, second.rng, progress}, "this run"),
                "optimizer");
    Sequential other({std::make_shared<Linear>(9, 3, second.rng)});
    CHECK_ERROR(load_checkpoint(folder / "run.checkpoint",
                                {other, second.adam, second.rng, progress}, "this run"),
                "generators");
    CHECK(second.values() == before);
    CHECK(progress.step == 0);
}

TEST_CASE("checkpoint file: what is no checkpoint is refused with a sentence") {
    const ScratchFolder folder;
    TensorFile file;
    file.tensors["x"] = store(ones({2}));
    write_safetensors(folder / "model.safetensors", file);
    CHECK_ERROR(checkpoint_config(folder / "model.safetensors"), "model.safetensors",
                "not a training checkpoint", "hint: resume from");
    CHECK_ERROR(checkpoint_config(folder / "missing"), "missing");
}

// ---- what a checkpoint compares -----------------------------------------------------------------

// One epoch, saved, then loaded into another run that differs in one thing.
struct OneEpoch {
    ScratchFolder folder;
    DataSet images = striped_images(16);
    std::string file = folder / "run.checkpoint";
    OneEpoch() { Run().train(images, 1, file, ""); }

    std::string error_for(Run& run) {
        const auto before = run.values();
        const std::string error = error_of([&] { run.train(images, 2, "", file); });
        CHECK(run.values() == before);
        return error;
    }
};

TEST_CASE("fault: checkpoint file: another base is refused, unless it is taken from the file") {
    OneEpoch first;
    Run other;
    Tensor base = other.model.state_dict().at("1.linear.weight");
    REQUIRE(!base.requires_grad());
    base.mutable_data()[3] += real(0.001);
    check_words(first.error_for(other), {"run.checkpoint", "another base", "1.linear.weight"});

    TrainOptions options{.epochs = 2, .batch_size = 8, .shuffle = true, .show_progress = false};
    options.resume = first.file;
    options.config = "this run";
    options.frozen_from_checkpoint = true;
    train(other.model, other.adam, first.images, other.rng, options);
    Run whole;
    whole.train(first.images, 2, "", "");
    CHECK(other.values() == whole.values());
}

TEST_CASE("fault: checkpoint file: other weights under the same quantisation are refused") {
    const DataSet images = striped_images(16);
    const ScratchFolder folder;
    const auto run = [&](uint64_t seed, Quantization kind, const std::string& resume) {
        Rng rng(seed);
        Sequential model({std::make_shared<Linear>(9, 7, rng), std::make_shared<Tanh>(),
                          std::make_shared<Linear>(7, 3, rng)});
        quantize_linear_layers(model, kind);
        attach(model, {.rank = 2, .alpha = 4}, rng);
        SGD sgd(model.parameters(), {.lr = 0.1});
        TrainOptions options{.epochs = 1, .batch_size = 8, .show_progress = false};
        options.resume = resume;
        options.checkpoint = folder / "quantised.checkpoint";
        train(model, sgd, images, rng, options);
    };
    run(1, Quantization::kInt8, "");
    run(1, Quantization::kInt8, folder / "quantised.checkpoint");
    CHECK_ERROR(run(2, Quantization::kInt8, folder / "quantised.checkpoint"), "another",
                "quantised weights");
    CHECK_ERROR(run(1, Quantization::kNF4, folder / "quantised.checkpoint"), "another model",
                "int8", "nf4");
}

TEST_CASE("fault: checkpoint file: another active adapter is refused") {
    const DataSet images = striped_images(16);
    const ScratchFolder folder;
    Rng rng(1);
    Linear base(9, 3, rng);
    Sequential model({std::make_shared<Linear>(clone(base.weight.detach()))});
    AdapterSet adapters(model);
    adapters.add("a", {.rank = 2, .alpha = 4}, rng);
    adapters.add("b", {.rank = 2, .alpha = 4}, rng);
    const auto run = [&](const std::string& name, const std::string& resume) {
        adapters.activate(name);
        SGD sgd(model.parameters(), {.lr = 0.1});
        TrainOptions options{.epochs = 1, .batch_size = 8, .show_progress = false};
        options.resume = resume;
        options.checkpoint = folder / "run.checkpoint";
        train(model, sgd, images, rng, options);
    };
    run("a", "");
    run("a", folder / "run.checkpoint");
    CHECK_ERROR(run("b", folder / "run.checkpoint"), "another adapter", "0: a", "0: b");
}

TEST_CASE("fault: checkpoint file: another optimiser, or another order of its groups, is refused") {
    OneEpoch first;
    Run run;
    TrainProgress progress;
    const auto error = [&](Optimizer& optimizer) {
        return error_of([&] {
            load_checkpoint(first.file, {run.model, optimizer, run.rng, progress}, "this run");
        });
    };
    std::vector<Tensor> parameters = run.model.parameters();
    AdamW adamw(parameters, {.lr = 0.01});
    check_words(error(adamw), {"another optimizer", ": Adam(lr=0.01", ": AdamW(lr=0.01"});
    Adam faster(parameters, {.lr = 0.02});
    check_words(error(faster), {"another optimizer", "lr=0.01", "lr=0.02"});
    std::reverse(parameters.begin(), parameters.end());
    Adam reversed(parameters, {.lr = 0.01});
    check_words(error(reversed), {"another optimizer", "1.m: Adam", "3.bias: Adam"});
    Adam same(run.model.parameters(), {.lr = 0.01});
    load_checkpoint(first.file, {run.model, same, run.rng, progress}, "this run");
    CHECK(progress.step == 2);
}

TEST_CASE("fault: checkpoint file: other data, or other batches of it, are refused") {
    OneEpoch first;
    Run run;
    first.images.pixels[20] ^= 1;
    check_words(first.error_for(run), {"another data", "16 items of 3 x 3", "fingerprint"});
    first.images.pixels[20] ^= 1;
    first.images.labels[3] ^= 1;
    check_words(first.error_for(run), {"another data"});
    first.images.labels[3] ^= 1;
    Run same;
    same.train(first.images, 2, "", first.file);
}

TEST_CASE("fault: checkpoint file: states that no run can be in are refused") {
    OneEpoch first;
    const TensorFile good = read_safetensors(first.file);
    const auto error = [&](const std::string& name, size_t at, int64_t value) {
        TensorFile bad = good;
        std::vector<int64_t> numbers = bad.integers(name);
        numbers[at] = value;
        bad.tensors[name] = store(numbers);
        write_safetensors(first.file, bad);
        Run run;
        return first.error_for(run);
    };
    check_words(error("steps", 0, -3), {"-3 steps"});
    check_words(error("progress", 0, -1), {"damaged", "epoch -1"});
    check_words(error("progress", 1, -3), {"damaged", "step -3"});
    check_words(error("progress", 4, -8), {"damaged", "item -8"});
    check_words(error("progress", 5, 8), {"damaged", "of 8 items"});  // seen, but it is at 16
    check_words(error("progress", 6, 3), {"damaged", "3 of 0 items right"});
    check_words(error("lr_factor", 0, std::bit_cast<int64_t>(-1.0)), {"damaged", "lr_factor = -1"});
    TensorFile end = good;  // all images of the epoch seen, and the epoch not ended
    std::vector<int64_t> numbers = end.integers("progress");
    numbers[4] = numbers[5] = 16;
    end.tensors["progress"] = store(numbers);
    write_safetensors(first.file, end);
    Run run;
    CHECK_ERROR(run.train(first.images, 2, "", first.file), "after 16 images", "this run has 16");
}

TEST_CASE("fault: checkpoint file: lr_factor and the seconds of the epoch are kept") {
    const DataSet images = striped_images(16);
    const ScratchFolder folder;
    Run first;
    first.adam.lr_factor = 0.25;
    TrainProgress p{.step = 1, .position = {true, 7, 8}, .items = 8, .correct = 2, .seconds = 3};
    save_checkpoint(folder / "run.checkpoint", {first.model, first.adam, first.rng, p}, "");
    Run second;
    TrainProgress got;
    load_checkpoint(folder / "run.checkpoint", {second.model, second.adam, second.rng, got}, "");
    CHECK(second.adam.lr_factor == 0.25);
    CHECK(got.seconds == 3);  // so the first line after resuming shows the true speed
    Tensor stranger = ones({2}).set_requires_grad();
    SGD sgd({stranger});
    CHECK_ERROR(save_checkpoint(folder / "x", {first.model, sgd, first.rng, p}, ""),
                "parameter 0 of the optimiser", "(2)", "not the model's");
}

TEST_CASE("fault: checkpoint file: a resumed epoch counts the seconds before the stop too") {
    const DataSet images = striped_images(16);
    const ScratchFolder folder;
    Run first(1);
    first.train(images, 1, folder / "run.checkpoint", "");
    TensorFile file = read_safetensors(folder / "run.checkpoint");
    std::vector<int64_t> progress = file.integers("progress");
    progress.back() = std::bit_cast<int64_t>(1000.0);
    file.tensors["progress"] = store(progress);
    write_safetensors(folder / "run.checkpoint", file);
    Run second;
    const TrainReport report = second.train(images, 2, "", folder / "run.checkpoint");
    REQUIRE(report.epochs.size() == 2);
    CHECK(report.epochs[0].seconds > 1000);
    CHECK(report.epochs[1].seconds < 1000);
}

TEST_CASE("accumulation: several passes per step equal one large batch") {
    const DataSet images = striped_images(37);
    const auto train_in = [&](int64_t passes) {
        Rng rng(6);
        Sequential model({std::make_shared<Linear>(9, 7, rng), std::make_shared<Tanh>(),
                          std::make_shared<Linear>(7, 3, rng)});
        SGD sgd(model.parameters(), {.lr = 0.3});
        TrainOptions options;
        options.epochs = 2;
        options.batch_size = 12;
        options.accumulate = passes;
        options.show_progress = false;
        const TrainReport report = train(model, sgd, images, rng, options);
        CHECK(report.steps == 8);
        return model.parameters()[0];
    };
    const Tensor whole = train_in(1);
    CHECK(largest_difference(train_in(3), whole) < 1e-5);
    CHECK(largest_difference(train_in(12), whole) < 1e-5);
    CHECK_ERROR(train_in(5), "train", "12", "5", "divide");
}

TEST_CASE("trainer: schedule and clipping take effect") {
    const DataSet images = striped_images(8);
    Rng rng(6);
    Linear model(9, 3, rng);
    const std::vector<real> start = model.weight.to_vector();
    SGD sgd(model.parameters(), {.lr = 0.1});
    TrainOptions options;
    options.epochs = 1;
    options.batch_size = 8;
    options.show_progress = false;
    options.schedule = [](int64_t) { return 0.0; };
    train(model, sgd, images, rng, options);
    CHECK(model.weight.to_vector() == start);  // a rate of zero moves nothing

    options.schedule = {};
    sgd.lr_factor = 1;
    options.clip_norm = 1e-3;
    train(model, sgd, images, rng, options);
    double moved = 0;
    for (size_t i = 0; i < start.size(); i++)
        moved += std::pow(double(model.weight.data()[i]) - start[i], 2);
    CHECK(std::sqrt(moved) > 0);
    CHECK(std::sqrt(moved) <= 0.1 * 1e-3 * 1.001);
}

}  // namespace slim
