// Checkpoints: a run that was stopped and resumed ends in the same bits.
#include "optim/checkpoint.h"

#include <csignal>

#include "data/safetensors.h"
#include "nn/activation.h"
#include "nn/adapt.h"
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

    TrainReport train(const ImageSet& images, int epochs, const std::string& checkpoint,
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
    const ImageSet images = striped_images(37);  // the last batch is short
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
    const ImageSet images = striped_images(37);
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
    const ImageSet images = striped_images(16);
    const ScratchFolder folder;
    Run first;
    first.train(images, 1, folder / "run.checkpoint", "");
    CHECK(checkpoint_config(folder / "run.checkpoint") == "this run");
    Run second;
    const auto before = second.values();
    CHECK_ERROR(second.train(images, 1, "", folder / "run.checkpoint", "another"), "run.checkpoint",
                "another run", "this run", "same options");
    CHECK(second.values() == before);
}

TEST_CASE("checkpoint file: a model or optimiser that does not fit is refused, nothing changes") {
    const ImageSet images = striped_images(16);
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
                "not a training checkpoint", "--resume");
    CHECK_ERROR(checkpoint_config(folder / "missing"), "missing");
}

TEST_CASE("accumulation: several passes per step equal one large batch") {
    const ImageSet images = striped_images(37);
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
    const ImageSet images = striped_images(8);
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
