// The training loop on a tiny made-up data set: what it learns, and how it stops.
#include "optim/trainer.h"

#include <csignal>

#include "nn/adapters/adapt.h"
#include "nn/dropout.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "tests/optim/images.h"
#include "tests/testing.h"

namespace slim {

namespace {

TrainOptions quiet(int epochs, int64_t batch_size, bool shuffle = false) {
    return {.epochs = epochs, .batch_size = batch_size, .shuffle = shuffle, .show_progress = false};
}

// Passes its input on, and does something in the n-th call.
struct InNthForward : Module {
    int n, calls = 0;
    void (*act)();
    InNthForward(int n, void (*act)()) : n(n), act(act) {}
    std::string name() const override { return "InNthForward"; }
    Tensor forward(const Tensor& x) override {
        if (++calls == n) act();
        return x;
    }
};

std::map<std::string, std::vector<real>> values_of(Module& model) {
    std::map<std::string, std::vector<real>> values;
    for (const auto& [name, tensor] : model.state_dict()) values[name] = tensor.to_vector();
    return values;
}

// The same loop, spelled out: the parameters after `steps` steps of SGD in the file's order.
void train_by_hand(Module& model, const DataSet& images, int64_t batch_size, int64_t steps) {
    SGD sgd(model.parameters(), {.lr = 0.1});
    int64_t first = 0;
    for (int64_t step = 0; step < steps; step++) {
        const Batch batch = batch_of(images, first, std::min(batch_size, images.count - first));
        sgd.zero_grad();
        backward(cross_entropy(model(batch.x), batch.labels));
        sgd.step();
        first = (first + batch_size) % ((images.count + batch_size - 1) / batch_size * batch_size);
    }
}

}  // namespace

TEST_CASE("train: a small model from a fixed seed follows the known curve") {
    const DataSet images = striped_images(200);
    Rng rng(2);
    MLP model(9, 16, 8, 3, rng);
    Adam adam(model.parameters(), {.lr = 0.01});
    const TrainReport report = train(model, adam, images, rng, quiet(6, 32));
    const double known[] = {1.08018, 0.981989, 0.833055, 0.644576, 0.487747, 0.394579};
    REQUIRE(report.epochs.size() == 6);
    for (size_t i = 0; i < 6; i++) {
        CHECK(report.epochs[i].epoch == int(i) + 1);
        CHECK(report.epochs[i].loss == relative(known[i], 1e-3));
        CHECK(report.epochs[i].seconds > 0);
        if (i > 0) CHECK(report.epochs[i].loss < report.epochs[i - 1].loss);
    }
    CHECK(report.epochs.back().accuracy > 0.95);
    CHECK(evaluate(model, images).accuracy > 0.95);
    CHECK(!report.interrupted);
    CHECK(report.seconds_per_epoch() > 0);
}

TEST_CASE("train: the same seed gives the same model to the bit, shuffled and with dropout") {
    const DataSet images = striped_images(50);
    const auto run = [&](uint64_t seed) {
        Rng rng(seed);
        Sequential model({std::make_shared<Linear>(9, 16, rng), std::make_shared<Dropout>(0.2, rng),
                          std::make_shared<Linear>(16, 3, rng)});
        Adam adam(model.parameters());
        train(model, adam, images, rng, quiet(2, 16, true));
        return values_of(model);
    };
    CHECK(run(3) == run(3));
    CHECK(run(3) != run(4));
}

TEST_CASE("train: test images are evaluated after each epoch, and change no bit of the training") {
    const DataSet images = striped_images(50);
    const DataSet test{Bytes(images.pixels.begin(), images.pixels.begin() + 9 * 17),
                        Bytes(images.labels.begin(), images.labels.begin() + 17), 17, 3, 3};
    const auto run = [&](const DataSet* watched, int epochs, TrainReport& report) {
        Rng rng(8);
        Sequential model({std::make_shared<Linear>(9, 16, rng), std::make_shared<Dropout>(0.3, rng),
                          std::make_shared<Linear>(16, 3, rng)});
        attach(model, {.method = Method::kDoRA, .rank = 2, .alpha = 4}, rng);
        Adam adam(model.parameters(), {.lr = 0.03});
        TrainOptions options = quiet(epochs, 16, true);
        options.test = watched;
        report = train(model, adam, images, rng, options);
        for (const NamedModule& m : model.named_modules()) CHECK(m.module->training);
        CHECK(rng.state != Rng(8).state);
        return std::tuple(values_of(model), rng.state, evaluate(model, test).accuracy);
    };
    TrainReport watched, unwatched, shorter;
    CHECK(run(&test, 4, watched) == run(nullptr, 4, unwatched));
    for (size_t i = 0; i < 4; i++) {
        CHECK(watched.epochs[i].loss == unwatched.epochs[i].loss);
        CHECK(watched.epochs[i].accuracy == unwatched.epochs[i].accuracy);
        CHECK(!unwatched.epochs[i].test_accuracy);
        REQUIRE(watched.epochs[i].test_accuracy);
        // What evaluate() says of a training that ends there.
        CHECK(*watched.epochs[i].test_accuracy == std::get<2>(run(nullptr, int(i) + 1, shorter)));
    }
    CHECK(*watched.epochs[0].test_accuracy < *watched.epochs[3].test_accuracy);
}

TEST_CASE("train: is the loop of zero_grad, backward and step over the batches in order") {
    const DataSet images = striped_images(23);  // batches of 8, 8 and 7
    Rng one(5), again(5);
    MLP model(9, 7, 5, 3, one), by_hand(9, 7, 5, 3, again);
    SGD sgd(model.parameters(), {.lr = 0.1});
    train(model, sgd, images, one, quiet(2, 8));
    train_by_hand(by_hand, images, 8, 6);
    CHECK(values_of(model) == values_of(by_hand));
}

TEST_CASE("train: a short last batch counts by its images in the epoch's means") {
    const DataSet images = striped_images(23);
    Rng rng(6);
    MLP model(9, 7, 5, 3, rng);
    SGD still(model.parameters(), {.lr = 0});  // nothing moves, so the means must be evaluate's
    const TrainReport report = train(model, still, images, rng, quiet(1, 8));
    const Evaluation whole = evaluate(model, images);
    REQUIRE(report.epochs.size() == 1);
    CHECK(report.epochs[0].loss == relative(whole.loss, 1e-5));
    CHECK(report.epochs[0].accuracy == whole.accuracy);
}

TEST_CASE("train: shuffling draws from the generator, the file's order does not") {
    const DataSet images = striped_images(20);
    Rng rng(7);
    MLP model(9, 7, 5, 3, rng);
    SGD sgd(model.parameters());
    const uint64_t before = rng.state;
    train(model, sgd, images, rng, quiet(1, 8));
    CHECK(rng.state == before);
    train(model, sgd, images, rng, quiet(1, 8, true));
    CHECK(rng.state != before);
}

TEST_CASE("train: a data set of one image is learnt by heart; a batch may exceed the set") {
    const DataSet images = striped_images(1);
    Rng rng(8);
    MLP model(9, 7, 5, 3, rng);
    Adam adam(model.parameters(), {.lr = 0.05});
    const TrainReport report = train(model, adam, images, rng, quiet(60, 64));
    CHECK(report.epochs.size() == 60);
    CHECK(report.epochs.back().loss < 0.01);
    CHECK(report.epochs.back().accuracy == 1);
}

TEST_CASE("train: no epochs leave the model alone; fewer, empty sets and batches of 0 are errors") {
    const DataSet images = striped_images(5);
    Rng rng(9);
    MLP model(9, 7, 5, 3, rng);
    SGD sgd(model.parameters());
    const auto before = values_of(model);
    const TrainReport report = train(model, sgd, images, rng, quiet(0, 8));
    CHECK(report.epochs.empty());
    CHECK(report.seconds_per_epoch() == 0);
    CHECK_ERROR(train(model, sgd, images, rng, quiet(-1, 8)), "train", "-1 epochs");
    CHECK_ERROR(train(model, sgd, images, rng, quiet(1, 0)), "batch size of 0");
    const DataSet none{{}, {}, 0, 3, 3};
    CHECK_ERROR(train(model, sgd, none, rng, quiet(1, 8)), "no images");
    CHECK(values_of(model) == before);
}

TEST_CASE("train: a loss that is not finite stops it, with the step and what to try") {
    const DataSet images = striped_images(23);
    Rng rng(10);
    static Tensor* weight;
    auto linear = std::make_shared<Linear>(9, 3, rng);
    weight = &linear->weight;
    // In the fifth step, the second of epoch 2.
    auto poison = std::make_shared<InNthForward>(
        5, [] { weight->mutable_data()[0] = real(std::nan("")); });
    Sequential model({poison, linear});
    SGD sgd(model.parameters(), {.lr = 0.1});
    const Tensor bias_before = clone(linear->bias.detach());
    CHECK_ERROR(train(model, sgd, images, rng, quiet(3, 8)), "train: the loss is ", "nan",
                "step 5 ", "epoch 2", "hint", "learning rate");
    for (real b : linear->bias.to_vector()) CHECK(std::isfinite(b));  // the update was not made
    CHECK(!same_bits(linear->bias, bias_before));                     // the four before it were
}

TEST_CASE("train: Ctrl-C ends it cleanly after the step that it falls in") {
    const DataSet images = striped_images(23);
    Rng one(12), again(12);
    auto trap = std::make_shared<InNthForward>(5, [] { std::raise(SIGINT); });
    Sequential model({trap, std::make_shared<MLP>(9, 7, 5, 3, one)});
    MLP by_hand(9, 7, 5, 3, again);
    SGD sgd(model.parameters(), {.lr = 0.1});
    const TrainReport report = train(model, sgd, images, one, quiet(10, 8));
    CHECK(report.interrupted);
    CHECK(report.epochs.size() == 1);  // the second was not finished
    CHECK(trap->calls == 5);
    train_by_hand(by_hand, images, 8, 5);
    CHECK(values_of(*model.layers[1]) == values_of(by_hand));
}

TEST_CASE("train: Ctrl-C in the last step of an epoch still counts the epoch") {
    const DataSet images = striped_images(23);
    Rng rng(13);
    Sequential model({std::make_shared<InNthForward>(3, [] { std::raise(SIGINT); }),
                      std::make_shared<Linear>(9, 3, rng)});
    SGD sgd(model.parameters());
    const TrainReport report = train(model, sgd, images, rng, quiet(10, 8));
    CHECK(report.interrupted);
    CHECK(report.epochs.size() == 1);
}

TEST_CASE("train: afterwards, and after an error, Ctrl-C is again what it was before") {
    static int caught;
    caught = 0;
    const auto before = std::signal(SIGINT, [](int) { caught++; });
    const DataSet images = striped_images(5);
    Rng rng(14);
    MLP model(9, 7, 5, 3, rng);
    SGD sgd(model.parameters());
    train(model, sgd, images, rng, quiet(1, 8));
    std::raise(SIGINT);
    std::signal(SIGINT, [](int) { caught++; });
    CHECK_ERROR(train(model, sgd, images, rng, quiet(1, 0)), "batch size");
    std::raise(SIGINT);
    std::signal(SIGINT, before);
    CHECK(caught == 2);
}

TEST_CASE("train: a step leaves no tensor behind") {
    const DataSet images = striped_images(23);
    Rng rng(15);
    MLP model(9, 7, 5, 3, rng);
    SGD sgd(model.parameters());
    train(model, sgd, images, rng, quiet(1, 8));
    sgd.zero_grad();
    LeakCounter blocks;
    train(model, sgd, images, rng, quiet(3, 8));
    sgd.zero_grad();
    CHECK(blocks.leaked() == 0);
}

// ---- evaluate -----------------------------------------------------------------------------------

TEST_CASE("evaluate: the mean loss and the share of right answers, whatever the batch size") {
    const DataSet images = striped_images(53);
    Rng rng(16);
    MLP model(9, 7, 5, 3, rng);
    const Batch all = batch_of(images, 0, images.count);
    const Tensor logits = model(all.x);
    const std::vector<int> predicted = argmax_rows(logits);
    int64_t right = 0;
    for (size_t i = 0; i < predicted.size(); i++) right += predicted[i] == all.labels[i];
    for (const int64_t batch_size : {1, 7, 53, 500}) {
        const Evaluation got = evaluate(model, images, batch_size);
        CHECK(got.loss ==
              relative(cross_entropy(logits, all.labels).item(), 1e-5));
        CHECK(std::fabs(got.accuracy - double(right) / 53) < 1e-5);
    }
}

TEST_CASE("evaluate: leaves the mode as it was, also after an error; no dropout, no graph") {
    const DataSet images = striped_images(20);
    Rng rng(17);
    auto dropout = std::make_shared<Dropout>(0.5, rng);
    Sequential model({dropout, std::make_shared<Linear>(9, 3, rng)});
    const uint64_t state = dropout->rng.state;
    for (const bool training : {true, false}) {
        model.train(training);
        LeakCounter blocks;
        const Evaluation first = evaluate(model, images), second = evaluate(model, images);
        CHECK(model.training == training);
        CHECK(dropout->training == training);
        CHECK(first.loss == second.loss);
        CHECK(blocks.leaked() == 0);
    }
    const DataSet wrong{Bytes(20 * 4), Bytes(20), 20, 2, 2};  // of 4 pixels instead of 9
    model.train();
    CHECK_ERROR(evaluate(model, wrong), "(20, 4)");
    CHECK(model.training);
    CHECK(dropout->training);
    CHECK(dropout->rng.state == state);
    CHECK(grad_enabled());
    for (const Tensor& p : model.parameters()) CHECK(p.grad_data() == nullptr);
}

TEST_CASE("fault: train: the notebook's lines come from two callbacks") {
    const DataSet images = striped_images(50);
    Rng rng(1);
    MLP model(9, 6, 5, 10, rng), by_hand(9, 6, 5, 10, rng);
    by_hand.load_state_dict(model.state_dict());
    std::string said;
    TrainOptions options{.epochs = 2, .batch_size = 16, .show_progress = false};
    std::vector<double> losses;
    options.evaluate_training_set = true;
    options.on_batch = [&](const BatchReport& b) {
        losses.push_back(b.loss);
        char line[100];
        std::snprintf(line, sizeof line, "Epoch %03d/002 | Batch %03ld/%03ld\n", b.epoch,
                      long(b.batch), long(b.batches));
        if (b.batch % 3 == 0) said += line;
    };
    options.on_epoch = [&](const EpochReport& e) {
        CHECK(*e.train_accuracy == evaluate(model, images).accuracy);
        said += "Epoch " + std::to_string(e.epoch) + " ends\n";
    };
    SGD sgd(model.parameters(), {.lr = 0.1});
    train(model, sgd, images, rng, options);
    CHECK(said ==
          "Epoch 001/002 | Batch 000/004\nEpoch 001/002 | Batch 003/004\nEpoch 1 ends\n"
          "Epoch 002/002 | Batch 000/004\nEpoch 002/002 | Batch 003/004\nEpoch 2 ends\n");
    REQUIRE(losses.size() == 8);
    const Batch first = batch_of(images, 0, 16);
    CHECK(losses[0] ==
          relative(cross_entropy(by_hand(first.x), first.labels).item(), 1e-6));
}

TEST_CASE("fault: train: NaN after the very last step is an error that says where it stands") {
    const DataSet images = striped_images(16);
    Rng rng(1);
    Linear model(9, 3, rng);
    SGD sgd(model.parameters(), {.lr = 1e10});
    sgd.lr_factor = 1e30;  // the first step leaves float's range
    TrainOptions options = quiet(1, 16);
    if (!kDouble)
        CHECK_ERROR(train(model, sgd, images, rng, options), "train: after step 1, weight holds ",
                    " at (0, 0)", "this state is not saved", "smaller learning rate");
}

TEST_CASE("fault: train, evaluate: a parameter that is not finite is named with its place") {
    const DataSet images = striped_images(16);
    Rng rng(1);
    MLP model(9, 6, 5, 3, rng);
    CHECK(where_not_finite(model) == "");
    model.state_dict().at("layers.2.weight").mutable_data()[7] = real(std::nan(""));
    CHECK(where_not_finite(model) == "layers.2.weight holds nan at (1, 1)");
    CHECK_ERROR(evaluate(model, images), "evaluate: in the batch from row 0 on, the logits hold",
                "layers.2.weight holds nan at (1, 1)");
    SGD sgd(model.parameters());
    CHECK_ERROR(train(model, sgd, images, rng, quiet(1, 8)), "step 1 ", "layers.2.weight",
                "(1, 1)", "parameters that it starts with");
    CHECK_ERROR(evaluate(model, images, 0), "evaluate", "batch size of 0");
    CHECK_ERROR(evaluate(model, {{}, {}, 0, 3, 3}), "evaluate", "no images");
}

TEST_CASE("fault: train: SIGTERM and SIGHUP end it as Ctrl-C does") {
    const DataSet images = striped_images(23);
    static int signal_number;
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
        signal_number = number;
        const auto before = std::signal(number, SIG_DFL);  // nohup, say, ignores SIGHUP
        Rng rng(12);
        auto trap = std::make_shared<InNthForward>(5, [] { std::raise(signal_number); });
        Sequential model({trap, std::make_shared<Linear>(9, 3, rng)});
        SGD sgd(model.parameters());
        const TrainReport report = train(model, sgd, images, rng, quiet(10, 8));
        std::signal(number, before);
        CHECK(report.interrupted);
        CHECK(report.steps == 5);
    }
}

TEST_CASE("fault: train: a signal that was ignored stays ignored") {
    const DataSet images = striped_images(23);
    const auto before = std::signal(SIGINT, SIG_IGN);
    Rng rng(12);
    auto trap = std::make_shared<InNthForward>(2, [] { std::raise(SIGINT); });
    Sequential model({trap, std::make_shared<Linear>(9, 3, rng)});
    SGD sgd(model.parameters());
    const TrainReport report = train(model, sgd, images, rng, quiet(2, 8));
    CHECK(!report.interrupted);
    CHECK(report.steps == 6);
    const bool ignored = std::signal(SIGINT, before) == SIG_IGN;
    CHECK(ignored);
}

TEST_CASE("fault: train: Ctrl-C in the very last step is no interruption") {
    const DataSet images = striped_images(23);
    Rng rng(13);
    Sequential model({std::make_shared<InNthForward>(6, [] { std::raise(SIGINT); }),
                      std::make_shared<Linear>(9, 3, rng)});
    SGD sgd(model.parameters());
    const TrainReport report = train(model, sgd, images, rng, quiet(2, 8));
    CHECK(!report.interrupted);
    CHECK(report.epochs.size() == 2);
}

TEST_CASE("fault: train: the schedule is asked for steps 0, 1, ...; its factor does not stay") {
    const DataSet images = striped_images(23);
    Rng rng(13);
    Linear model(9, 3, rng);
    SGD sgd(model.parameters(), {.lr = 0.1});
    sgd.lr_factor = 0.5;
    TrainOptions options = quiet(2, 8);
    std::vector<int64_t> asked;
    std::vector<real> biases;
    options.schedule = [&](int64_t step) {
        asked.push_back(step);
        return step == 0 ? 0.0 : 1.0;  // the first step moves nothing
    };
    const real start = model.bias.data()[0];
    options.on_batch = [&](const BatchReport&) { biases.push_back(model.bias.data()[0]); };
    train(model, sgd, images, rng, options);
    CHECK(asked == std::vector<int64_t>{0, 1, 2, 3, 4, 5});
    CHECK(sgd.lr_factor == 0.5);
    CHECK(biases[0] == start);
    CHECK(biases[1] != start);

    options.schedule = [](int64_t) { return -1.0; };
    CHECK_ERROR(train(model, sgd, images, rng, options), "lr_factor = -1", "0 or more");
    CHECK(sgd.lr_factor == 0.5);
}

TEST_CASE("fault: train: a negative clip_norm is an error") {
    const DataSet images = striped_images(8);
    Rng rng(13);
    Linear model(9, 3, rng);
    SGD sgd(model.parameters());
    for (const double bound : {-1.0, std::nan("")}) {
        TrainOptions options = quiet(1, 8);
        options.clip_norm = bound;
        CHECK_ERROR(train(model, sgd, images, rng, options), "train: clip_norm = ",
                    "0, for no bound");
    }
}

TEST_CASE("train: an epoch that is no better than guessing is said once, with the reason") {
    const DataSet images = striped_images(90);
    const auto fit = [&](double bias, double lr, TrainReport& report, int64_t batch_size = 10) {
        Rng rng(1);
        MLP model(9, 8, 8, 3, rng);
        // The first layer's units are all below zero: no gradient comes through.
        for (int64_t i = 0; i < 8; i++) model.parameters()[1].mutable_data()[i] += real(bias);
        Adam adam(model.parameters(), {.lr = lr});
        return stderr_of([&] {
            report = train(model, adam, images, rng,
                           {.epochs = 3, .batch_size = batch_size, .show_progress = false});
        });
    };
    TrainReport report;
    const std::string dead = fit(-100, 0.001, report);
    check_words(dead, {"train: epoch 1: ", "no better than guessing (1.09", "same for every row",
                       "hint: start again with a smaller learning rate"});
    CHECK(std::count(dead.begin(), dead.end(), '\n') == 1);
    CHECK(report.collapsed);
    check_words(fit(0, 1e-9, report), {"no better than guessing", "hint: train for more steps"});
    CHECK(report.collapsed);
    // The last batch has one row, which equals itself.
    check_words(fit(0, 1e-9, report, 89),
                {"no better than guessing", "hint: train for more steps"});
    CHECK(fit(0, 0.01, report) == "");
    CHECK(!report.collapsed);
}

}  // namespace slim
