// The training loop, over a DataSet or a TrainingSet of one's own; and evaluate().
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/random.h"
#include "data/batches.h"
#include "nn/module.h"
#include "optim/optimizer.h"

namespace slim {

struct Evaluation {
    double loss;      // mean cross-entropy per image
    double accuracy;  // 0 .. 1
};

// Runs the model over all images, in evaluation mode and without recording a graph. Leaves the
// model's mode as it was. Throws when a logit is not finite, and says where the first such value
// stands.
Evaluation evaluate(Module& model, const DataSet& images, int64_t batch_size = 500);

// Returns the first value of the parameters that is not finite: "layers.0.weight holds nan at
// (3, 4)"; "" if there is none.
std::string where_not_finite(Module& model);

// Result of one forward pass.
struct Pass {
    Tensor loss;  // mean over the items
    int64_t items = 0;
    int64_t correct = 0;  // items whose label had the largest logit
    Tensor logits = {};   // of labelled rows: if all rows are equal, a layer of ReLUs has died
};

// What is trained on. An epoch is a number of forward passes over items, such as images or tokens.
class TrainingSet {
public:
    virtual ~TrainingSet() = default;
    virtual const char* item_name() const = 0;  // "images"
    virtual int64_t items_per_epoch() const = 0;
    virtual std::string describe() const = 0;  // tells sets apart, for checkpoints

    virtual void start_epoch(Rng& rng) = 0;
    virtual Pass next(Module& model) = 0;  // the next forward pass of the epoch
    // The share of all items that the model predicts right, if that can be said.
    virtual std::optional<double> accuracy(Module&) const { return {}; }

    // Loss and accuracy of a guess that knows only how frequent each label is. A run that is no
    // better is warned of. {0, 0}: no warning.
    virtual Evaluation guess() const { return {0, 0}; }

    // The position, for a checkpoint. resume() goes on from it with the same passes.
    virtual Batches::State position() const = 0;
    virtual void resume(const Batches::State& position) = 0;
};

// Returns the Pass of logits [items, classes] with one label per item: its cross-entropy, and how
// many are right.
Pass classify(const Tensor& logits, const std::vector<int>& labels);

struct BatchReport {
    int epoch;               // from 1
    int64_t batch, batches;  // from 0, and how many the epoch has
    double loss;             // mean over the batch's items, before the step
};

struct EpochReport {
    int epoch;        // from 1
    double loss;      // mean over the epoch's items, each before its step
    double accuracy;  // of the same predictions, 0 .. 1
    double seconds;
    std::optional<double> train_accuracy = {};  // evaluated after the epoch; see TrainOptions
    std::optional<double> test_accuracy = {};   // with TrainOptions::test, 0 .. 1
};

struct TrainOptions {
    int epochs = 10;
    int64_t batch_size = 64;  // items per step
    int64_t accumulate = 1;   // a forward pass takes batch_size / accumulate items
    bool shuffle = false;
    double clip_norm = 0;     // bound on the norm of the gradients; 0 is no bound
    // Factor on the learning rate in each step, counted from 0. See schedule.h.
    std::function<double(int64_t step)> schedule = {};

    // Images to evaluate the model on after each epoch. The time is not in EpochReport::seconds,
    // and training gives the same bits as without.
    const DataSet* test = nullptr;
    bool evaluate_training_set = false;  // the same on the images that it is trained on

    // Called after each step and after each epoch, for output of one's own.
    std::function<void(const BatchReport&)> on_batch = {};
    std::function<void(const EpochReport&)> on_epoch = {};

    std::string checkpoint = {};  // file to write after each epoch, and on Ctrl-C; "" for none
    std::string resume = {};      // checkpoint to go on from; "" to start at the beginning
    std::string config = {};      // what run this is: resuming demands the same text

    // Takes the frozen parameters from the checkpoint too. By default the model must have the same
    // ones already: resuming on another base is an error.
    bool frozen_from_checkpoint = false;

    bool show_progress = true;  // on standard output: a line that updates itself, or one per epoch
    const char* label = "";     // printed before each line
};

struct TrainReport {
    std::vector<EpochReport> epochs;  // completed in this call; a resumed one began earlier
    int64_t steps = 0;                // optimiser steps since the very beginning
    bool interrupted = false;         // by a signal, before the last step
    bool collapsed = false;           // the last epoch was no better than guessing

    double seconds_per_epoch() const;  // mean
};

// Trains with cross-entropy. Says once on standard error when an epoch is no better than
// guessing, and whether a layer has died. Throws at the first loss that is not finite, and when
// parameters are not finite after an epoch; the error says where. SIGINT (Ctrl-C), SIGTERM and
// SIGHUP end training after the present step, and the checkpoint is written. rng draws the shuffled
// orders. A run that is resumed from its checkpoint ends in the same bits as one that was never
// stopped.
TrainReport train(Module& model, Optimizer& optimizer, const DataSet& images, Rng& rng,
                  const TrainOptions& options = {});

// The same on any set, whose passes must be of batch_size / accumulate items.
TrainReport train(Module& model, Optimizer& optimizer, TrainingSet& set, Rng& rng,
                  const TrainOptions& options = {});

}  // namespace slim
