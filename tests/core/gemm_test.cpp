// The bridge to BLAS: all transpositions, alpha and beta, empty sizes, the counters, threads.
#include "core/gemm.h"

#include "core/gemm_kernels.h"
#include "tests/testing.h"

namespace slim {

// alpha A B + beta C by three loops, in double.
static Tensor naive_gemm(MatrixView a, MatrixView b, const Tensor& c, real beta, real alpha) {
    const auto at = [](MatrixView x, int64_t i, int64_t j) {
        return double(x.transposed ? x.data[j * x.stride + i] : x.data[i * x.stride + j]);
    };
    Tensor y = zeros(c.shape());
    for (int64_t i = 0; i < a.rows; i++)
        for (int64_t j = 0; j < b.cols; j++) {
            double total = 0;
            for (int64_t l = 0; l < a.cols; l++) total += at(a, i, l) * at(b, l, j);
            y.mutable_data()[i * b.cols + j] =
                real(double(alpha) * total +
                     (beta == 0 ? 0 : double(beta) * double(c.data()[i * b.cols + j])));
        }
    return y;
}

// Random elements of a matrix [rows, cols], which is stored transposed or not, in wider rows.
struct Operand {
    Tensor memory;
    MatrixView view;

    Operand(int64_t rows, int64_t cols, bool transposed, int64_t extra, Rng& rng)
        : memory(random_tensor(transposed ? Shape{cols, rows + extra} : Shape{rows, cols + extra},
                               rng, false)),
          view{memory.data() + extra / 2, rows, cols, memory.size(1), transposed} {}
};

static const bool kBoth[] = {false, true};

TEST_CASE("gemm: every transposition, alpha and beta, against three loops") {
    Rng rng(1);
    const int64_t m = 5, n = 7, k = 3;
    const Tensor c = random_tensor({m, n}, rng);
    for (const bool ta : kBoth)
        for (const bool tb : kBoth)
            for (real alpha : {real(1), real(-0.5)})
                for (real beta : {real(0), real(1), real(2)}) {
                    const Operand a(m, k, ta, 0, rng), b(k, n, tb, 0, rng);
                    Tensor y = beta == 0 ? full({m, n}, NAN) : clone(c.detach());
                    MatrixTarget to = overwrite(y);
                    to.beta = beta;
                    gemm(a.view, b.view, to, alpha);
                    check_close_sums(y, naive_gemm(a.view, b.view, c, beta, alpha), k);
                }
}

TEST_CASE("gemm: views of tensors, and their transposes") {
    Rng rng(7);
    const Tensor x = random_tensor({2, 3}, rng, false), y = random_tensor({2, 5}, rng, false);
    Tensor z({3, 5});
    gemm(view(x).t(), view(y), overwrite(z));
    check_close_sums(z, matmul_tn(x, y), 2);
    const Tensor before = clone(z);
    gemm(view(x).t(), view(y).t().t(), add_to(z));
    check_close_sums(z, 2 * before, 2);
}

// Blocks inside larger matrices: what lies around the block of C must stay.
TEST_CASE("gemm: with strides it works on blocks of larger matrices") {
    Rng rng(3);
    const int64_t m = 2, n = 3, k = 5, row = 13;
    for (const bool ta : kBoth)
        for (const bool tb : kBoth)
            for (const real beta : {real(0), real(1)}) {
                const Operand a(m, k, ta, 2, rng), b(k, n, tb, 6, rng);
                Tensor c = ones({m, row});
                gemm(a.view, b.view, {c.mutable_data() + 4, m, n, row, beta}, 2);
                const Tensor want = naive_gemm(a.view, b.view, ones({m, n}), beta, 2);
                for (int64_t i = 0; i < m; i++)
                    for (int64_t j = 0; j < row; j++) {
                        const bool inside = j >= 4 && j < 4 + n;
                        CHECK(double(c.at({i, j})) ==
                              doctest::Approx(inside ? double(want.at({i, j - 4})) : 1)
                                  .epsilon(1e-5));
                    }
            }
}

// gemm() takes blocks on CPUs with AVX-512 alone; here every machine tests them. Sizes of 1e6
// multiplications and more, that blocks of 8 do and do not divide.
TEST_CASE("gemm: in blocks it gives the same product") {
    Rng rng(4);
    int taken = 0;
    for (const Shape& s : {Shape{64, 128, 784}, Shape{37, 131, 517}, Shape{131, 785, 61},
                           Shape{61, 127, 257}, Shape{300, 10, 1001}})
        for (const bool ta : kBoth)
            for (const bool tb : kBoth) {
                const int64_t m = s[0], n = s[1], k = s[2];
                const Operand a(m, k, ta, 3, rng), b(k, n, tb, 1, rng);
                const Tensor c = random_tensor({m, n + 2}, rng, false);
                if (!fits_blocks(a.view, b.view)) continue;
                taken++;
                Tensor whole = clone(c), blocks = clone(c);
                blas_gemm(a.view, b.view, {whole.mutable_data(), m, n, n + 2, 1}, 2);
                blocked_gemm(a.view, b.view, {blocks.mutable_data(), m, n, n + 2, 1}, 2);
                CHECK(largest_difference(blocks, whole) < (kDouble ? 1e-11 : 1e-3));
                CHECK(!same_bits(whole, c));
            }
    CHECK(taken == 12);
}

// Thin sides with and without a rest after tiles of 4 and 3, up to both bounds and beyond them (13
// and 17); long sides with and without a rest after whole registers, and one that is too short.
TEST_CASE("gemm: with a thin side it gives the same product") {
    Rng rng(6);
    int taken = 0;
    for (const int64_t thin : {1, 3, 4, 12, 13, 16, 17})
        for (const int64_t wide : {63, 64, 67, 131})
            for (const Shape& s : {Shape{thin, 61, wide}, Shape{61, thin, wide},
                                   Shape{thin, wide, 61}, Shape{61, wide, thin}})
                for (const bool ta : kBoth)
                    for (const bool tb : kBoth)
                        for (real beta : {real(0), real(1), real(0.5)}) {
                            const int64_t m = s[0], n = s[1], k = s[2];
                            const Operand a(m, k, ta, 0, rng), b(k, n, tb, 0, rng);
                            const Tensor c = random_tensor({m, n}, rng, false);
                            const Tensor want = naive_gemm(a.view, b.view, c, beta, -0.5);
                            for (const auto multiply : {gemm, blas_gemm, thin_gemm}) {
                                if (multiply == thin_gemm && !is_thin(a.view, b.view)) continue;
                                taken += multiply == thin_gemm;
                                Tensor y = beta == 0 ? full({m, n}, NAN) : clone(c);
                                MatrixTarget to = overwrite(y);
                                to.beta = beta;
                                multiply(a.view, b.view, to, -0.5);
                                check_close_sums(y, want, k);
                            }
                        }
    CHECK(taken == 306);
}

TEST_CASE("gemm: beta = 0 overwrites, whatever was there") {
    Tensor c = full({2, 2}, NAN);
    const Tensor a = ones({2, 3}), b = ones({3, 2});
    gemm(view(a), view(b), overwrite(c));
    CHECK(same_bits(c, full({2, 2}, 3)));
}

TEST_CASE("gemm: an empty inner size leaves beta C") {
    const Tensor a = zeros({2, 0}), b = zeros({0, 2});
    Tensor c = full({2, 2}, 4);
    gemm(view(a), view(b), add_to(c));
    CHECK(same_bits(c, full({2, 2}, 4)));
    c = full({2, 2}, NAN);
    gemm(view(a), view(b), overwrite(c));
    CHECK(same_bits(c, zeros({2, 2})));
    Tensor wide = full({2, 100}, NAN);
    gemm(view(a), view(zeros({0, 100})), overwrite(wide));
    CHECK(same_bits(wide, zeros({2, 100})));
}

TEST_CASE("gemm: no rows or no columns is no work") {
    const GemmCount before = gemm_count();
    gemm({nullptr, 0, 2, 2}, {nullptr, 2, 3, 3}, {nullptr, 0, 3, 3, 0});
    gemm({nullptr, 3, 2, 3, true}, {nullptr, 2, 0, 2, true}, {nullptr, 3, 0, 0, 0});
    CHECK(gemm_count().calls == before.calls);
}

TEST_CASE("gemm: into a gradient it writes the first time, then adds") {
    Rng rng(2);
    const Tensor a = random_tensor({2, 3}, rng), b = random_tensor({3, 5}, rng);
    Tensor into = zeros({2, 5}).set_requires_grad();
    gemm(view(a), view(b), add_to_grad(into));
    check_close_sums(into.grad(), matmul(a, b), 3);
    gemm(view(a), view(b), add_to_grad(into));
    check_close_sums(into.grad(), 2 * matmul(a, b), 3);
}

TEST_CASE("gemm: the gradient of a tensor that wants none is refused") {
    Tensor frozen = zeros({2, 2});
    CHECK_ERROR(add_to_grad(frozen), "grad", "(2, 2)", "does not require");
}

TEST_CASE("gemm: sizes that do not fit, or not into 31 bits, are refused") {
    const Tensor a = ones({2, 3}), b = ones({2, 3});
    Tensor c = zeros({2, 3});
    CHECK_ERROR(gemm(view(a), view(b), overwrite(c)), "gemm", "(2, 3)", "must be [m, k], [k, n]");
    CHECK_ERROR(gemm(view(a), view(b).t(), overwrite(c)), "gemm", "(3, 2)", "into (2, 3)");
    CHECK_ERROR(view(ones({3})), "gemm", "(3)", "matrix");
    const int64_t huge = int64_t(1) << 31;
    CHECK_ERROR(gemm({nullptr, huge, 1, 1}, {nullptr, 1, 1, 1}, {nullptr, huge, 1, 1, 0}), "gemm",
                "(2147483648, 1)", "31 bits");
    CHECK_ERROR(gemm({nullptr, 1, huge, huge}, {nullptr, huge, 1, 1}, {nullptr, 1, 1, 1, 0}),
                "gemm", "(1, 2147483648)");
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
