// The page that `mnist --report DIR` writes: curves, table, confusion matrices, the worst mistakes,
// and what the adapters did to the first layer.
//
// It is one HTML file with its pictures inside (SVG and small bitmaps), without scripts: it opens
// from disk, offline, and looks the same in ten years. What is not in a Row is not on the page.
// Row, one trained model and its figures, also serves the tables of mnist, shift and study.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/mnist.h"
#include "nn/adapters/adapt.h"
#include "optim/trainer.h"

namespace slim {

// A test image that the model got wrong.
struct Mistake {
    int64_t image;               // its number in the test set, from 0
    int label, predicted;
    double label_probability;    // what the model gave the right answer,
    double probability;          // and the one it chose
    Bytes pixels;                // [rows, cols]
};

// What an adapter did to the first layer.
struct LayerChange {
    std::string name;                        // "layers.0"
    Tensor weight, change, merged;           // W, s B A and the merged weight, each [out, in]
    Tensor magnitude_before, magnitude_after;  // norms of W's and the merged weight's
    Axis axis;                               // rows (kOut) or columns (kIn)
};

// Everything about one model that only the report wants.
struct ModelPictures {
    int64_t rows = 0, cols = 0;                   // of an image; 0 if the data are not images
    std::vector<std::vector<int64_t>> confusion;  // [label][predicted], counts of test images
    std::vector<Mistake> mistakes;                // the worst ones, the worst first
    std::shared_ptr<LayerChange> first_layer;     // null unless it looks at pixels and is adapted
};

// One trained model: a row of the table.
struct Row {
    std::string method;
    int64_t seed = 0;
    ParameterCount parameters = {};
    double test_accuracy = 0, train_accuracy = 0;  // 0 .. 1
    std::vector<EpochReport> epochs = {};          // of its training; none if it was not trained
    double seconds_per_epoch = 0;
    ModelPictures pictures = {};

    // After a change of task (apps/shift.h).
    std::string task = {};           // "rotate:45, 3000 samples"
    double old_accuracy = 0;         // on the task before, 0 .. 1
    double off_accuracy = 0;         // the same with the adapter switched off
    double lr = 0;
    int64_t samples = 0, rank = 0;
    bool collapsed = false;          // see TrainReport
};

// Looks at the model: shows it the test set, and takes its first layer apart. The mistakes kept are
// those where the right answer got the least probability.
ModelPictures picture_model(Module& model, const DataSet& test, size_t mistakes = 12);

// The page; `setup` is a sentence about the run, printed under the title.
std::string report_html(const std::vector<Row>& rows, const std::string& setup);

// Returns a line per epoch of each row.
std::string epochs_csv(const std::vector<Row>& rows);

// Writes folder/index.html, and the log of each epoch beside it, folder/epochs.csv.
void write_report(const std::string& folder, const std::vector<Row>& rows,
                  const std::string& setup);

}  // namespace slim
