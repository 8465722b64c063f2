// Mini-batches: pixels become floats here, each time an image is used. See batches.h.
#include "data/batches.h"

#include <algorithm>  // copy_n, min

namespace slim {

namespace {

// Row i of x, and its label, from one row of the set. Dividing, rather than multiplying by the
// rounded 1 / 255, gives PyTorch's numbers to the bit (torchvision's ToTensor).
void put_image(const DataSet& set, int64_t image, int64_t i, real* x, std::vector<int>& labels) {
    const int64_t features = set.features(), start = image * features;
    real* row = x + i * features;
    labels[size_t(i)] = set.labels[size_t(image)];
    if (!set.values.empty()) {
        std::copy_n(set.values.data() + start, features, row);
        return;
    }
    const uint8_t* pixels = set.pixels.data() + start;
    for (int64_t k = 0; k < features; k++) row[k] = real(pixels[k]) / 255;
}

void prefetch_image(const DataSet& set, int64_t image) {
    if (set.pixels.empty()) return;
    const uint8_t* pixels = set.pixels.data() + image * set.features();
    for (int64_t k = 0; k < set.features(); k += 64) __builtin_prefetch(pixels + k);
}

}  // namespace

Batches::Batches(const DataSet& set, int64_t batch_size, Shard shard)
    : set_(set), batch_size_(batch_size), shard_(shard) {
    check(batch_size > 0, "Batches: a batch size of ", batch_size, "; it must be at least 1");
    check(shard.index >= 0 && shard.index < shard.count, "Batches: shard ", shard.index, " of ",
          shard.count, "; it must be one of 0 .. count - 1");
    check(set.count > 0, "Batches: the set has no images; there must be at least 1");
    check(int64_t(set.pixels.size() + set.values.size()) == set.count * set.features() &&
              int64_t(set.labels.size()) == set.count,
          "Batches: a set of ", set.count, " images with ",
          set.pixels.size() + set.values.size(), " numbers and ",
          set.labels.size(), " labels; there must be ", set.rows, " x ", set.cols,
          " pixels and one label for each image");
}

void Batches::in_order() {
    state_ = {};
    order_.clear();
}

void Batches::shuffle(Rng& rng) {
    state_ = {.shuffled = true, .order = rng.state, .next = 0};
    order_ = rng.permutation(set_.count);
}

bool Batches::next(Batch& batch) {
    const int64_t whole = std::min(batch_size_, set_.count - state_.next);
    if (whole == 0) return false;
    const int64_t first = state_.next + whole * shard_.index / shard_.count;
    const int64_t n = state_.next + whole * (shard_.index + 1) / shard_.count - first;
    if (!state_.shuffled) {
        batch = batch_of(set_, first, n);
    } else {
        batch.x = Tensor({n, set_.features()});
        batch.labels.resize(size_t(n));
        real* x = batch.x.mutable_data();
        for (int64_t i = 0; i < n; i++) {
            // In random order, an image is rarely in the cache: prefetch a later one.
            const int64_t ahead = first + i + 4;
            if (ahead < set_.count) prefetch_image(set_, order_.at(size_t(ahead)));
            put_image(set_, order_.at(size_t(first + i)), i, x, batch.labels);
        }
    }
    state_.next += whole;
    return true;
}

int64_t Batches::batches_per_epoch() const { return (set_.count + batch_size_ - 1) / batch_size_; }

void Batches::resume(const State& state) {
    check(state.next >= 0 && state.next <= set_.count, "Batches: resuming after ", state.next,
          " images of a set of ", set_.count, ". hint: is it the set the checkpoint was made on?");
    in_order();
    if (state.shuffled) {
        Rng rng(state.order);
        shuffle(rng);
    }
    state_.next = state.next;
}

Batch batch_of(const DataSet& set, int64_t first, int64_t count) {
    check(first >= 0 && count >= 0 && first <= set.count && count <= set.count - first,
          "batch_of: ", count, " images from number ", first, " on, of a set of ", set.count);
    Batch batch{Tensor({count, set.features()}), std::vector<int>(size_t(count))};
    real* x = batch.x.mutable_data();
    for (int64_t i = 0; i < count; i++) put_image(set, first + i, i, x, batch.labels);
    return batch;
}

}  // namespace slim
