// libFuzzer target: no bytes may do to parse_safetensors anything but give tensors or
// throw an Error.
//
//     clang++ -std=c++20 -g -O1 -I. -fsanitize=fuzzer,address,undefined
//         tests/fuzz/safetensors_fuzz.cpp data/safetensors.cpp data/json.cpp data/file.cpp
//         core/*.cpp -lopenblas -o build/safetensors_fuzz
//     mkdir -p build/corpus/safetensors
//     build/safetensors_fuzz -runs=1000000 build/corpus/safetensors tests/fuzz/seeds/safetensors
#include "tests/fuzz/allocations.h"

#include <algorithm>

#include "data/safetensors.h"

using namespace slim;

namespace {

void try_file(const Bytes& bytes) {
    largest_allocation = 0;
    try {
        const TensorFile file = parse_safetensors(bytes, "input");
        size_t total = 0;
        for (const auto& [name, stored] : file.tensors) {
            total += stored.bytes.size();
            try {
                if (file.tensor(name).shape() != stored.shape) std::abort();
            } catch (const Error&) {  // of integers
            }
        }
        if (total > bytes.size()) std::abort();
    } catch (const Error&) {
    }
    check_allocations(bytes.size(), 64);  // the header's JSON needs more memory than its text
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes bytes(data, data + size);
    try_file(bytes);
    if (size < 8) return 0;

    // Once more with the right length in front, which is hard to hit upon: up to the last brace.
    const auto last = std::find(bytes.rbegin(), bytes.rend() - 8, '}');
    const uint64_t length = uint64_t(bytes.rend() - 8 - last);
    for (size_t i = 0; i < 8; i++) bytes[i] = uint8_t(length >> 8 * i);
    try_file(bytes);
    return 0;
}
