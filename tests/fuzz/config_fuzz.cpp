// libFuzzer target: any text is either JSON, and then dump() and parse_json() give it back, or an
// Error.
//
//     clang++ -std=c++20 -g -O1 -I. -fsanitize=fuzzer,address,undefined tests/fuzz/config_fuzz.cpp
//         data/json.cpp core/check.cpp -o build/config_fuzz
//     mkdir -p build/corpus/config
//     build/config_fuzz -runs=1000000 build/corpus/config tests/fuzz/seeds/config
#include "tests/fuzz/allocations.h"

#include "core/check.h"
#include "data/json.h"

using namespace slim;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    largest_allocation = 0;
    Json json;
    try {
        json = parse_json({reinterpret_cast<const char*>(data), size}, "input");
    } catch (const Error&) {
        check_allocations(size, 64);
        return 0;
    }
    // A Json is 56 bytes, and a list of zeros, "0,0,0,", has one for every two bytes; a growing
    // vector may have room for twice as many.
    check_allocations(size, 64);
    if (!(parse_json(json.dump(), "dump") == json)) std::abort();
    if (!(parse_json(json.dump(-1), "dump") == json)) std::abort();
    return 0;
}
