// Exercise 1: the gradient of a formula, on paper.
//
//     f(a, b) = a^2 b + sin(a b)
//
// Write its two derivatives. Both a and b occur twice: each place gives a part, and the parts add
// up. The check nudges a and b, and compares.
//
// Check: make ex-01    Hint: make hint-01
#include <cmath>

#include "apps/exercises/check.h"

using namespace slim;

static double f(double a, double b) { return a * a * b + std::sin(a * b); }

struct Gradient {
    double da, db;  // df/da, df/db
};

// ---- your part ----------------------------------------------------------------------------------

static Gradient gradient_of_f(double a, double b) {
    TO_WRITE("return {df/da, df/db}");
}

// ---- the check ----------------------------------------------------------------------------------

static void check_gradient() {
    const double h = 1e-4;
    const double points[][2] = {{2, 3}, {-1, 0.5}, {0.3, -2}};
    for (const auto& [a, b] : points) {
        const std::string at = " at a = " + to_text(a) + ", b = " + to_text(b);
        const Gradient got = gradient_of_f(a, b);
        const double cosine = std::cos(a * b);
        expect("df/da" + at, got.da, (f(a + h, b) - f(a - h, b)) / (2 * h),
               {{scalar(2 * a * b), "a occurs in sin(a b) too"},
                {scalar(b * cosine), "a occurs in a^2 b too"},
                {scalar(2 * a * b + cosine), "a b gains b per unit of a: the chain rule"},
                {scalar(a * a + a * cosine), "this is df/db"}});
        expect("df/db" + at, got.db, (f(a, b + h) - f(a, b - h)) / (2 * h),
               {{scalar(a * a), "b occurs in sin(a b) too"},
                {scalar(a * cosine), "b occurs in a^2 b too"},
                {scalar(a * a + cosine), "a b gains a per unit of b: the chain rule"},
                {scalar(2 * a * b + b * cosine), "this is df/da"}});
    }
}

int main() { return run_exercise(__FILE__, check_gradient); }
