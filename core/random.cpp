// SplitMix64 and what is drawn from it. See random.h.
#include "core/random.h"

#include <cmath>    // fma, log
#include <numeric>  // iota
#include <utility>  // swap

#include "core/check.h"

namespace slim {

// SplitMix64 (Steele, Lea, Flood 2014): a counter with a large odd step, then a hash of it.
uint64_t Rng::bits() {
    state += 0x9E3779B97F4A7C15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

double Rng::uniform() { return double(bits() >> 11) * 0x1p-53; }

// fma is rounded once on every machine; low + (high - low) * u would be rounded once or twice,
// as the compiler likes.
double Rng::uniform(double low, double high) { return std::fma(high - low, uniform(), low); }

// Ratio of uniforms (Kinderman and Monahan 1977): a point (u, v) drawn uniformly from the region
// v^2 <= -4 u^2 ln u has a normal v / u. The logarithm only decides whether a point is inside; it
// is no part of the result.
double Rng::normal() {
    const double half_height = 0.8577638849607068;  // sqrt(2 / e), the region's extent in v
    while (true) {
        double u = 1 - uniform();  // in (0, 1], so that the logarithm is finite
        double v = (uniform() - 0.5) * (2 * half_height);
        double ratio = v / u;
        if (ratio * ratio <= -4 * std::log(u)) return ratio;
    }
}

// Rejects the lowest 2^64 mod n of the 2^64 values: they would make small results more likely.
int64_t Rng::below(int64_t n) {
    check(n > 0, "Rng::below: no number is below ", n, "; the bound must be positive");
    const uint64_t bound = uint64_t(n);
    const uint64_t incomplete = (0 - bound) % bound;  // 2^64 mod n
    uint64_t draw;
    do draw = bits();
    while (draw < incomplete);
    return int64_t(draw % bound);
}

// Fisher and Yates: the last place gets any of the n, the one before any of the rest, and so on.
std::vector<int64_t> Rng::permutation(int64_t n) {
    check(n >= 0, "Rng::permutation: a permutation of ", n, " things; the count must be 0 or more");
    std::vector<int64_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    for (int64_t last = n - 1; last > 0; last--)
        std::swap(order[size_t(last)], order[size_t(below(last + 1))]);
    return order;
}

}  // namespace slim
