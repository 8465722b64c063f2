// The training loop. See trainer.h.
#include "optim/trainer.h"

#include <algorithm>  // max, min
#include <array>
#include <chrono>
#include <cmath>  // isfinite, log
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"
#include "optim/checkpoint.h"
#include "optim/clip.h"
#include "optim/progress.h"

namespace slim {

using Clock = std::chrono::steady_clock;

static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

Pass classify(const Tensor& logits, const std::vector<int>& labels) {
    Pass pass{cross_entropy(logits, labels), int64_t(labels.size())};
    const std::vector<int> predicted = argmax_rows(logits);
    for (size_t i = 0; i < labels.size(); i++) pass.correct += predicted[i] == labels[i];
    return pass;
}

// Adds a pass to the sums over the present epoch.
static void tally(TrainProgress& p, const Pass& pass) {
    p.correct += pass.correct;
    p.items += pass.items;
    p.loss += double(pass.loss.item()) * double(pass.items);
}

// ---- values that are not finite -----------------------------------------------------------------

// "nan at (3, 4)", or "" if all values are finite.
static std::string not_finite(const Tensor& x) {
    int64_t at = 0;
    while (at < x.size() && std::isfinite(x.data()[at])) at++;
    if (at == x.size()) return "";
    const real value = x.data()[at];
    Shape index(x.shape().size());
    for (size_t axis = index.size(); axis-- > 0; at /= x.shape()[axis])
        index[axis] = at % x.shape()[axis];
    return to_text(double(value)) + " at " + to_text(index);
}

std::string where_not_finite(Module& model) {
    for (const NamedParameter& p : model.named_parameters())
        if (const std::string found = not_finite(p.tensor); !found.empty())
            return p.name + " holds " + found;
    return "";
}

// What is known about the origin of a loss or of logits that are not finite.
static std::string origin(Module& model) {
    const std::string where = where_not_finite(model);
    return where.empty() ? "all parameters are finite" : where;
}

Evaluation evaluate(Module& model, const DataSet& images, int64_t batch_size) {
    check(batch_size > 0, "evaluate: a batch size of ", batch_size, "; it must be at least 1");
    check(images.count > 0, "evaluate: the set has no images; there must be at least 1");
    const NoGrad no_grad;
    const EvalMode eval_mode(model);
    TrainProgress sums;
    for (int64_t first = 0; first < images.count; first += batch_size) {
        const Batch batch = batch_of(images, first, std::min(batch_size, images.count - first));
        const Tensor logits = model(batch.x);
        if (const std::string found = not_finite(logits); !found.empty())
            fail("evaluate: in the batch from row ", first, " on, the logits hold ", found, "; ",
                 origin(model),
                 ". hint: use other parameters; these cannot classify anything");
        tally(sums, classify(logits, batch.labels));
    }
    return {sums.mean_loss(), sums.accuracy()};
}

// What answering without looking at the inputs can reach: the entropy of the labels as the loss, in
// nats, and the share of the most frequent one as the accuracy.
static Evaluation guessing(const DataSet& set) {
    std::array<double, 256> counts{};
    for (uint8_t label : set.labels) counts[label]++;
    Evaluation guess{0, 0};
    for (double n : counts) {
        const double share = n / double(set.count);
        if (n > 0) guess.loss -= share * std::log(share);
        guess.accuracy = std::max(guess.accuracy, share);
    }
    return guess;
}

static bool no_better(const EpochReport& epoch, const Evaluation& guess) {
    const double times = epoch.loss / guess.loss;  // NaN or infinite with a single class
    // False, too, if the loss is far above guessing: that model is sure and wrong, but it learns.
    return times > 0.999 && times < 1.5 && epoch.accuracy < 1.2 * guess.accuracy;
}

// A large step can push all units of a layer below zero. ReLU then passes no gradient, so they
// never come back, and the logits are the same for every row. A single row says nothing.
static bool all_rows_equal(const Tensor& logits) {
    if (logits.size(0) < 2) return false;
    for (int64_t i = logits.size(1); i < logits.size(); i++)
        if (logits.data()[i] != logits.data()[i % logits.size(1)]) return false;
    return true;
}

static void warn_of_guessing(const EpochReport& epoch, const Evaluation& guess, bool dead) {
    std::fprintf(stderr, "train: epoch %d: a loss of %.4f is no better than guessing (%.4f)%s\n",
                 epoch.epoch, epoch.loss, guess.loss,
                 dead ? ", and the logits are the same for every row: all ReLUs of a layer have "
                        "died. hint: start again with a smaller learning rate"
                      : ". hint: train for more steps, or with another learning rate");
}

double TrainReport::seconds_per_epoch() const {
    double total = 0;
    for (const EpochReport& epoch : epochs) total += epoch.seconds;
    return epochs.empty() ? 0 : total / double(epochs.size());
}

// Gives a variable its value back at the end of the block.
struct KeepValue {
    double& variable;
    double before;
    ~KeepValue() { variable = before; }
};

// Labelled rows, in order or shuffled.
class LabelledRows : public TrainingSet {
public:
    LabelledRows(const DataSet& rows, const TrainOptions& options)
        : rows_(rows),
          batch_size_(options.batch_size),
          shuffle_(options.shuffle),
          batches_(rows, options.batch_size / options.accumulate) {}
    const char* item_name() const override {
        return rows_.pixels.empty() ? "rows" : "images";
    }
    int64_t items_per_epoch() const override { return rows_.count; }
    std::string describe() const override { return describe_data(rows_, batch_size_, shuffle_); }
    void start_epoch(Rng& rng) override {
        if (shuffle_) batches_.shuffle(rng);
        else batches_.in_order();
    }
    Pass next(Module& model) override {
        batches_.next(batch_);
        const Tensor logits = model(batch_.x);
        Pass pass = classify(logits, batch_.labels);
        pass.logits = logits;
        return pass;
    }
    Evaluation guess() const override { return guessing(rows_); }
    std::optional<double> accuracy(Module& model) const override {
        return evaluate(model, rows_).accuracy;
    }
    Batches::State position() const override { return batches_.state(); }
    void resume(const Batches::State& position) override { batches_.resume(position); }

private:
    const DataSet& rows_;
    int64_t batch_size_;
    bool shuffle_;
    Batches batches_;
    Batch batch_;
};

// Makes one optimiser step. Its items may come in several forward passes (options.accumulate). Each
// loss is weighted by its share of the items, so that the gradients add up to those of one large
// batch.
// Returns the logits of the last pass, if the set keeps them.
static Tensor train_step(const TrainState& run, TrainingSet& set, const TrainOptions& options) {
    TrainProgress& p = run.progress;
    const int64_t in_step = std::min(options.batch_size, set.items_per_epoch() - p.items);
    const int64_t end = p.items + in_step;
    p.step++;
    run.optimizer.zero_grad();
    Tensor logits;
    while (p.items < end) {
        const Pass pass = set.next(run.model);
        logits = pass.logits;
        if (!std::isfinite(pass.loss.item()))
            fail("train: the loss is ", double(pass.loss.item()), " in step ", p.step, " (epoch ",
                 p.epoch + 1, "); ", origin(run.model), "; training cannot go on from there",
                 p.step == 1 ? ". hint: look for NaN in the parameters that it starts with"
                             : ". hint: try a smaller learning rate");
        backward(pass.items == in_step ? pass.loss
                                       : scale(pass.loss, double(pass.items) / double(in_step)));
        tally(p, pass);
    }
    if (options.clip_norm > 0) clip_gradient_norm(run.optimizer.parameters(), options.clip_norm);
    {
        // The schedule's factor is for this step alone.
        const KeepValue lr_factor{run.optimizer.lr_factor, run.optimizer.lr_factor};
        if (options.schedule) run.optimizer.lr_factor = options.schedule(p.step - 1);
        run.optimizer.step();
    }
    p.position = set.position();
    return logits;
}

// Called after each epoch and before each checkpoint: the last step may have made parameters that
// are not finite, and no loss has been computed since that would show it.
static void check_parameters(const TrainState& run) {
    const std::string where = where_not_finite(run.model);
    check(where.empty(), "train: after step ", run.progress.step, ", ", where,
          "; this state is not saved. hint: try a smaller learning rate");
}

static void check_options(const TrainOptions& options) {
    check(options.epochs >= 0, "train: ", options.epochs, " epochs; the number must be 0 or more");
    check(options.accumulate >= 1 && options.batch_size % options.accumulate == 0,
          "train: steps of ", options.batch_size, " items in ", options.accumulate,
          " passes; the second must divide ", "the first");
    check(options.clip_norm >= 0, "train: clip_norm = ", options.clip_norm,
          "; it must be 0, for no bound, or more");
}

TrainReport train(Module& model, Optimizer& optimizer, const DataSet& images, Rng& rng,
                  const TrainOptions& options) {
    check_options(options);
    LabelledRows rows(images, options);
    return train(model, optimizer, rows, rng, options);
}

TrainReport train(Module& model, Optimizer& optimizer, TrainingSet& set, Rng& rng,
                  const TrainOptions& options) {
    check_options(options);
    const int64_t items = set.items_per_epoch();
    TrainReport report;
    TrainProgress p;
    const bool with_files = !options.resume.empty() || !options.checkpoint.empty();
    const TrainState run{model, optimizer, rng, p,
                         with_files ? set.describe() : "", options.frozen_from_checkpoint};
    if (!options.resume.empty()) {
        load_checkpoint(options.resume, run, options.config);
        check(p.items < items, options.resume, ": the checkpoint stands after ", p.items, " ",
              set.item_name(), ", but an epoch of this run has ", items,
              ". hint: resume with the same data and options");
        set.resume(p.position);
    }
    const auto save = [&] {
        check_parameters(run);
        if (!options.checkpoint.empty()) save_checkpoint(options.checkpoint, run, options.config);
    };

    const Evaluation guess = set.guess();
    bool warned = false;
    const StopSignals stop;
    ProgressLine line(options.label, options.epochs, items, set.item_name());
    model.train();
    while (p.epoch < options.epochs && !stop.requested()) {
        const Clock::time_point start = Clock::now();
        const double seconds_before = p.seconds;
        Tensor logits;
        if (p.items == 0) set.start_epoch(rng);  // not in the middle of a resumed epoch
        while (p.items < items && !stop.requested()) {
            const double loss_before = p.loss;
            const int64_t items_before = p.items;
            logits = train_step(run, set, options);
            p.seconds = seconds_before + seconds_since(start);
            if (options.on_batch)
                options.on_batch({int(p.epoch + 1), items_before / options.batch_size,
                                  (items - 1) / options.batch_size + 1,
                                  (p.loss - loss_before) / double(p.items - items_before)});
            if (options.show_progress) line.update(p);
        }
        if (p.items < items) break;  // stopped inside the epoch
        p.epoch++;
        report.epochs.push_back({int(p.epoch), p.mean_loss(), p.accuracy(), p.seconds});
        EpochReport& epoch = report.epochs.back();
        if (options.evaluate_training_set) epoch.train_accuracy = set.accuracy(model);
        if (options.test) epoch.test_accuracy = evaluate(model, *options.test).accuracy;
        report.collapsed = no_better(epoch, guess);
        if (report.collapsed && !warned) warn_of_guessing(epoch, guess, all_rows_equal(logits));
        warned = warned || report.collapsed;
        if (options.on_epoch) options.on_epoch(epoch);
        p.items = p.correct = 0;
        p.loss = p.seconds = 0;
        save();
    }
    report.interrupted = p.epoch < options.epochs;  // a signal in the last step changes nothing
    if (report.interrupted) {
        if (p.items > 0) save();
        if (options.show_progress) std::printf("\ninterrupted after step %ld\n", long(p.step));
    }
    report.steps = p.step;
    return report;
}

}  // namespace slim
