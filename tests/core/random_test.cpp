// The generator: the very numbers, so that platforms can be compared, and their statistics.
#include "core/random.h"

#include <algorithm>

#include "tests/testing.h"

namespace slim {

TEST_CASE("Rng: bits are those of the published SplitMix64") {
    Rng rng(1234567);
    const std::vector<uint64_t> published = {6457827717110365317u, 3203168211198807973u,
                                             9817491932198370423u, 4593380528125082431u,
                                             16408922859458223821u};
    for (uint64_t bits : published) CHECK(rng.bits() == bits);
}

// The expected numbers come from a separate implementation in Python.
TEST_CASE("Rng: seed 42 gives these numbers on every platform") {
    Rng uniform(42), normal(42), below(42), permutation(42);
    for (double u : {0x1.7bae644c5fd6dp-1, 0x1.477f199d93378p-3, 0x1.1d499d5c4c3e6p-2})
        CHECK(uniform.uniform() == u);
    for (double z : {-0x1.20f7c5fbdbd7fp+1, -0x1.7b6a7b96bc2e0p-2, 0x1.51d9087973e1fp-1})
        CHECK(normal.normal() == z);
    for (int64_t k : {3, 1, 8, 4, 0, 2, 5, 8, 5, 4, 7, 6}) CHECK(below.below(10) == k);
    CHECK(permutation.permutation(10) == std::vector<int64_t>{0, 9, 5, 8, 6, 4, 7, 2, 1, 3});
}

TEST_CASE("Rng: uniform has the moments of [0, 1) and stays inside") {
    Rng rng(1);
    const int n = 100000;
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        const double u = rng.uniform();
        REQUIRE((u >= 0 && u < 1));
        sum += u;
        squares += u * u;
    }
    CHECK(std::fabs(sum / n - 1 / 2.) < 0.005);  // five standard errors
    CHECK(std::fabs(squares / n - 1 / 3.) < 0.005);
}

TEST_CASE("Rng: uniform(low, high) fills its interval") {
    Rng rng(2);
    double least = 100, most = -100;
    for (int i = 0; i < 10000; i++) {
        const double u = rng.uniform(-3, 5);
        REQUIRE((u >= -3 && u < 5));
        least = std::min(least, u);
        most = std::max(most, u);
    }
    CHECK(least < -2.99);
    CHECK(most > 4.99);
}

TEST_CASE("Rng: normal has mean 0, variance 1, fourth moment 3 and normal tails") {
    Rng rng(3);
    const int n = 200000;
    double sum = 0, squares = 0, fourth = 0;
    int beyond_two = 0;
    for (int i = 0; i < n; i++) {
        const double z = rng.normal();
        sum += z;
        squares += z * z;
        fourth += z * z * z * z;
        beyond_two += std::fabs(z) > 2;
    }
    CHECK(std::fabs(sum / n) < 0.012);  // five standard errors, and so below
    CHECK(std::fabs(squares / n - 1) < 0.016);
    CHECK(std::fabs(fourth / n - 3) < 0.11);
    CHECK(std::fabs(beyond_two / double(n) - 0.0455) < 0.0024);
}

TEST_CASE("Rng: below gives every value equally often") {
    Rng rng(4);
    std::vector<int> counts(7);
    for (int i = 0; i < 70000; i++) counts[size_t(rng.below(7))]++;
    for (int count : counts) CHECK(std::abs(count - 10000) < 500);
}

// 2^64 values do not divide evenly by 3 * 2^61: the plain remainder would land in the lower two
// thirds three times out of four.
TEST_CASE("Rng: below is unbiased for bounds near 2^63") {
    Rng rng(5);
    const int64_t bound = 3 * (int64_t(1) << 61);
    int lower = 0;
    for (int i = 0; i < 10000; i++) {
        const int64_t k = rng.below(bound);
        REQUIRE((k >= 0 && k < bound));
        lower += k < bound / 3 * 2;
    }
    CHECK(std::abs(lower - 6667) < 240);
}

TEST_CASE("Rng: below and permutation refuse what cannot be") {
    Rng rng(6);
    CHECK_ERROR(rng.below(0), "Rng::below", "0");
    CHECK_ERROR(rng.below(-5), "Rng::below", "-5", "positive");
    CHECK_ERROR(rng.permutation(-1), "Rng::permutation", "-1");
}

TEST_CASE("Rng: a permutation holds each number once, and all orders come up") {
    Rng rng(7);
    std::vector<int64_t> order = rng.permutation(1000);
    CHECK(!std::is_sorted(order.begin(), order.end()));
    std::sort(order.begin(), order.end());
    for (int64_t i = 0; i < 1000; i++) REQUIRE(order[size_t(i)] == i);

    std::vector<int> counts(27);
    for (int i = 0; i < 6000; i++) {
        std::vector<int64_t> three = rng.permutation(3);
        counts[size_t(three[0] * 9 + three[1] * 3 + three[2])]++;
    }
    CHECK(std::count(counts.begin(), counts.end(), 0) == 27 - 6);
    for (int count : counts) CHECK((count == 0 || std::abs(count - 1000) < 150));
}

TEST_CASE("Rng: permutations of nothing and of one thing") {
    Rng rng(8);
    CHECK(rng.permutation(0).empty());
    CHECK(rng.permutation(1) == std::vector<int64_t>{0});
}

TEST_CASE("Rng: setting the state back repeats the numbers, in the middle of anything") {
    Rng rng(9);
    rng.normal();
    const uint64_t state = rng.state;
    const double z = rng.normal();
    const std::vector<int64_t> order = rng.permutation(20);
    rng.state = state;
    CHECK(rng.normal() == z);
    CHECK(rng.permutation(20) == order);
    CHECK(Rng(10).bits() != Rng(11).bits());
}

}  // namespace slim
