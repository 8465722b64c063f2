// The pool of buffers. See storage.h.
#include "core/storage.h"

#include <algorithm>      // max
#include <atomic>         // versions are unique over all threads
#include <mutex>
#include <new>            // aligned operator new
#include <unordered_map>  // block size -> free blocks
#include <vector>

#include "core/check.h"

namespace slim {

namespace {

constexpr std::align_val_t kAlignment{64};

// One pool for all threads, since one thread may drop a tensor that another one made.
struct Pool {
    std::mutex mutex;
    std::unordered_map<int64_t, std::vector<real*>> free_blocks;
    MemoryUse use;
    int64_t most_live = 1 << 20;  // bytes: the highest live_bytes so far, a megabyte at least

    // Gives every kept block back to the system.
    void release() {
        for (auto& [size, blocks] : free_blocks)
            for (real* block : blocks) ::operator delete(block, kAlignment);
        free_blocks.clear();
        use.pooled_bytes = 0;
    }
};

// Never destroyed: a tensor in a global variable returns its block after main.
Pool& pool() {
    static Pool* const only = new Pool;
    return *only;
}

// Live and kept blocks together stay below this many times the most that was ever alive. Batches of
// one size stay below it. Batches of ever new sizes would leave a block of every size behind: at
// the limit, all kept blocks go back to the system.
constexpr int64_t kKeep = 4;

int64_t bytes_of(int64_t size) { return size * int64_t(sizeof(real)); }

}  // namespace

Storage::Storage(int64_t size) : data(nullptr), size(size), version(next_version()) {
    Pool& p = pool();
    const std::lock_guard lock(p.mutex);
    std::vector<real*>& blocks = p.free_blocks[size];
    if (!blocks.empty()) {
        data = blocks.back();
        blocks.pop_back();
        p.use.pooled_bytes -= bytes_of(size);
    } else {
        if (p.use.live_bytes + p.use.pooled_bytes + bytes_of(size) > kKeep * p.most_live)
            p.release();
        data = static_cast<real*>(::operator new(size_t(bytes_of(size)), kAlignment, std::nothrow));
        check(data != nullptr, "tensor: out of memory: cannot allocate ", bytes_of(size), " bytes");
        p.use.pool_misses++;
    }
    p.use.live_blocks++;
    p.use.live_bytes += bytes_of(size);
    p.use.peak_bytes = std::max(p.use.peak_bytes, p.use.live_bytes);
    p.most_live = std::max(p.most_live, p.use.live_bytes);
}

Storage::~Storage() {
    Pool& p = pool();
    const std::lock_guard lock(p.mutex);
    p.use.live_blocks--;
    p.use.live_bytes -= bytes_of(size);
    p.use.pooled_bytes += bytes_of(size);
    p.free_blocks[size].push_back(data);
}

uint64_t next_version() {
    static std::atomic<uint64_t> last{0};
    return ++last;
}

MemoryUse memory_use() {
    const std::lock_guard lock(pool().mutex);
    return pool().use;
}

void reset_peak_memory() {
    const std::lock_guard lock(pool().mutex);
    pool().use.peak_bytes = pool().use.live_bytes;
}

void release_pooled_memory() {
    const std::lock_guard lock(pool().mutex);
    pool().release();
}

#ifdef SLIM_REAL_DOUBLE
const char this_library_was_built_with_REAL_double = 0;
#else
const char this_library_was_built_without_REAL_double = 0;
#endif

}  // namespace slim
