// How the checks of the exercises speak. Few includes: an exercise compiles in a second or two.
#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"

// Marks what is still to be written: ends the check with the file, the line and what to do.
#define TO_WRITE(what) ::slim::not_written(__FILE__, __LINE__, what)

namespace slim {

[[noreturn]] void not_written(const char* file, int line, const std::string& what);

// A wrong result that is often seen, and what leads to it.
struct Mistake {
    Tensor result;
    const char* reason;
};

// Throws an Error unless got is close to expected: |difference| <= tolerance (1 + |expected|). The
// error names the first element that differs, both values, and the reason if it is a known one.
void expect(const std::string& what, const Tensor& got, const Tensor& expected,
            const std::vector<Mistake>& mistakes = {}, double tolerance = 1e-4);
void expect(const std::string& what, double got, double expected,
            const std::vector<Mistake>& mistakes = {}, double tolerance = 1e-4);

// Throws an Error with these words unless ok.
void require(bool ok, const std::string& words);

std::string empty_folder();  // makes it anew, build/exercises/folder

// Runs the check of the exercise in this file. Prints what failed and where the reader's part
// begins, or what comes next. Returns the exit status.
int run_exercise(const char* file, void (*check)());

}  // namespace slim
