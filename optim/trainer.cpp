// The training loop. See trainer.h.
#include "optim/trainer.h"

#include <unistd.h>  // isatty

#include <algorithm>  // min
#include <chrono>
#include <cmath>    // isfinite
#include <csignal>  // Ctrl-C
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"
#include "optim/checkpoint.h"
#include "optim/clip.h"

namespace slim {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// While one of these lives, Ctrl-C raises a flag instead of ending the program.
volatile std::sig_atomic_t interrupt_requested = 0;

struct CatchInterrupt {
    CatchInterrupt() {
        interrupt_requested = 0;
        before = std::signal(SIGINT, [](int) { interrupt_requested = 1; });
    }
    ~CatchInterrupt() { std::signal(SIGINT, before); }
    void (*before)(int);
};

int64_t count_correct(const Tensor& logits, const std::vector<int>& labels) {
    const std::vector<int> predicted = argmax_rows(logits);
    int64_t correct = 0;
    for (size_t i = 0; i < labels.size(); i++) correct += predicted[i] == labels[i];
    return correct;
}

// Adds a batch to the sums over the present epoch.
void tally(TrainProgress& p, const Tensor& logits, const std::vector<int>& labels, double loss) {
    p.images += int64_t(labels.size());
    p.correct += count_correct(logits, labels);
    p.loss += loss * double(labels.size());
}

double accuracy(const TrainProgress& p) { return double(p.correct) / double(p.images); }
double mean_loss(const TrainProgress& p) { return p.loss / double(p.images); }

// One line about an epoch. On a terminal it is rewritten as training goes on.
class ProgressLine {
public:
    ProgressLine(const TrainOptions& options, int64_t images)
        : options_(options), images_(images), terminal_(isatty(STDOUT_FILENO)) {}

    void update(const TrainProgress& p, double seconds) {
        const bool finished = p.images == images_;
        if (!options_.show_progress || (!terminal_ && !finished)) return;
        if (!finished && seconds - shown_ < 0.1) return;
        shown_ = finished ? 0 : seconds;
        const double speed = double(p.images) / seconds;
        const double left = double(options_.epochs - p.epoch) * double(images_) - double(p.images);
        std::printf(
            "%s%s epoch %2ld/%d  loss %.4f  accuracy %6.2f %%  %6.0f images/s  %2.0f s left%s",
            terminal_ ? "\r" : "", options_.label, long(p.epoch + 1), options_.epochs, mean_loss(p),
            100 * accuracy(p), speed, left / speed, finished ? "  \n" : "  ");
        std::fflush(stdout);
    }

private:
    const TrainOptions& options_;
    int64_t images_;
    bool terminal_;
    double shown_ = 0;  // seconds into the epoch
};

}  // namespace

Evaluation evaluate(Module& model, const ImageSet& images, int64_t batch_size) {
    const NoGrad no_grad;
    const EvalMode eval_mode(model);
    TrainProgress sums;
    for (int64_t first = 0; first < images.count; first += batch_size) {
        const Batch batch = batch_of(images, first, std::min(batch_size, images.count - first));
        const Tensor logits = model(batch.x);
        tally(sums, logits, batch.labels, cross_entropy(logits, batch.labels).item());
    }
    return {mean_loss(sums), accuracy(sums)};
}

double TrainReport::seconds_per_epoch() const {
    double total = 0;
    for (const EpochReport& epoch : epochs) total += epoch.seconds;
    return epochs.empty() ? 0 : total / double(epochs.size());
}

// One optimiser step. Its images come in options.accumulate forward passes, whose losses are
// weighted by their share of the images, so that the gradients add up to those of one large batch.
static void train_step(const TrainState& run, Batches& batches, int64_t images_left,
                       const TrainOptions& options) {
    TrainProgress& p = run.progress;
    const int64_t in_step = std::min(options.batch_size, images_left);
    p.step++;
    run.optimizer.zero_grad();
    Batch batch;
    for (int64_t seen = 0; seen < in_step && batches.next(batch);) {
        const Tensor logits = run.model(batch.x);
        const Tensor loss = cross_entropy(logits, batch.labels);
        check(std::isfinite(loss.item()), "train: the loss is ", double(loss.item()), " in step ",
              p.step, " (epoch ", p.epoch + 1, "); training cannot go on from there",
              ". hint: try a smaller learning rate, or look for NaN in the data");
        const int64_t count = int64_t(batch.labels.size());
        backward(count == in_step ? loss : scale(loss, double(count) / double(in_step)));
        tally(p, logits, batch.labels, loss.item());
        seen += count;
    }
    if (options.clip_norm > 0) clip_gradient_norm(run.optimizer.parameters(), options.clip_norm);
    if (options.schedule) run.optimizer.lr_factor = options.schedule(p.step - 1);
    run.optimizer.step();
    p.position = batches.state();
}

TrainReport train(Module& model, Optimizer& optimizer, const ImageSet& images, Rng& rng,
                  const TrainOptions& options) {
    check(options.epochs >= 0, "train: ", options.epochs, " epochs; the number must be 0 or more");
    check(options.accumulate >= 1 && options.batch_size % options.accumulate == 0,
          "train: steps of ", options.batch_size, " images in ", options.accumulate,
          " passes; the second must divide ", "the first");
    TrainReport report;
    TrainProgress p;
    const TrainState run{model, optimizer, rng, p};
    Batches batches(images, options.batch_size / options.accumulate);
    if (!options.resume.empty()) {
        load_checkpoint(options.resume, run, options.config);
        batches.resume(p.position);
    }
    const auto save = [&] {
        if (!options.checkpoint.empty()) save_checkpoint(options.checkpoint, run, options.config);
    };

    CatchInterrupt catch_interrupt;
    ProgressLine progress(options, images.count);
    model.train();
    while (p.epoch < options.epochs && !report.interrupted) {
        const Clock::time_point start = Clock::now();
        if (p.images == 0) {  // not in the middle of a resumed epoch
            if (options.shuffle) batches.shuffle(rng);
            else batches.in_order();
        }
        while (p.images < images.count && !report.interrupted) {
            const double loss_before = p.loss;
            const int64_t images_before = p.images;
            train_step(run, batches, images.count - p.images, options);
            if (options.on_batch)
                options.on_batch({int(p.epoch + 1), images_before / options.batch_size,
                                  (images.count - 1) / options.batch_size + 1,
                                  (p.loss - loss_before) / double(p.images - images_before)});
            progress.update(p, seconds_since(start));
            report.interrupted = interrupt_requested;
        }
        if (p.images < images.count) break;  // interrupted inside the epoch
        p.epoch++;
        report.epochs.push_back({int(p.epoch), mean_loss(p), accuracy(p), seconds_since(start)});
        EpochReport& epoch = report.epochs.back();
        if (options.evaluate_training_set) epoch.train_accuracy = evaluate(model, images).accuracy;
        if (options.test) epoch.test_accuracy = evaluate(model, *options.test).accuracy;
        if (options.on_epoch) options.on_epoch(epoch);
        p.images = p.correct = 0;
        p.loss = 0;
        if (!report.interrupted) save();
    }
    if (report.interrupted) {
        save();
        if (options.show_progress) std::printf("\ninterrupted after step %ld\n", long(p.step));
    }
    report.steps = p.step;
    return report;
}

}  // namespace slim
