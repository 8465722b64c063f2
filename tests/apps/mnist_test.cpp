// End to end on real digits, when data/mnist holds them: pretrain, adapt, fine-tune, compare.
#include "data/mnist.h"
#include "nn/adapters/adapt.h"
#include "nn/sequential.h"
#include "optim/adam.h"
#include "optim/trainer.h"
#include "tests/testing.h"

namespace slim {

static DataSet first_images(const DataSet& set, int64_t count) {
    return {Bytes(set.pixels.begin(), set.pixels.begin() + count * set.features()),
            Bytes(set.labels.begin(), set.labels.begin() + count), count, set.rows, set.cols};
}

TEST_CASE("MNIST: one epoch of 10,000 images, then LoRA and DoRA for as long, on frozen layers") {
    if (!file_exists("data/mnist/train-images-idx3-ubyte") ||
        !file_exists("data/mnist/t10k-images-idx3-ubyte")) {
        MESSAGE("data/mnist is not there, so this test did nothing");
        return;
    }
    const DataSet images = first_images(load_mnist("data/mnist", Split::kTrain), 10000);
    const DataSet test = first_images(load_mnist("data/mnist", Split::kTest), 2000);
    const TrainOptions once{.epochs = 1, .batch_size = 64, .shuffle = true, .show_progress = false};
    Rng rng(1);
    MLP base(784, 128, 256, 10, rng);
    Adam adam(base.parameters(), {.lr = 0.002});
    train(base, adam, images, rng, once);
    const double pretrained = evaluate(base, test).accuracy;
    CHECK(pretrained > 0.85);

    for (const Method method : {Method::kLoRA, Method::kDoRA}) {
        MLP model(784, 128, 256, 10, rng);
        model.load_state_dict(base.state_dict());
        attach(model, tutorial_preset(4, 8, method), rng);
        CHECK(evaluate(model, test).accuracy == pretrained);  // fresh adapters change nothing
        Adam tune(model.parameters(), {.lr = 0.002});
        train(model, tune, images, rng, once);
        const double tuned = evaluate(model, test).accuracy;
        INFO((method == Method::kLoRA ? "LoRA" : "DoRA") << " after a base of " << pretrained);
        CHECK(tuned > pretrained - 0.02);
        const StateDict before = base.state_dict();
        for (const auto& [name, tensor] : model.state_dict())
            if (name.find(".linear.") != std::string::npos) {
                std::string plain = name;
                plain.erase(plain.find(".linear"), 7);
                CHECK(same_bits(tensor, before.at(plain)));
            }
    }
}

}  // namespace slim
