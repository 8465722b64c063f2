// Exercise 11: magnitude and direction of a change.
//
// After the DoRA paper, of each row of a weight, W_j before and W'_j after training:
//
//     magnitude change  | |W'_j| - |W_j| |
//     direction change  1 - cos(W_j, W'_j)        cos = W_j . W'_j / (|W_j| |W'_j|)
//
// Write both. Predict first: which of the two is zero for a row that was doubled? For one that was
// turned by 90 degrees? Which of the two does DoRA's m change, and which its A and B?
//
// Check: make ex-11    Hint: make hint-11
#include <cmath>

#include "apps/exercises/check.h"
#include "core/ops.h"

using namespace slim;

// ---- your part ----------------------------------------------------------------------------------

struct RowChange {
    Tensor magnitude, direction;  // [rows] each
};

static RowChange row_change(const Tensor& before, const Tensor& after) {
    TO_WRITE("return {magnitude changes, direction changes}, each of shape [rows]");
}

// ---- the check ----------------------------------------------------------------------------------

static void check_rows() {
    const Tensor W = tensor({3, 4, 3, 4, 0, 2, 1, 0, 3, 4}, {5, 2});
    // doubled, turned by 90 degrees, turned round and halved, as it was, turned and shortened
    const Tensor changed = tensor({6, 8, -4, 3, 0, -1, 1, 0, 3, 0}, {5, 2});
    const RowChange got = row_change(W, changed);
    const Tensor n = norm(W, 1), n_after = norm(changed, 1), dot = sum(W * changed, 1);
    expect("magnitude change of row ", got.magnitude, tensor({5, 0, 1, 0, 2}),
           {{n_after - n, "a row that shrinks has changed too: take the absolute value"},
            {norm(changed - W, 1), "this is |W' - W|: it mixes magnitude and direction"},
            {norm(changed, 0), "these are norms of columns"}});
    expect("direction change of row ", got.direction, tensor({0, 1, 2, 0, 0.4f}),
           {{dot / (n * n_after), "this is the cosine; the change is 1 minus it"},
            {tensor({0, 1.570796f, 3.141593f, 0, 0.927295f}), "this is the angle, not 1 - cos"},
            {1 - dot, "divide by both norms: the cosine is of unit vectors"},
            {1 - dot / (n * n), "divide by both norms, |W_j| |W'_j|"}});
}

int main() { return run_exercise(__FILE__, check_rows); }
