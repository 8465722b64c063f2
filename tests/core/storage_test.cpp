// The pool of buffers: what it counts, what it reuses, and that a training step asks for nothing.
#include "core/storage.h"

#include <thread>

#include "nn/linear.h"
#include "tests/testing.h"

namespace slim {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#elif defined(__has_feature)
constexpr bool kAddressSanitizer = __has_feature(address_sanitizer);
#else
constexpr bool kAddressSanitizer = false;
#endif

TEST_CASE("Storage: blocks are aligned to a cache line, whatever their size") {
    for (int64_t size : {0, 1, 3, 17, 1001}) {
        Storage block(size);
        CHECK(reinterpret_cast<uintptr_t>(block.data) % 64 == 0);
        CHECK(block.size == size);
    }
}

TEST_CASE("Storage: a dropped block is handed out again to the next of its size") {
    real* first;
    {
        Storage block(1237);
        first = block.data;
    }
    Storage other_size(1238);
    CHECK(other_size.data != first);
    Storage same_size(1237), another(1237);
    CHECK(same_size.data == first);
    CHECK(another.data != first);
}

TEST_CASE("Storage: memory_use counts blocks, bytes, the peak, misses and what is kept") {
    release_pooled_memory();
    const MemoryUse start = memory_use();
    const int64_t bytes = 1000 * int64_t(sizeof(real));
    {
        Storage a(1000), b(1000);
        const MemoryUse use = memory_use();
        CHECK(use.live_blocks == start.live_blocks + 2);
        CHECK(use.live_bytes == start.live_bytes + 2 * bytes);
        CHECK(use.pool_misses == start.pool_misses + 2);
        CHECK(use.pooled_bytes == 0);
    }
    CHECK(memory_use().live_blocks == start.live_blocks);
    CHECK(memory_use().live_bytes == start.live_bytes);
    CHECK(memory_use().pooled_bytes == 2 * bytes);
    Storage c(1000);
    CHECK(memory_use().pool_misses == start.pool_misses + 2);  // no new miss
    CHECK(memory_use().pooled_bytes == bytes);
    release_pooled_memory();
    CHECK(memory_use().pooled_bytes == 0);
}

TEST_CASE("Storage: the peak is the most that lived at once, until it is reset") {
    reset_peak_memory();
    const int64_t start = memory_use().live_bytes;
    const int64_t bytes = 500 * int64_t(sizeof(real));
    { Storage a(500), b(500); }
    { Storage c(500); }
    CHECK(memory_use().peak_bytes == start + 2 * bytes);
    reset_peak_memory();
    CHECK(memory_use().peak_bytes == start);
}

TEST_CASE("Storage: more memory than there is becomes a sentence") {
    // The address sanitizer stops the program at such a request, before we can report it.
    if (kAddressSanitizer) return;
    const LeakCounter leaks;
    CHECK_ERROR(Tensor({int64_t(1) << 50}), "tensor", "no", "bytes");
    CHECK(leaks.leaked() == 0);
}

TEST_CASE("Storage: versions change with each request to write, and are never repeated") {
    Tensor a = zeros({3}), b = zeros({3});
    const uint64_t before = a.version();
    CHECK(a.version() == before);  // reading changes nothing
    CHECK(a.data()[0] == 0);
    CHECK(a.version() == before);
    a.mutable_data();
    CHECK(a.version() != before);
    CHECK(a.version() != b.version());
    const uint64_t gone = b.version();
    b = zeros({3});  // in the same block of the pool, perhaps, but another version
    CHECK(b.version() != gone);
}

TEST_CASE("Storage: after the first of several equal training steps the pool never misses") {
    Rng rng(1);
    Tensor w1 = random_tensor({11, 7}, rng), b1 = random_tensor({11}, rng);
    Tensor w2 = random_tensor({5, 11}, rng), b2 = random_tensor({5}, rng);
    const std::vector<int> labels = {0, 4, 2};
    auto step = [&] {
        Tensor x = random_tensor({3, 7}, rng, false);
        backward(cross_entropy(linear(tanh(linear(x, w1, b1)), w2, b2), labels));
        for (Tensor p : {w1, b1, w2, b2}) p.zero_grad();
    };
    release_pooled_memory();
    const int64_t at_start = memory_use().pool_misses;
    step();
    const int64_t after_first = memory_use().pool_misses;
    CHECK(after_first > at_start);
    for (int i = 0; i < 5; i++) step();
    CHECK(memory_use().pool_misses == after_first);
}

TEST_CASE("fault: batches of ever new sizes do not fill the pool") {
    release_pooled_memory();
    const int64_t live = memory_use().live_bytes;
    Rng rng(1);
    for (int step = 0; step < 3000; step++) {
        const int64_t rows = 1 + rng.below(512);
        const Tensor a({rows, 784}), b({rows, 256}), c({rows, 10});
    }
    const int64_t peak =
        std::max(live + 512 * 1050 * int64_t(sizeof(real)), memory_use().peak_bytes);
    CHECK(memory_use().pooled_bytes + memory_use().live_bytes <= 4 * peak);
}

TEST_CASE("fault: blocks that another thread drops come back, and the counts stay right") {
    release_pooled_memory();
    const MemoryUse before = memory_use();
    for (int step = 0; step < 200; step++) {
        Tensor made;
        std::thread([&] { made = zeros({1000, 10}); }).join();
        CHECK(memory_use().live_blocks == before.live_blocks + 1);
    }
    CHECK(memory_use().live_blocks == before.live_blocks);
    CHECK(memory_use().pool_misses == before.pool_misses + 1);
}

}  // namespace slim
