// Exercise 12: the centre of the ink.
//
// MNIST's digits lie with their centre of mass in the middle of 28 x 28 pixels. Lesson 12 leaves
// that to digit_from_image(). Write it: the centre of mass, and the shift that brings it to row and
// column 14 (counted from 0), rounded to whole pixels. Ink that leaves is lost; what comes in is 0.
//
// Check: make ex-12    Hint: make hint-12
#include <cmath>

#include "apps/exercises/check.h"
#include "apps/exercises/train.h"
#include "core/ops.h"

using namespace slim;
// ---- your part ----------------------------------------------------------------------------------

struct Centre {
    double row, col;
};

// x [28, 28], ink from 0 to 1. Each pixel counts as much as it has ink.
static Centre centre_of(const Tensor& x) {
    TO_WRITE("return the centre of mass");
}

static Tensor centred(const Tensor& x) {
    TO_WRITE("return x [28, 28] with its centre of mass moved to (14, 14)");
}

// ---- the check ----------------------------------------------------------------------------------

static void check_centre() {
    Tensor x = zeros({28, 28}), moved = zeros({28, 28});
    const auto set = [](Tensor& x, int row, int col, real ink) {
        x.mutable_data()[row * 28 + col] = ink;
    };
    set(x, 2, 20, 1), set(x, 2, 22, 1), set(x, 4, 21, 0.5f);  // two dark points, a lighter one
    const Centre centre = centre_of(x);
    expect("row of the centre", centre.row, 2.4,
           {{scalar(8 / 3.), "each pixel counts as much as it has ink"},
            {scalar(3), "this is the middle of the box around the ink"},
            {scalar(21), "rows and columns are exchanged"}});
    expect("column of the centre", centre.col, 21);
    set(moved, 14, 13, 1), set(moved, 14, 15, 1), set(moved, 16, 14, 0.5f);
    Tensor cut = zeros({28, 28});  // by 11 rows, where 11.6 are wanted
    set(cut, 13, 13, 1), set(cut, 13, 15, 1), set(cut, 15, 14, 0.5f);
    expect("centred, pixel ", centred(x), moved,
           {{x, "nothing has moved"}, {zeros({28, 28}), "all ink has left: is the sign right?"},
            {cut, "14 - 2.4 = 11.6 is 12 whole pixels, not 11: round it"}});
    Tensor wide = zeros({28, 28}), kept = zeros({28, 28});  // centre (14, 4.27): 10 to the right
    set(wide, 14, 2, 1), set(wide, 14, 27, 0.1f), set(kept, 14, 12, 1);
    Tensor wrapped = clone(kept), around = clone(kept);
    set(wrapped, 15, 9, 0.1f), set(around, 14, 9, 0.1f);
    const char* lost = "ink that leaves the picture is lost: test the column, too";
    expect("a picture whose ink leaves, pixel ", centred(wide), kept,
           {{wrapped, lost}, {around, lost}});
    print_centred("data/mnist", centred);
}

int main() { return run_exercise(__FILE__, check_centre); }
