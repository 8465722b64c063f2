// Watches what one run of a fuzz target asks of the heap, so that a file of a few bytes cannot make
// a reader ask for gigabytes. Needs AddressSanitizer, whose allocator calls the hook.
#pragma once

#include <sanitizer/allocator_interface.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace slim {

inline size_t largest_allocation = 0;  // since it was last set to 0

inline const int hooked = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, size_t size) {
        if (size > largest_allocation) largest_allocation = size;
    },
    [](const volatile void*) {});

// Ends the run unless the largest single allocation was at most factor * the input's size, or small
// in itself.
inline void check_allocations(size_t input_size, size_t factor) {
    if (hooked > 0 && largest_allocation <= factor * input_size + 16'384) return;
    std::fprintf(stderr, "%zu bytes allocated at once for an input of %zu\n", largest_allocation,
                 input_size);
    std::abort();
}

}  // namespace slim
