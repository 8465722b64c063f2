// The ops of a transformer: against compositions of simpler ops, gradients, wrong uses.
#include "core/transformer.h"

#include "tests/testing.h"

namespace slim {

namespace {

// S, with ones at (first + i, i): x S has `count` columns of x, from `first` on; S^T x those rows.
Tensor selection(int64_t size, int64_t first, int64_t count) {
    Tensor s = zeros({size, count});
    for (int64_t i = 0; i < count; i++) s.mutable_data()[(first + i) * count + i] = 1;
    return s;
}

// ---- the same by simpler ops --------------------------------------------------------------------

Tensor plain_rms_norm(const Tensor& x, const Tensor& weight, double eps) {
    const Tensor n = sqrt(mean(x * x, 1) + eps);
    return mul_row(mul_col(x, ones(n.shape()) / n), weight);
}

Tensor plain_silu_mul(const Tensor& gate, const Tensor& up) { return gate * sigmoid(gate) * up; }

Tensor plain_rope(const Tensor& x, int64_t heads, int64_t time, int64_t d, double theta) {
    Tensor cosines(x.shape()), sines(x.shape()), partner = zeros({heads * d, heads * d});
    for (int64_t i = 0; i < x.size(); i++) {
        const int64_t column = i % (heads * d), j = column % d, half = d / 2, pair = j % half;
        const double angle =
            double(i / (heads * d) % time) * std::pow(theta, -2 * double(pair) / double(d));
        cosines.mutable_data()[i] = real(std::cos(angle));
        sines.mutable_data()[i] = real(std::sin(angle));
        const int64_t from = j < half ? column + half : column - half;
        partner.mutable_data()[from * heads * d + column] = j < half ? -1 : 1;
    }
    return x * cosines + matmul(x, partner) * sines;
}

Tensor plain_attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads,
                       int64_t kv_heads, int64_t time) {
    const int64_t d = q.size(1) / heads;
    Tensor mask = zeros({time, time});
    for (int64_t i = 0; i < time; i++)
        for (int64_t j = i + 1; j < time; j++) mask.mutable_data()[i * time + j] = -1e9;
    Tensor y = zeros(q.shape());
    for (int64_t b = 0; b < q.size(0) / time; b++)
        for (int64_t h = 0; h < heads; h++) {
            const Tensor rows = selection(q.size(0), b * time, time),
                         columns = selection(heads * d, h * d, d),
                         kv_columns = selection(kv_heads * d, h / (heads / kv_heads) * d, d);
            const Tensor q_h = matmul_tn(rows, matmul(q, columns)),
                         k_h = matmul_tn(rows, matmul(k, kv_columns)),
                         v_h = matmul_tn(rows, matmul(v, kv_columns));
            const Tensor p = softmax(matmul_nt(q_h, k_h) / std::sqrt(double(d)) + mask);
            y = y + matmul(rows, matmul_nt(matmul(p, v_h), columns));
        }
    return y;
}

// Holds two functions equal, with all their gradients.
void check_equal(const TensorFunction& f, const TensorFunction& plain, std::vector<Tensor> inputs) {
    const auto gradients = [&](const TensorFunction& function) {
        for (Tensor& x : inputs) x.zero_grad();
        const Tensor y = function(inputs);
        Rng rng(5);
        if (y.size() > 0) backward(y, normal(y.shape(), 0, 1, rng));
        std::vector<Tensor> results{y.detach()};
        for (const Tensor& x : inputs)
            results.push_back(x.has_grad() ? clone(x.grad()) : zeros(x.shape()));
        return results;
    };
    const std::vector<Tensor> got = gradients(f), want = gradients(plain);
    for (size_t i = 0; i < got.size(); i++) {
        INFO("result " << i);
        check_close(got[i], want[i], kDouble ? 1e-10 : 1e-4, kDouble ? 1e-12 : 2e-5);
    }
}

struct Sizes {
    int64_t batch, time, heads, kv_heads, d;
};
// One position; fewer and more than a strip; one head, grouped heads.
const Sizes kSizes[] = {{1, 1, 1, 1, 2}, {3, 1, 2, 1, 4}, {2, 7, 3, 3, 4},
                        {1, 7, 1, 1, 6}, {1, 70, 2, 1, 2}, {2, 33, 4, 2, 4}};

}  // namespace

// ---- rms_norm -----------------------------------------------------------------------------------

TEST_CASE("rms_norm: equal to its composition, and gradients") {
    Rng rng(1);
    for (const Shape& shape : matrix_shapes()) {
        if (shape[1] == 0) continue;  // the mean of nothing
        const std::vector<Tensor> inputs{random_tensor(shape, rng),
                                         positive_tensor({shape[1]}, rng)};
        const auto f = [](auto& x) { return rms_norm(x[0], x[1], 0.01); };
        check_equal(f, [](auto& x) { return plain_rms_norm(x[0], x[1], 0.01); }, inputs);
        check_op(f, inputs);
    }
    check_gradients([](auto& x) { return rms_norm(x[0], x[1], 0.01) * x[0]; },
                    {random_tensor({3, 5}, rng), random_tensor({5}, rng)});
}

TEST_CASE("rms_norm: a row of zeros gives zeros, and eps bounds its gradient") {
    Tensor x = zeros({2, 4}).set_requires_grad(), w = ones({4});
    const Tensor y = rms_norm(x, w, 1e-4);
    CHECK(same_bits(y, zeros({2, 4})));
    backward(sum(y));
    for (real g : x.grad().to_vector()) CHECK(double(g) == doctest::Approx(100));
}

TEST_CASE("rms_norm: shapes that do not fit") {
    CHECK_ERROR(rms_norm(zeros({2, 3}), zeros({2}), 1e-5), "rms_norm", "(2, 3)", "(2)");
    CHECK_ERROR(rms_norm(zeros({3}), zeros({3}), 1e-5), "rms_norm", "(rows, dim)");
    CHECK_ERROR(rms_norm(zeros({2, 3}), zeros({3, 1}), 1e-5), "rms_norm", "(3, 1)");
}

// ---- silu_mul -----------------------------------------------------------------------------------

TEST_CASE("silu_mul: equal to its composition, and gradients") {
    Rng rng(2);
    for (const Shape& shape : matrix_shapes()) {
        const std::vector<Tensor> inputs{random_tensor(shape, rng), random_tensor(shape, rng)};
        const auto f = [](auto& x) { return silu_mul(x[0], x[1]); };
        check_equal(f, [](auto& x) { return plain_silu_mul(x[0], x[1]); }, inputs);
        check_op(f, inputs);
    }
    check_gradients([](auto& x) { return silu_mul(x[0], x[0]); }, {random_tensor({3, 5}, rng)});
}

TEST_CASE("silu_mul: large gates neither overflow nor lose NaN") {
    const real nan = std::numeric_limits<real>::quiet_NaN();
    Tensor gate = tensor({1000, -1000, 1e30f, -1e30f, nan}).set_requires_grad();
    const Tensor y = silu_mul(gate, ones({5}));
    CHECK(y.at({0}) == 1000);
    CHECK(std::fabs(y.at({1})) < 1e-30);
    CHECK(y.at({2}) == real(1e30f));
    CHECK(std::isnan(y.at({4})));
    backward(sum(y));
    CHECK(gate.grad().at({0}) == 1);
    CHECK(std::fabs(gate.grad().at({1})) < 1e-30);
}

TEST_CASE("silu_mul: its exponential is exact to a few units of the last digit") {
    std::vector<real> values;
    for (int i = -860; i <= 870; i++) values.push_back(real(i) * real(0.1001));
    const Tensor gate = tensor(values), s = silu_mul(gate, ones(gate.shape()));
    for (size_t i = 0; i < values.size(); i++) {
        const double g = double(values[i]), want = g / (1 + std::exp(-g));
        CHECK(double(s.data()[i]) == relative(want, kDouble ? 1e-13 : 5e-7));
    }
}

TEST_CASE("silu_mul: shapes that differ") {
    CHECK_ERROR(silu_mul(zeros({2, 3}), zeros({3, 2})), "silu_mul", "(2, 3)", "(3, 2)");
}

// ---- rope ---------------------------------------------------------------------------------------

TEST_CASE("rope: equal to its composition, and gradients") {
    Rng rng(3);
    for (const Sizes& s : kSizes) {
        const Tensor angles = rope_angles(s.time + 2, s.d, 100);
        const std::vector<Tensor> inputs{random_tensor({s.batch * s.time, s.heads * s.d}, rng)};
        const auto f = [&](auto& x) { return rope(x[0], s.heads, s.time, angles); };
        const auto plain = [&](auto& x) { return plain_rope(x[0], s.heads, s.time, s.d, 100); };
        check_equal(f, plain, inputs);
        if (s.time < 70) check_op(f, inputs);
    }
}

TEST_CASE("rope: position 0 is not rotated, and lengths stay") {
    Rng rng(4);
    const Tensor x = random_tensor({5, 6}, rng), y = rope(x, 1, 5, rope_angles(5, 6, 1e4));
    for (int64_t j = 0; j < 6; j++) CHECK(x.at({0, j}) == y.at({0, j}));
    check_close_sums(norm(y, 1), norm(x, 1), 6);
}

TEST_CASE("rope: wrong uses") {
    const Tensor angles = rope_angles(4, 2, 1e4);
    CHECK_ERROR(rope(zeros({4, 5}), 2, 4, angles), "rope", "(4, 5)", "2 heads");
    CHECK_ERROR(rope(zeros({4, 4}), 2, 3, angles), "rope", "4 rows", "sequences of 3");
    CHECK_ERROR(rope(zeros({5, 4}), 2, 5, angles), "rope", "4 positions", "no longer");
    CHECK_ERROR(rope_angles(4, 3, 1e4), "rope_angles", "head_dim 3", "even");
}

// ---- causal_attention ---------------------------------------------------------------------------

TEST_CASE("causal_attention: equal to its composition, and gradients") {
    Rng rng(6);
    for (const Sizes& s : kSizes) {
        INFO("time " << s.time << ", heads " << s.heads);
        const int64_t rows = s.batch * s.time;
        const std::vector<Tensor> inputs{random_tensor({rows, s.heads * s.d}, rng),
                                         random_tensor({rows, s.kv_heads * s.d}, rng),
                                         random_tensor({rows, s.kv_heads * s.d}, rng)};
        const auto f = [&](auto& x) {
            return causal_attention(x[0], x[1], x[2], s.heads, s.kv_heads, s.time);
        };
        check_equal(
            f,
            [&](auto& x) {
                return plain_attention(x[0], x[1], x[2], s.heads, s.kv_heads, s.time);
            },
            inputs);
        if (s.time < 33) check_op(f, inputs);
        else check_gradients(f, inputs);
    }
}

TEST_CASE("causal_attention: one tensor as query, key and value") {
    Rng rng(7);
    check_gradients([](auto& x) { return causal_attention(x[0], x[0], x[0], 2, 2, 3); },
                    {random_tensor({6, 4}, rng)});
}

TEST_CASE("causal_attention: no position sees a later one, or another sequence") {
    Rng rng(8);
    Tensor x = random_tensor({2 * 40, 4}, rng);
    const Tensor before = causal_attention(x, x, x, 2, 2, 40);
    for (int64_t j = 0; j < 4; j++) x.mutable_data()[35 * 4 + j] = 50;
    const Tensor after = causal_attention(x, x, x, 2, 2, 40);
    for (int64_t i = 0; i < 80; i++) {
        INFO("row " << i);
        CHECK((before.at({i, 0}) == after.at({i, 0})) == (i < 35 || i >= 40));
    }
}

TEST_CASE("causal_attention: scores of 1e4 are no overflow") {
    const Tensor x = full({3, 2}, 100), v = tensor({1, 2, 3, 4, 5, 6}, {3, 2});
    const Tensor y = causal_attention(x, x, v, 1, 1, 3);
    CHECK(double(y.at({2, 1})) == doctest::Approx(4));
}

TEST_CASE("causal_attention: wrong uses") {
    const Tensor q = zeros({6, 8}), k = zeros({6, 4});
    CHECK_ERROR(causal_attention(q, k, k, 3, 1, 6), "causal_attention", "(6, 8)", "3 heads");
    CHECK_ERROR(causal_attention(q, k, k, 4, 3, 6), "causal_attention", "3 key/value heads");
    CHECK_ERROR(causal_attention(q, k, zeros({6, 8}), 4, 2, 6), "causal_attention", "(6, 4)");
    CHECK_ERROR(causal_attention(q, k, k, 4, 2, 4), "causal_attention", "6 rows",
                "sequences of 4");
}

TEST_CASE("fault: rms_norm's weight keeps the digits of its gradient over many rows") {
    const int64_t rows = 200000;
    Tensor weight = ones({1}).set_requires_grad();
    const Tensor y = rms_norm(ones({rows, 1}), weight, 0);
    backward(y, full({rows, 1}, 0.1));
    CHECK(double(weight.grad().item()) == relative(0.1 * double(rows), 1e-6));
}

}  // namespace slim
