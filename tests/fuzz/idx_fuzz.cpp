// libFuzzer target: no bytes may do to parse_idx anything but give a file or throw an Error.
//
//     clang++ -std=c++20 -g -O1 -I. -fsanitize=fuzzer,address,undefined tests/fuzz/idx_fuzz.cpp
//         data/idx.cpp data/file.cpp core/check.cpp -o build/idx_fuzz
//     mkdir -p build/corpus/idx
//     build/idx_fuzz -runs=1000000 build/corpus/idx tests/fuzz/seeds/idx
#include "tests/fuzz/allocations.h"

#include <algorithm>

#include "data/idx.h"

using namespace slim;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    largest_allocation = 0;
    try {
        const IdxFile file = parse_idx(Bytes(data, data + size), "input");
        int64_t product = 1;
        for (int64_t n : file.shape) product *= n;
        if (product != int64_t(file.values.size())) std::abort();
        const uint8_t* last = data + size - file.values.size();  // the values end the file
        if (!std::equal(file.values.begin(), file.values.end(), last)) std::abort();
    } catch (const Error&) {
    }
    check_allocations(size, 1);
    return 0;
}
