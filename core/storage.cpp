// The pool of buffers. See storage.h.
#include "core/storage.h"

#include <algorithm>      // max
#include <atomic>         // versions are unique over all threads
#include <new>            // aligned operator new
#include <unordered_map>  // block size -> free blocks
#include <vector>

#include "core/check.h"

namespace slim {

namespace {

constexpr std::align_val_t kAlignment{64};

struct Pool {
    std::unordered_map<int64_t, std::vector<real*>> free_blocks;
    MemoryUse use;
};

thread_local Pool* this_pool = nullptr;

// A thread's pool goes with the thread, unless blocks of it are still out: a tensor in a global
// variable returns its block after main, when main's thread has ended already.
struct PoolEnd {
    ~PoolEnd() {
        release_pooled_memory();
        if (this_pool->use.live_blocks > 0) return;
        delete this_pool;
        this_pool = nullptr;
    }
};

Pool& pool() {
    if (!this_pool) {
        this_pool = new Pool;
        thread_local PoolEnd end;
    }
    return *this_pool;
}

int64_t bytes_of(int64_t size) { return size * int64_t(sizeof(real)); }

}  // namespace

Storage::Storage(int64_t size) : data(nullptr), size(size), version(next_version()) {
    MemoryUse& use = pool().use;
    std::vector<real*>& blocks = pool().free_blocks[size];
    if (blocks.empty()) {
        data = static_cast<real*>(::operator new(size_t(bytes_of(size)), kAlignment, std::nothrow));
        check(data != nullptr, "tensor: the system has no ", bytes_of(size), " bytes to give");
        use.pool_misses++;
    } else {
        data = blocks.back();
        blocks.pop_back();
        use.pooled_bytes -= bytes_of(size);
    }
    use.live_blocks++;
    use.live_bytes += bytes_of(size);
    use.peak_bytes = std::max(use.peak_bytes, use.live_bytes);
}

Storage::~Storage() {
    MemoryUse& use = pool().use;
    use.live_blocks--;
    use.live_bytes -= bytes_of(size);
    use.pooled_bytes += bytes_of(size);
    pool().free_blocks[size].push_back(data);
}

uint64_t next_version() {
    static std::atomic<uint64_t> last{0};
    return ++last;
}

MemoryUse memory_use() { return pool().use; }

void reset_peak_memory() { pool().use.peak_bytes = pool().use.live_bytes; }

void release_pooled_memory() {
    for (auto& [size, blocks] : pool().free_blocks)
        for (real* block : blocks) ::operator delete(block, kAlignment);
    pool().free_blocks.clear();
    pool().use.pooled_bytes = 0;
}

}  // namespace slim
