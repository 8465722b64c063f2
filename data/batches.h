// Cuts a DataSet into mini-batches, in order or shuffled:
//
//     Batches batches(train, 64);
//     for (int epoch = 0; epoch < 10; epoch++) {
//         batches.shuffle(rng);
//         for (Batch b; batches.next(b);) ... b.x, b.labels ...
//     }
#pragma once

#include <cstdint>
#include <vector>

#include "core/random.h"
#include "core/tensor.h"
#include "data/dataset.h"

namespace slim {

struct Batch {
    Tensor x;                 // [n, features]; pixels as value / 255, so from 0 to 1
    std::vector<int> labels;  // [n]
};

// Part `index` of `count` near-equal parts of every batch, for processes that train together.
struct Shard {
    int64_t index = 0, count = 1;
};

class Batches {
public:
    // Keeps a reference to set; starts in order. With a shard, next() gives that part of a batch.
    Batches(const DataSet& set, int64_t batch_size, Shard shard = {});
    Batches(DataSet&& temporary, int64_t, Shard = {}) = delete;

    void in_order();         // a new epoch, in the order of the file
    void shuffle(Rng& rng);  // a new epoch, in an order drawn from rng

    // Fills the batch; the last one of an epoch may be short, and where there are fewer images than
    // shards, some shards are empty. False at the end of the epoch.
    bool next(Batch& batch);

    int64_t batches_per_epoch() const;

    // The position, for a checkpoint. resume() goes on from it with the same batches.
    struct State {
        bool shuffled = false;
        uint64_t order = 0;  // state of the Rng that the order was drawn from
        int64_t next = 0;    // images of this epoch that all shards together have had
    };
    State state() const { return state_; }
    void resume(const State& state);  // throws when it does not fit the set

private:
    const DataSet& set_;
    int64_t batch_size_;
    Shard shard_;
    State state_;
    std::vector<int64_t> order_;  // empty: as in the file
};

// Images first .. first + count - 1 as one batch.
Batch batch_of(const DataSet& set, int64_t first, int64_t count);

}  // namespace slim
