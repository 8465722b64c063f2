// data/batches.h: every image once in an epoch, with its label, and going on where we stopped.
#include "data/batches.h"

#include <algorithm>

#include "tests/testing.h"

namespace slim {

namespace {

// Image i of n is a row of 5 pixels that tell i, and its label is i mod 10.
DataSet numbered(int64_t n) {
    DataSet set;
    set.count = n;
    set.rows = 1;
    set.cols = 5;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < 5; k++) set.pixels.push_back(uint8_t(k == 0 ? i : 50 * k + i % 7));
        set.labels.push_back(uint8_t(i % 10));
    }
    return set;
}

// The numbers of a batch's images; checks each image's every pixel and its label on the way.
std::vector<int64_t> images_of(const Batch& batch, const DataSet& set) {
    REQUIRE(batch.x.shape() == Shape{int64_t(batch.labels.size()), set.features()});
    std::vector<int64_t> images;
    for (int64_t i = 0; i < batch.x.size(0); i++) {
        const real* row = batch.x.data() + i * set.features();
        images.push_back(std::lround(row[0] * 255));
        for (int64_t k = 0; k < set.features(); k++)
            CHECK(row[k] == real(set.pixels[size_t(images.back() * 5 + k)]) / 255);
        CHECK(batch.labels[size_t(i)] == images.back() % 10);
    }
    return images;
}

// The images of what is left of an epoch, in the order in which they come.
std::vector<int64_t> rest_of_epoch(Batches& batches, const DataSet& set) {
    std::vector<int64_t> images;
    for (Batch b; batches.next(b);)
        for (int64_t image : images_of(b, set)) images.push_back(image);
    return images;
}

}  // namespace

TEST_CASE("batches: in order, the last one short") {
    const DataSet set = numbered(10);
    Batches batches(set, 4);
    CHECK(batches.batches_per_epoch() == 3);
    for (int epoch = 0; epoch < 2; epoch++) {
        Batch b;
        CHECK(batches.next(b));
        CHECK(images_of(b, set) == std::vector<int64_t>{0, 1, 2, 3});
        CHECK(batches.next(b));
        CHECK(images_of(b, set) == std::vector<int64_t>{4, 5, 6, 7});
        CHECK(batches.next(b));
        CHECK(images_of(b, set) == std::vector<int64_t>{8, 9});
        CHECK(!batches.next(b));
        CHECK(!batches.next(b));
        batches.in_order();
    }
}

TEST_CASE("batches: pixels are value / 255 to the bit") {
    DataSet set;
    set.count = 1;
    set.rows = 16;
    set.cols = 16;
    for (int v = 0; v < 256; v++) set.pixels.push_back(uint8_t(v));
    set.labels = {0};
    Batch b;
    REQUIRE(Batches(set, 1).next(b));
    for (int v = 0; v < 256; v++) CHECK(b.x.at({0, v}) == real(v) / real(255));
    CHECK(b.x.at({0, 0}) == 0);
    CHECK(b.x.at({0, 255}) == 1);
    if (!kDouble) CHECK(b.x.at({0, 3}) == real(0.011764706112444401));  // torchvision's ToTensor
}

TEST_CASE("batches: a shuffled epoch has each image once, in an order of its own") {
    for (int64_t n : {1, 2, 7, 64, 200}) {
        for (int64_t size : {1, 3, 64, 1000}) {
            const DataSet set = numbered(n);
            Batches batches(set, size);
            Rng rng(3), same(3);
            batches.shuffle(rng);
            const std::vector<int64_t> first = rest_of_epoch(batches, set);
            CHECK(first == same.permutation(n));
            batches.shuffle(rng);
            const std::vector<int64_t> second = rest_of_epoch(batches, set);
            CHECK(second == same.permutation(n));
            if (n > 7) CHECK(first != second);
            batches.in_order();
            std::vector<int64_t> sorted = second;
            std::sort(sorted.begin(), sorted.end());
            CHECK(rest_of_epoch(batches, set) == sorted);
        }
    }
}

TEST_CASE("batches: the batch in hand survives the next one") {
    const DataSet set = numbered(4);
    Batches batches(set, 2);
    Batch b;
    batches.next(b);
    const Tensor first = b.x;
    batches.next(b);
    CHECK(first.at({0, 0}) == 0);
    CHECK(first.at({1, 0}) == real(1) / 255);
}

TEST_CASE("batches: resume goes on to the bit, in this epoch and the next") {
    const DataSet set = numbered(23);
    for (bool shuffled : {false, true}) {
        for (int stop = 0; stop <= 6; stop++) {
            Rng rng(5);
            rng.bits();
            Batches batches(set, 4);
            if (shuffled) batches.shuffle(rng);
            Batch b;
            for (int i = 0; i < stop; i++) CHECK(batches.next(b));
            const Batches::State state = batches.state();
            Rng resumed_rng(rng.state);

            Batches resumed(set, 4);
            resumed.resume(state);
            CHECK(rest_of_epoch(resumed, set) == rest_of_epoch(batches, set));
            batches.shuffle(rng);
            resumed.shuffle(resumed_rng);
            CHECK(rest_of_epoch(resumed, set) == rest_of_epoch(batches, set));
        }
    }
}

TEST_CASE("batches: the shards of a batch, one after the other, are the batch") {
    const DataSet set = numbered(23);
    for (bool shuffled : {false, true}) {
        for (int64_t count : {1, 2, 3, 5, 7}) {  // 23 in batches of 5 ends with 3: empty shards
            const auto begin = [&](Shard shard) {
                Rng rng(5);
                Batches batches(set, 5, shard);
                if (shuffled) batches.shuffle(rng);
                return batches;
            };
            Batches whole = begin({});
            std::vector<Batches> shards;
            for (int64_t i = 0; i < count; i++) shards.push_back(begin({i, count}));
            for (Batch b, part; whole.next(b);) {
                std::vector<int64_t> together;
                for (Batches& shard : shards) {
                    REQUIRE(shard.next(part));
                    CHECK(shard.state().next == whole.state().next);
                    const int64_t n = part.x.size(0), images = b.x.size(0);
                    CHECK(n >= images / count);
                    CHECK(n <= (images + count - 1) / count);
                    for (int64_t image : images_of(part, set)) together.push_back(image);
                }
                CHECK(together == images_of(b, set));
            }
            Batch none;
            for (Batches& shard : shards) CHECK(!shard.next(none));
        }
    }
}

TEST_CASE("batches: batch_of takes a range") {
    const DataSet set = numbered(10);
    CHECK(images_of(batch_of(set, 3, 4), set) == std::vector<int64_t>{3, 4, 5, 6});
    CHECK(images_of(batch_of(set, 0, 10), set).size() == 10);
    CHECK(batch_of(set, 10, 0).x.shape() == Shape{0, 5});
    CHECK_ERROR(batch_of(set, 8, 3), "batch_of", "3 images from number 8", "set of 10");
    CHECK_ERROR(batch_of(set, -1, 3), "batch_of", "3 images from number -1", "set of 10");
    CHECK_ERROR(batch_of(set, INT64_MAX, 1), "batch_of");
    CHECK_ERROR(batch_of(set, 0, -1), "batch_of");
}

TEST_CASE("batches: wrong uses") {
    const DataSet set = numbered(10);
    CHECK_ERROR(Batches(set, 0), "Batches", "batch size of 0", "at least 1");
    CHECK_ERROR(Batches(set, -64), "Batches", "batch size of -64");
    CHECK_ERROR(Batches(set, 4, {2, 2}), "Batches", "shard 2 of 2", "0 .. count - 1");
    CHECK_ERROR(Batches(set, 4, {-1, 2}), "Batches", "shard -1 of 2");
    CHECK_ERROR(Batches(set, 4, {0, 0}), "Batches", "shard 0 of 0");
    const DataSet empty;
    CHECK_ERROR(Batches(empty, 1), "Batches", "no images");
    DataSet odd = numbered(10);
    odd.pixels.pop_back();
    CHECK_ERROR(Batches(odd, 1), "Batches", "49 numbers", "1 x 5");
    odd = numbered(10);
    odd.labels.push_back(1);
    CHECK_ERROR(Batches(odd, 1), "Batches", "11 labels");
    Batches batches(set, 4);
    CHECK_ERROR(batches.resume({.shuffled = true, .order = 1, .next = 11}), "Batches", "11 images",
                "set of 10", "hint");
    CHECK_ERROR(batches.resume({.shuffled = false, .order = 0, .next = -1}), "Batches", "-1");
}

TEST_CASE("batches: a step asks the system for no memory") {
    const DataSet set = numbered(64);
    Batches batches(set, 16);
    Rng rng(1);
    Batch b;
    const auto epoch = [&] {
        batches.shuffle(rng);
        while (batches.next(b)) b.labels[0]++;
    };
    epoch();
    const int64_t before = memory_use().pool_misses;
    epoch();
    CHECK(memory_use().pool_misses == before);
}

}  // namespace slim
