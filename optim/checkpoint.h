// Training checkpoints: all that a stopped run needs to end in the same bits as one that went on.
#pragma once

#include <string>

#include "core/random.h"
#include "data/batches.h"
#include "nn/module.h"
#include "optim/optimizer.h"

namespace slim {

// The progress of a run.
struct TrainProgress {
    int64_t epoch = 0;           // epochs completed
    int64_t step = 0;            // optimiser steps made
    Batches::State position;     // in the data of the present epoch
    int64_t items = 0;           // images or tokens, trained on in the present epoch
    int64_t correct = 0;         // predicted right, of these items
    double loss = 0;             // sum over these items
    double seconds = 0;          // of training in the present epoch

    double mean_loss() const { return loss / double(items); }
    double accuracy() const { return double(correct) / double(items); }
};

// A run, as references to its parts.
struct TrainState {
    Module& model;
    Optimizer& optimizer;
    Rng& rng;
    TrainProgress& progress;
    std::string data = {};                // TrainingSet::describe(), compared unless ""
    bool frozen_from_checkpoint = false;  // else the frozen parameters are compared
};

// Returns a text that differs if the data, the batch size or the shuffling differ.
std::string describe_data(const DataSet& images, int64_t batch_size, bool shuffle);

// Returns a short text that differs, in practice, where a parameter or quantised weight differs.
std::string fingerprint(Module& model);

// Writes a safetensors file: the parameters, the optimiser's state, the states of rng and of the
// model's own generators, the progress, and `config`, a text that says what run this is.
void save_checkpoint(const std::string& path, const TrainState& run, const std::string& config);

// Returns the config that a checkpoint was saved with.
std::string checkpoint_config(const std::string& path);

// Sets all parts of the run to what the file holds. Throws, and changes nothing, when the file is
// damaged or of another run: another config, model (as printed), adapter, optimiser (its kind,
// options and parameters), data, frozen parameter or quantised weight.
void load_checkpoint(const std::string& path, const TrainState& run, const std::string& config);

}  // namespace slim
