// How the checks of the exercises speak. See check.h.
#include "apps/exercises/check.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace slim {

void not_written(const char* file, int line, const std::string& what) {
    fail(file, ":", line, ": not written yet: ", what);
}

void require(bool ok, const std::string& words) {
    if (!ok) throw Error(words);
}

// The index of the first element that differs, or -1. NaN differs from every value.
static int64_t first_difference(const Tensor& a, const Tensor& b, double tolerance) {
    for (int64_t i = 0; i < b.size(); i++) {
        const double expected = b.data()[i], difference = std::fabs(a.data()[i] - expected);
        if (a.data()[i] == b.data()[i]) continue;  // also two infinities
        if (!(difference <= tolerance * (1 + std::fabs(expected)))) return i;
    }
    return -1;
}

// "[1, 2]" for element i of a tensor of this shape; "" for a scalar.
static std::string index_text(const Shape& shape, int64_t i) {
    std::string text;
    for (size_t axis = shape.size(); axis-- > 0; i /= shape[axis])
        text = std::to_string(i % shape[axis]) + (text.empty() ? "" : ", ") + text;
    return text.empty() ? "" : "[" + text + "]";
}

void expect(const std::string& what, const Tensor& got, const Tensor& expected,
            const std::vector<Mistake>& mistakes, double tolerance) {
    if (!got.defined()) fail(what, ": expected a tensor of shape ", expected.shape(), ", got none");
    if (got.shape() != expected.shape())
        fail(what, ": expected shape ", expected.shape(), ", got ", got.shape());
    const int64_t i = first_difference(got, expected, tolerance);
    if (i < 0) return;
    std::string reason;
    for (const Mistake& m : mistakes)
        if (reason.empty() && m.result.shape() == got.shape() &&
            first_difference(got, m.result, tolerance) < 0)
            reason = std::string("\n") + m.reason;
    fail(what, index_text(expected.shape(), i), ": expected ", double(expected.data()[i]), ", got ",
         double(got.data()[i]), reason);
}

void expect(const std::string& what, double got, double expected,
            const std::vector<Mistake>& mistakes, double tolerance) {
    expect(what, scalar(got), scalar(expected), mistakes, tolerance);
}

std::string empty_folder() {
    const std::string folder = "build/exercises/folder";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    return folder;
}

// The number of the line that says "your part".
static int line_of_your_part(const char* file) {
    std::ifstream source(file);
    int number = 0;
    for (std::string line; std::getline(source, line);) {
        number++;
        if (line.starts_with("// ---- your part")) return number;
    }
    return 1;
}

int run_exercise(const char* file, void (*check)()) {
    const std::string path = file, name = path.substr(path.rfind('/') + 1);
    const std::string number = name.substr(0, name.find('_'));
    try {
        check();
    } catch (const std::exception& e) {
        std::printf("%s\nyour part begins at %s:%d. hint: make hint-%s\n", e.what(), file,
                    line_of_your_part(file), number.c_str());
        return 1;
    }
    std::printf("exercise %s: passed. ", number.c_str());
    const int next = std::atoi(number.c_str()) + 1;
    if (next == 1) std::printf("That was the appendix.\n");
    else if (next > 13) std::printf("That was the course. The appendix: make lesson-appendix\n");
    else std::printf("Next: make lesson-%02d\n", next);
    return 0;
}

}  // namespace slim
