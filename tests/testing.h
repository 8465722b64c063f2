// What the tests share: the text of an error, closeness, random tensors and the gradient check.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>  // dup2

#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "core/autograd.h"
#include "core/gradcheck.h"
#include "core/ops.h"
#include "core/random.h"
#include "core/tensor.h"

namespace slim {

constexpr bool kDouble = sizeof(real) == 8;

// The text of the Error that f throws; the test fails if it throws none or something else.
template <class F>
std::string error_of(F f) {
    try {
        f();
    } catch (const Error& e) {
        return e.what();
    } catch (...) {
        FAIL("threw something that is not a slim::Error");
    }
    FAIL("threw no Error");
    return "";
}

// CHECK_ERROR(matmul(a, b), "matmul", "(2, 3)"): the expression throws, and the text has the words.
inline void check_words(const std::string& text, const std::vector<std::string>& words) {
    for (const std::string& word : words) {
        INFO("the text: " << text);
        INFO("should contain: " << word);
        CHECK(text.find(word) != std::string::npos);
    }
}
#define CHECK_ERROR(expression, ...) \
    slim::check_words(slim::error_of([&] { (void)(expression); }), {__VA_ARGS__})

// The largest |a - b|; NaN if there is one.
inline double largest_difference(const Tensor& a, const Tensor& b) {
    REQUIRE(a.shape() == b.shape());
    double worst = 0;
    for (int64_t i = 0; i < a.size(); i++) {
        const double d = std::fabs(double(a.data()[i]) - double(b.data()[i]));
        worst = d > worst || d != d ? d : worst;
    }
    return worst;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
    return a.shape() == b.shape() && a.to_vector() == b.to_vector();
}

inline Tensor random_tensor(const Shape& shape, Rng& rng, bool requires_grad = true) {
    return normal(shape, 0, 1, rng).set_requires_grad(requires_grad);
}

// gradcheck() as a test: on failure its sentence becomes the test's message.
inline void check_gradients(const TensorFunction& f, const std::vector<Tensor>& inputs,
                            GradcheckOptions options = {}) {
    try {
        gradcheck(f, inputs, options);
    } catch (const Error& e) {
        FAIL_CHECK(std::string(e.what()));
    }
}

// The same with every input wanting a gradient, and then with each one frozen in turn, which must
// leave it without even a buffer for one.
inline void check_op(const TensorFunction& f, const std::vector<Tensor>& inputs,
                     GradcheckOptions options = {}) {
    check_gradients(f, inputs, options);
    for (Tensor frozen : inputs) {
        if (inputs.size() == 1) break;
        frozen.set_requires_grad(false);
        check_gradients(f, inputs, options);
        backward(sum(f(inputs)));
        CHECK(!frozen.grad().defined());
        for (Tensor x : inputs) x.zero_grad();
        frozen.set_requires_grad(true);
    }
}

// Values between 0.5 and 2 (or -2 and -0.5): no kink and no pole at 0 is near.
inline Tensor positive_tensor(const Shape& shape, Rng& rng) {
    return uniform(shape, 0.5, 2, rng).set_requires_grad();
}
inline Tensor nonzero_tensor(const Shape& shape, Rng& rng) {
    Tensor x = positive_tensor(shape, rng);
    real* values = x.mutable_data();
    for (int64_t i = 0; i < x.size(); i++) values[i] *= rng.below(2) == 0 ? 1 : -1;
    return x;
}

// Distinct primes, so that no two axes can be mixed up; one row, one column, one element; empty.
inline std::vector<Shape> matrix_shapes() {
    return {{5, 3}, {2, 7}, {1, 5}, {5, 1}, {1, 1}, {0, 3}, {3, 0}};
}

// Equal to `want` within a share of it. doctest's own Approx adds the share of 1, which is too much
// for small values.
inline doctest::Approx relative(double want, double share) {
    return doctest::Approx(want).epsilon(share).scale(1e-60);  // so that 0 equals 0
}

// |a - b| <= absolute + relative |b| for every element; NaN only where both have it.
inline void check_close(const Tensor& a, const Tensor& b, double relative, double absolute) {
    REQUIRE(to_text(a.shape()) == to_text(b.shape()));
    for (int64_t i = 0; i < a.size(); i++) {
        const double got = double(a.data()[i]), want = double(b.data()[i]);
        if (std::isnan(got) && std::isnan(want)) continue;
        if (std::fabs(got - want) <= absolute + relative * std::fabs(want)) continue;
        FAIL_CHECK("element " << i << " of shape " << to_text(a.shape()) << ": got " << got
                              << ", want " << want);
        return;  // one sentence per tensor is enough
    }
}

// The same for sums of k rounded terms.
inline void check_close_sums(const Tensor& a, const Tensor& b, int64_t k) {
    const double root = std::sqrt(double(k));
    if (kDouble) check_close(a, b, 1e-14 * root, 1e-13);
    else check_close(a, b, 1.3e-6 * root, 1e-5);
}

// What f writes to stderr.
inline std::string stderr_of(const std::function<void()>& f) {
    std::fflush(stderr);
    std::FILE* file = std::tmpfile();
    const int before = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    f();
    std::fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    std::rewind(file);
    std::string text(1000, 0);
    text.resize(std::fread(text.data(), 1, text.size(), file));
    std::fclose(file);
    return text;
}

// The blocks of numbers alive beyond those that lived when this was made. 0 means no leak.
struct LeakCounter {
    int64_t before = memory_use().live_blocks;
    int64_t leaked() const { return memory_use().live_blocks - before; }
};

}  // namespace slim
