// Exercise, the appendix: the other axis.
//
// The appendix finds the norms of the rows of V = W + s B A without forming V. The tutorials take
// the columns: one magnitude per input. Multiply out the square of column k,
//
//     |V_.k|^2 = sum over j of (W_jk + s (B A)_jk)^2
//
// and write it with products in which W occurs once, and nothing else is as large as W.
// Hint of the shapes: B^T W is [rank, in], B^T B is [rank, rank].
//
// Check: make ex-appendix    Hint: make hint-appendix
#include "apps/exercises/check.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"

using namespace slim;

// ---- your part ----------------------------------------------------------------------------------

// W [out, in], A [rank, in], B [out, rank]; w2 [in] are the squared norms of W's columns, known.
// Returns the norms of the columns of W + s B A, [in].
static Tensor column_norms(const Tensor& W, const Tensor& w2, const Tensor& A, const Tensor& B,
                           double s) {
    TO_WRITE("return the norms of the columns, without forming B A");
}

// ---- the check ----------------------------------------------------------------------------------

static void check_columns() {
    Rng rng(1);
    const double s = 2;
    Tensor W = normal({5, 7}, 0, 1, rng), w2 = sum(W * W, 0);
    Tensor A = normal({3, 7}, 0, 1, rng), B = normal({5, 3}, 0, 1, rng);
    const Tensor BA = matmul(B, A), cross = sum(W * BA, 0), square = sum(BA * BA, 0);
    W.set_requires_grad();  // so that the ops leave nodes, which tell what they made
    const Tensor got = column_norms(W, w2, A.set_requires_grad(), B.set_requires_grad(), s);
    expect("norm of column ", got, norm(W + s * BA, 0),
           {{sqrt(w2 + s * s * square), "the mixed term 2 s W_jk (B A)_jk is missing"},
            {sqrt(w2 + 2 * s * cross), "the term s^2 (B A)_jk^2 is missing"},
            {sqrt(w2 + 2 * s * cross + s * square), "the last term has s^2"},
            {sqrt(w2 + s * cross + s * s * square), "the mixed term occurs twice"},
            {w2 + 2 * s * cross + s * s * square, "this is the square of the norm"}});
    for (const Tensor& x : tensors_behind("the check", got))
        require(x.size() != W.size() || x.impl == W.impl,
                "the norms are right, but a matrix as large as W was formed on the way");
}

int main() { return run_exercise(__FILE__, check_columns); }
