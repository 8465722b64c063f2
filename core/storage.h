// The element type `real`; a buffer of elements; the pool that buffers come from and go back to.
//
// A training step makes and drops the same few dozen buffers again and again. malloc would hand out
// fresh pages, which the system must zero; the pool hands out the buffer of that size that was
// dropped last, still in the cache. So later steps of the same shapes take no buffer from the
// system. The pool keeps at most a small multiple of the most that was ever in use.
#pragma once

#include <cstdint>

namespace slim {

// Each file that includes this refers to one of two constants, one per element type. The library
// has the constant of its own type. So a program of the other type does not link; otherwise it
// would read past the end of arrays.
#ifdef SLIM_REAL_DOUBLE
using real = double;  // make REAL=double: the gradient checks run in this build
extern const char this_library_was_built_with_REAL_double;
[[gnu::used]] static const char* const element_type = &this_library_was_built_with_REAL_double;
#else
using real = float;
extern const char this_library_was_built_without_REAL_double;
[[gnu::used]] static const char* const element_type = &this_library_was_built_without_REAL_double;
#endif

class Storage {
public:
    explicit Storage(int64_t size);  // uninitialised, aligned to a cache line (64 bytes)
    ~Storage();
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;

    real* data;
    int64_t size;
    uint64_t version;  // renewed before each round of writing, see Tensor::mutable_data
};

// Returns a fresh version number. Equal versions mean unchanged data.
uint64_t next_version();

struct MemoryUse {
    int64_t live_blocks = 0;   // storages that exist now
    int64_t live_bytes = 0;    // bytes in them
    int64_t peak_bytes = 0;    // the most that live_bytes has been
    int64_t pool_misses = 0;   // times the system was asked for a new block
    int64_t pooled_bytes = 0;  // bytes kept for reuse
};

MemoryUse memory_use();         // of all threads together
void reset_peak_memory();       // peak_bytes = live_bytes
void release_pooled_memory();   // gives the kept blocks back to the system

}  // namespace slim
