// One seeded generator of random numbers, passed explicitly to the functions that draw from it.
//
// The same seed gives the same numbers on every platform and compiler: they come from integer
// arithmetic and exactly rounded floating point. (One exception: normal() accepts or rejects a
// point with std::log. Where math libraries differ in its last digit, another point may be taken,
// in rare cases.) The whole state is one integer, so saving or rewinding the generator is a copy of
// `state`.
#pragma once

#include <cstdint>
#include <vector>

namespace slim {

class Rng {
public:
    explicit Rng(uint64_t seed) : state(seed) {}

    uint64_t bits();                             // 64 random bits
    double uniform();                            // in [0, 1), 53 random bits
    double uniform(double low, double high);     // from low to high; rounding can reach high
    double normal();                             // mean 0, standard deviation 1
    int64_t below(int64_t n);                    // 0 .. n-1, unbiased; throws unless n > 0
    std::vector<int64_t> permutation(int64_t n);  // 0 .. n-1 in random order

    uint64_t state;
};

}  // namespace slim
