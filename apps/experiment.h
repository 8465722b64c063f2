// What mnist, shift, study and predict share: the options about data, a change of task (shifted),
// training one copy of a base (adapt), and the mean over seeds.
#pragma once

#include <algorithm>  // max
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/program.h"
#include "apps/report/report.h"
#include "nn/adapters/adapt.h"
#include "nn/sequential.h"

namespace slim {

struct Task {
    DataSet train, test;

    int64_t classes() const { return std::max(train.classes(), test.classes()); }
};

// The options about data.
struct TaskOptions {
    std::string data = "data/mnist", test, label, scale = "standard";
    std::string like;  // a CSV file: data must have its columns and classes. "": no check

    void add_to(Options& options);
    bool is_csv() const;  // whether data is a file: images are in folders
    // Throws when the two sets do not fit each other. Without a test file, a fifth of the rows of
    // a CSV file, drawn at random, is for testing.
    Task load() const;
};

// The changed task: its images changed (see shifted() in data/dataset.h), or other data of the same
// kind from the folder or CSV file `how`; "fashion" is the folder data/fashion.
Task shifted(const Task& task, const TaskOptions& options, const std::string& how);

// Returns a random part of the rows, chosen by the seed; 0 stands for all.
DataSet sample_rows(const DataSet& set, int64_t count, int64_t seed);

// "128,256" as whole numbers from 1 on; `option` is for messages.
std::vector<int64_t> whole_numbers(const std::string& list, const std::string& option);

std::vector<int64_t> widths_of(MLP& model);
std::shared_ptr<MLP> copy_of(MLP& model, Rng& rng);

// How a copy of a base is trained.
struct Adaptation {
    std::string method;         // "full", "lora", "dora", or "scratch": from random weights
    AdapterConfig config = {};  // of lora and dora
    double lr = 0.001;
    int64_t epochs = 5, batch = 64;
    std::string label = {};  // of its line of progress; "" shows none
    std::function<void(MLP& model, const BatchReport& batch)> on_batch = {};
};

// Trains a copy of the base on the task, shuffled, and evaluates it on the task and, if given, on
// the test set of the task before.
Row adapt(MLP& base, const Adaptation& how, const Task& task, const DataSet* old_test, Rng rng);

// Mean and sample standard deviation, and how many were left out because they collapsed.
struct Spread {
    double mean = 0, deviation = 0, low = 0, high = 0;
    int64_t count = 0, collapsed = 0;
};
Spread spread_of(const std::vector<Row>& rows, double Row::*value);

}  // namespace slim
