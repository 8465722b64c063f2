// Exercise 4: the backward of a matrix product, in loops.
//
//     y = a b      a [m, k], b [k, n]      y_ij = sum over p of a_ip b_pj
//
// Lesson 4 had x W^T. Here nothing is transposed, so the formulas differ. Derive them: in which y
// does a_ip occur, and with which factor? Then write them as loops over elements, without matmul.
//
// Check: make ex-04    Hint: make hint-04
#include "apps/exercises/check.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"

using namespace slim;

// ---- your part ----------------------------------------------------------------------------------

// Adds to da [m, k] and db [k, n], which are zero at first, given dy [m, n]. Read an element with
// a.at({i, p}). Write one with da.mutable_data()[i * k + p]: row times columns, plus column.
static void product_backward(const Tensor& a, const Tensor& b, const Tensor& dy, Tensor& da,
                             Tensor& db) {
    const int64_t m = a.size(0), k = a.size(1), n = b.size(1);
    TO_WRITE("fill da and db");
}

// ---- the check ----------------------------------------------------------------------------------

static Tensor divided(const Tensor& x, int64_t by) { return x / double(by); }

static void check_product() {
    Rng rng(1);
    for (const auto& [m, k, n] : {std::tuple(2, 2, 2), std::tuple(2, 3, 5), std::tuple(7, 1, 4)}) {
        Tensor a = normal({m, k}, 0, 1, rng).set_requires_grad();
        Tensor b = normal({k, n}, 0, 1, rng).set_requires_grad();
        const Tensor dy = normal({m, n}, 0, 1, rng);
        backward(matmul(a, b), dy);

        Tensor da = zeros({m, k}), db = zeros({k, n});
        NoGrad no_grad;
        product_backward(a, b, dy, da, db);
        std::vector<Mistake> of_a{{zeros({m, k}), "da is still zero"},
                                  {divided(a.grad(), n), "gradients add up: no mean over j"}};
        std::vector<Mistake> of_b{{zeros({k, n}), "db is still zero"},
                                  {divided(b.grad(), m), "gradients add up: no mean over i"}};
        Tensor strided = zeros({k, n});
        for (int64_t i = 0; i < k * n; i++)
            strided.mutable_data()[i / n * k + i % n] += b.grad().data()[i];
        of_b.push_back({strided, "db has n columns: its element {p, j} is at p * n + j"});
        if (m == k && k == n) {  // with equal sizes other formulas run too, and are wrong
            of_a.push_back({matmul(dy, b), "this is dy b: which index of b is summed over?"});
            of_b.push_back({matmul(a, dy), "this is a dy: which index of a is summed over?"});
            of_b.push_back({matmul_tn(dy, a), "this is dy^T a, right for x W^T of lesson 4"});
        }
        const std::string sizes = " for a " + to_text(a.shape()) + ", b " + to_text(b.shape());
        expect("da" + sizes + ", element ", da, a.grad(), of_a);
        expect("db" + sizes + ", element ", db, b.grad(), of_b);
    }
}

int main() { return run_exercise(__FILE__, check_product); }
