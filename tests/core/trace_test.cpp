// The trace: what its lines say, that it is off unless asked for, and that it changes nothing.
#include "core/trace.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>  // getenv
#include <functional>
#include <sstream>

#include "core/row_gradient.h"
#include "nn/linear.h"
#include "tests/testing.h"

namespace slim {

namespace {

// The lines that f leaves, traced into a temporary file.
std::vector<std::string> traced(const std::function<void()>& f) {
    std::FILE* file = std::tmpfile();
    REQUIRE(file);
    set_trace(file);
    f();
    set_trace(nullptr);
    std::string text(size_t(std::ftell(file)), ' ');
    std::rewind(file);
    REQUIRE(std::fread(text.data(), 1, text.size(), file) == text.size());
    std::fclose(file);
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

// A line without its time, and with one space between words.
std::string without_time(const std::string& line) {
    std::istringstream in(line);
    std::vector<std::string> words;
    for (std::string word; in >> word;) {
        if (word == "ms") words.pop_back();
        else words.push_back(word);
    }
    std::string result;
    for (const std::string& word : words) result += (result.empty() ? "" : " ") + word;
    return result;
}

double time_of(const std::string& line) {
    const size_t end = line.find(" ms");
    REQUIRE(end != std::string::npos);
    return std::stod(line.substr(line.rfind(' ', end - 1)));
}

}  // namespace

TEST_CASE("trace: a line for each op, forward in order, backward the other way round") {
    Tensor x = tensor({1, 2, 3, 4, 5, 6}, {3, 2});
    Tensor w = tensor({3, 4}, {1, 2}).set_requires_grad();
    Tensor b = tensor({-12}).set_requires_grad();
    const std::vector<std::string> lines = traced([&] {
        backward(sum(relu(linear(x, w, b))));  // 11 - 12, 25 - 12, 39 - 12: the first is cut off
    });
    REQUIRE(lines.size() == 6);
    CHECK(without_time(lines[0]) == "forward linear (3, 2) (1, 2) (1) -> (3, 1)");
    CHECK(without_time(lines[1]) == "forward relu (3, 1) -> (3, 1)");
    CHECK(without_time(lines[2]) == "forward sum (3, 1) -> ()");
    CHECK(without_time(lines[3]) == "backward sum (3, 1) -> () |dy| 1 |dx| 1.73205");
    CHECK(without_time(lines[4]) == "backward relu (3, 1) -> (3, 1) |dy| 1.73205 |dx| 1.41421");
    // dw = (3 + 5, 4 + 6), db = 2; x wants nothing
    CHECK(without_time(lines[5]) ==
          "backward linear (3, 2) (1, 2) (1) -> (3, 1) |dy| 1.41421 |dx| - 12.8062 2");
}

TEST_CASE("trace: the times are not negative, and add up to less than what passed") {
    const auto start = std::chrono::steady_clock::now();
    Rng rng(1);
    const Tensor a = random_tensor({200, 200}, rng);
    double sum_of_times = 0;
    for (const std::string& line : traced([&] { backward(sum(matmul(a, a))); })) {
        CHECK(time_of(line) >= 0);
        sum_of_times += time_of(line);
    }
    const auto passed = std::chrono::steady_clock::now() - start;
    CHECK(sum_of_times > 0);
    CHECK(sum_of_times <= std::chrono::duration<double, std::milli>(passed).count());
}

TEST_CASE("trace: an op that leaves no node says so, and is not in the backward pass") {
    const Tensor x = tensor({1, 2});
    Tensor w = tensor({3, 4}).set_requires_grad();
    const std::vector<std::string> lines = traced([&] {
        backward(sum(exp(x) * w));
        NoGrad no_grad;
        exp(w);
    });
    REQUIRE(lines.size() == 6);
    CHECK(without_time(lines[0]) == "forward exp (2) -> (2) no gradient");
    CHECK(without_time(lines[1]) == "forward mul (2) (2) -> (2)");
    CHECK(without_time(lines[4]).find("backward mul") == 0);
    CHECK(without_time(lines[5]) == "forward exp (2) -> (2) no gradient");
}

TEST_CASE("trace: off by default, and after set_trace(nullptr)") {
    if (std::getenv("SLIM_TRACE")) return;  // somebody traces the tests
    CHECK(!tracing());
    Tensor w = tensor({3, 4}).set_requires_grad();
    CHECK(traced([] {}).empty());
    std::FILE* file = std::tmpfile();
    REQUIRE(file);
    set_trace(file);
    CHECK(tracing());
    set_trace(nullptr);
    CHECK(!tracing());
    backward(sum(w));
    CHECK(std::ftell(file) == 0);
    std::fclose(file);
}

TEST_CASE("trace: the gradients are the same to the bit, and those of a few rows stay so") {
    Rng rng(2);
    const Tensor x = random_tensor({5, 3}, rng, false);
    Tensor w = random_tensor({2, 3}, rng);
    const auto step = [&] { backward(mean(tanh(matmul_nt(x, w)))); };
    step();
    const Tensor plain = clone(w.grad());
    w.zero_grad();
    traced(step);
    CHECK(same_bits(w.grad(), plain));

    struct TouchRow : Node {
        explicit TouchRow(const Tensor& x) : Node("touch_row", {x}) {}
        void backward(const Tensor&) override {
            const std::vector<int64_t> rows{1};
            const std::vector<real> values{3, 4, 0};
            add_grad_rows(inputs[0], rows, values.data());
        }
    };
    w.zero_grad();
    const std::vector<std::string> lines =
        traced([&] { backward(record(scalar(0), std::make_shared<TouchRow>(w))); });
    REQUIRE(lines.size() == 2);
    CHECK(without_time(lines[1]) == "backward touch_row (2, 3) -> () |dy| 1 |dx| 5");
    CHECK(row_gradient(w) != nullptr);
}

}  // namespace slim
