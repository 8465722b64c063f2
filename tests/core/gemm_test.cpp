// The bridge to BLAS: all transpositions, alpha and beta, empty sizes, the counters, threads.
#include "core/gemm.h"

#include "tests/testing.h"

namespace slim {

// alpha op(A) op(B) + beta C by three loops, in double.
static Tensor naive_gemm(Transpose ta, Transpose tb, int64_t m, int64_t n, int64_t k, real alpha,
                         const Tensor& a, const Tensor& b, real beta, const Tensor& c) {
    Tensor y = zeros({m, n});
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double total = 0;
            for (int64_t l = 0; l < k; l++)
                total += double(a.data()[ta == kTransposed ? l * m + i : i * k + l]) *
                         double(b.data()[tb == kTransposed ? j * k + l : l * n + j]);
            y.mutable_data()[i * n + j] =
                real(double(alpha) * total + double(beta) * double(c.data()[i * n + j]));
        }
    return y;
}

TEST_CASE("gemm: every transposition, alpha and beta, against three loops") {
    Rng rng(1);
    const int64_t m = 5, n = 7, k = 3;
    const Tensor a = random_tensor({m * k}, rng), b = random_tensor({k * n}, rng);
    const Tensor c = random_tensor({m, n}, rng);
    for (Transpose ta : {kNormal, kTransposed})
        for (Transpose tb : {kNormal, kTransposed})
            for (real alpha : {real(1), real(-0.5)})
                for (real beta : {real(0), real(1), real(2)}) {
                    Tensor y = clone(c.detach());
                    gemm(ta, tb, m, n, k, alpha, a.data(), b.data(), beta, y.mutable_data());
                    check_close_sums(y, naive_gemm(ta, tb, m, n, k, alpha, a, b, beta, c), k);
                }
}

// Blocks inside larger matrices: what lies around the block of C must stay.
TEST_CASE("gemm: with row strides it works on blocks of larger matrices") {
    Rng rng(3);
    const int64_t m = 2, n = 3, k = 5, row_a = 7, row_b = 11, row_c = 13;
    const Tensor big_a = random_tensor({7, row_a}, rng), big_b = random_tensor({7, row_b}, rng);
    for (Transpose ta : {kNormal, kTransposed})
        for (Transpose tb : {kNormal, kTransposed}) {
            Tensor big_c = ones({m, row_c});
            gemm(ta, tb, m, n, k, 2, big_a.data() + 1, row_a, big_b.data() + 2, row_b, 1,
                 big_c.mutable_data() + 4, row_c);
            for (int64_t i = 0; i < m; i++)
                for (int64_t j = 0; j < row_c; j++) {
                    double want = 1;
                    for (int64_t l = 0; l < k && j >= 4 && j < 4 + n; l++)
                        want += 2 * double(big_a.data()[1 + (ta ? l * row_a + i : i * row_a + l)]) *
                                double(big_b.data()[2 + (tb ? (j - 4) * row_b + l
                                                            : l * row_b + j - 4)]);
                    CHECK(double(big_c.at({i, j})) == doctest::Approx(want).epsilon(1e-5));
                }
        }
}

// The blocks come into play on CPUs with AVX-512; here they are made to, so that every machine
// tests them. Sizes of 1e6 multiplications and more, that blocks of 8 do and do not divide.
TEST_CASE("gemm: in blocks it gives the same product") {
    Rng rng(4);
    const bool small_kernels = blas_small_kernels();
    const int threads = blas_threads();
    set_blas_threads(1);
    for (const Shape& s : {Shape{64, 128, 784}, Shape{37, 131, 517}, Shape{131, 785, 61},
                           Shape{61, 127, 257}, Shape{300, 10, 1001}})
        for (Transpose ta : {kNormal, kTransposed})
            for (Transpose tb : {kNormal, kTransposed}) {
                const int64_t m = s[0], n = s[1], k = s[2];
                const int64_t row_a = (ta ? m : k) + 3, row_b = (tb ? k : n) + 1, row_c = n + 2;
                const Tensor a = random_tensor({(ta ? k : m) * row_a}, rng, false);
                const Tensor b = random_tensor({(tb ? n : k) * row_b}, rng, false);
                const Tensor c = random_tensor({m, row_c}, rng, false);
                std::vector<Tensor> results;
                for (const bool split : {false, true}) {
                    set_blas_small_kernels(split);
                    results.push_back(clone(c));
                    gemm(ta, tb, m, n, k, 2, a.data(), row_a, b.data(), row_b, 1,
                         results.back().mutable_data(), row_c);
                }
                CHECK(largest_difference(results[1], results[0]) < (kDouble ? 1e-11 : 1e-3));
                CHECK(!same_bits(results[0], c));
            }
    set_blas_small_kernels(small_kernels);
    set_blas_threads(threads);
}

// Each size that a tile has and has not, whole lanes and a rest, sides that are just too thick.
// Where OpenBLAS has kernels for small products the loops are made to come into play.
TEST_CASE("gemm: with a thin side it gives the same product") {
    Rng rng(6);
    const bool small_kernels = blas_small_kernels();
    for (const int64_t thin : {1, 3, 4, 8, 9})
        for (const int64_t wide : {63, 64, 67, 131})
            for (const Shape& s : {Shape{thin, 61, wide}, Shape{61, thin, wide},
                                   Shape{thin, wide, 61}, Shape{61, wide, thin}})
                for (Transpose ta : {kNormal, kTransposed})
                    for (Transpose tb : {kNormal, kTransposed})
                        for (real beta : {real(0), real(1), real(0.5)}) {
                            const int64_t m = s[0], n = s[1], k = s[2];
                            const Tensor a = random_tensor({m * k}, rng, false);
                            const Tensor b = random_tensor({k * n}, rng, false);
                            const Tensor c = random_tensor({m, n}, rng, false);
                            const Tensor want = naive_gemm(ta, tb, m, n, k, -0.5, a, b, beta, c);
                            for (const bool blas : {true, false}) {
                                set_blas_small_kernels(blas);
                                Tensor y = beta == 0 ? full({m, n}, NAN) : clone(c);
                                gemm(ta, tb, m, n, k, -0.5, a.data(), b.data(), beta,
                                     y.mutable_data());
                                check_close_sums(y, want, k);
                            }
                        }
    set_blas_small_kernels(small_kernels);
}

TEST_CASE("gemm: beta = 0 overwrites, whatever was there") {
    Tensor c = full({2, 2}, NAN);
    const Tensor a = ones({2, 3}), b = ones({3, 2});
    gemm(kNormal, kNormal, 2, 2, 3, 1, a.data(), b.data(), 0, c.mutable_data());
    CHECK(same_bits(c, full({2, 2}, 3)));
}

TEST_CASE("gemm: an empty inner size leaves beta C") {
    Tensor c = full({2, 2}, 4);
    gemm(kNormal, kNormal, 2, 2, 0, 1, nullptr, nullptr, 1, c.mutable_data());
    CHECK(same_bits(c, full({2, 2}, 4)));
    c = full({2, 2}, NAN);
    gemm(kNormal, kNormal, 2, 2, 0, 1, nullptr, nullptr, 0, c.mutable_data());
    CHECK(same_bits(c, zeros({2, 2})));
}

TEST_CASE("gemm: no rows or no columns is no work") {
    const GemmCount before = gemm_count();
    gemm(kNormal, kNormal, 0, 3, 2, 1, nullptr, nullptr, 0, nullptr);
    gemm(kTransposed, kTransposed, 3, 0, 2, 1, nullptr, nullptr, 0, nullptr);
    CHECK(gemm_count().calls == before.calls);
}

TEST_CASE("gemm_to_grad: writes the first time, then adds") {
    Rng rng(2);
    const Tensor a = random_tensor({2, 3}, rng), b = random_tensor({3, 5}, rng);
    Tensor into = zeros({2, 5}).set_requires_grad();
    gemm_to_grad(kNormal, kNormal, 2, 5, 3, 1, a.data(), b.data(), into);
    check_close_sums(into.grad(), matmul(a, b), 3);
    gemm_to_grad(kNormal, kNormal, 2, 5, 3, 1, a.data(), b.data(), into);
    check_close_sums(into.grad(), 2 * matmul(a, b), 3);
}

TEST_CASE("gemm_to_grad: a tensor that wants no gradient is refused") {
    Tensor frozen = zeros({2, 2});
    const Tensor a = ones({2, 2});
    CHECK_ERROR(gemm_to_grad(kNormal, kNormal, 2, 2, 2, 1, a.data(), a.data(), frozen), "grad",
                "(2, 2)", "does not require");
}

TEST_CASE("gemm: sizes beyond 31 bits are refused") {
    const int64_t huge = int64_t(1) << 31;
    CHECK_ERROR(gemm(kNormal, kNormal, huge, 1, 1, 1, nullptr, nullptr, 0, nullptr), "gemm",
                "(2147483648, 1)", "31 bits");
    CHECK_ERROR(gemm(kNormal, kNormal, 1, 1, huge, 1, nullptr, nullptr, 0, nullptr), "gemm",
                "(1, 2147483648)");
}

TEST_CASE("gemm: the counters count calls and operations") {
    const Tensor a = ones({2, 3}), b = ones({3, 5});
    const GemmCount before = gemm_count();
    matmul(a, b);
    CHECK(gemm_count().calls == before.calls + 1);
    CHECK(gemm_count().flops == before.flops + 2 * 2 * 3 * 5);
}

// Which threads have worked shows in the last bits.
TEST_CASE("gemm: a narrow product gets one thread, whatever is set") {
    Rng rng(5);
    const int64_t m = 600, n = 14, k = 513;
    const Tensor a = random_tensor({m, k}, rng, false), b = random_tensor({k, n}, rng, false);
    const int threads = blas_threads();
    std::vector<Tensor> results;
    for (const int wanted : {1, 2}) {
        set_blas_threads(wanted);
        results.push_back(matmul(a, b));
        CHECK(blas_threads() == wanted);
    }
    set_blas_threads(threads);
    CHECK(same_bits(results[0], results[1]));
}

TEST_CASE("gemm: the BLAS names its kernel and its threads can be set") {
    CHECK(std::string(blas_core_name()) != "");
    const int threads = blas_threads();
    for (int n : {2, 1}) {
        set_blas_threads(n);
        CHECK(blas_threads() == n);
    }
    set_blas_threads(threads);
    CHECK(blas_threads() == threads);
    CHECK_ERROR(set_blas_threads(0), "threads", "0", "between 1 and 64");
    CHECK_ERROR(set_blas_threads(65), "threads", "65");
}

}  // namespace slim
