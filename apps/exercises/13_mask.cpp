// Exercise 13: the backward of the causal mask and of the softmax.
//
// Lesson 13 added a mask to the scores. Here the mask is an op of its own. The scores of `batch`
// sequences stand one after another, s [batch * time, time]:
//
//     m_ij = s_ij if position i of its sequence sees position j, else -10^9
//     p_ij = e^m_ij / sum over k of e^m_ik
//
// A position sees itself and those before it. Derive both backwards; write them in loops.
//
// Check: make ex-13    Hint: make hint-13
#include "apps/exercises/check.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"

using namespace slim;

// ---- your part ----------------------------------------------------------------------------------

// Adds to ds, which is zero at first, given dm. All are [batch * time, time].
static void mask_backward(const Tensor& dm, Tensor& ds) {
    const int64_t rows = dm.size(0), time = dm.size(1);
    TO_WRITE("fill ds");
}

// Adds to dm, which is zero at first, given p and dp.
static void softmax_backward(const Tensor& p, const Tensor& dp, Tensor& dm) {
    const int64_t rows = p.size(0), time = p.size(1);
    TO_WRITE("fill dm");
}

// ---- the check ----------------------------------------------------------------------------------

static void check_mask() {
    Rng rng(1);
    const Tensor dm = normal({6, 3}, 0, 1, rng);
    // 1 where a position sees another: two sequences of 3 positions, and three mistakes.
    const Tensor seen = tensor({1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1}, {6, 3}),
                 others = tensor({0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0}, {6, 3}),
                 one = tensor({1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {6, 3});
    Tensor ds = zeros({6, 3});
    mask_backward(dm, ds);
    expect("ds, element ", ds, dm * seen + 0.0,  // no -0
           {{dm, "the mask is missing: an s that is not seen is in no m"},
            {dm * others, "a position sees itself, too"},
            {dm * one, "row 3 is position 0 of the second sequence: i % time"}});
    const Tensor z = normal({6, 3}, 0, 1, rng).set_requires_grad(), p = softmax(z);
    backward(p, dm);
    Tensor dz = zeros({6, 3});
    softmax_backward(p.detach(), dm, dz);
    expect("dm, element ", dz, z.grad(),
           {{(dm * p).detach(), "the sum is missing: each m is in every p of its row"}});
}

int main() { return run_exercise(__FILE__, check_mask); }
