// Gradients of some rows only: how they add up, and how the optimisers follow them.
#include "core/row_gradient.h"
#include "nn/adapters/embedding_adapter.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "tests/testing.h"

namespace slim {

using Rows = std::vector<int64_t>;
using Values = std::vector<real>;

static Tensor table() { return tensor({1, 2, 3, 4, 5, 6}, {3, 2}).set_requires_grad(); }

static void add(Tensor w, const Rows& rows, const Values& values) {
    add_grad_rows(w, rows, values.data());
}

// ---- the gradient -------------------------------------------------------------------------------

TEST_CASE("add_grad_rows: rows are sorted, repeated ones and later passes add up") {
    Tensor w = zeros({5, 2}).set_requires_grad();
    CHECK(!w.has_grad());
    add(w, {4, 1, 4}, {1, 2, 3, 4, 5, 6});
    CHECK(w.has_grad());
    REQUIRE(row_gradient(w) != nullptr);
    CHECK(row_gradient(w)->rows == Rows{1, 4});
    CHECK(row_gradient(w)->values == Values{3, 4, 6, 8});
    add(w, {0, 4}, {7, 8, 9, 10});
    CHECK(row_gradient(w)->rows == Rows{0, 1, 4});
    CHECK(row_gradient(w)->values == Values{7, 8, 3, 4, 15, 18});
    CHECK(w.grad().to_vector() == Values{7, 8, 3, 4, 0, 0, 0, 0, 15, 18});
}

TEST_CASE("add_grad_rows: asking for the dense gradient makes it dense") {
    const auto dense = [](Tensor& w) { return w.grad_data(); };
    Tensor a = table(), b = table(), c = table(), d = table();
    for (Tensor w : {a, b, c, d}) add(w, {1}, {7, 8});
    CHECK(a.grad().to_vector() == Values{0, 0, 7, 8, 0, 0});
    CHECK(b.grad_data()[3] == 8);
    c.mutable_grad()[0] = 1;
    const Tensor::GradSlot slot = d.grad_slot();
    CHECK(slot.beta == 1);
    CHECK(slot.data[2] == 7);
    for (Tensor w : {a, b, c, d}) {
        CHECK(row_gradient(w) == nullptr);
        add(w, {1, 2}, {1, 1, 1, 1});  // rows added to a dense gradient keep it dense
        CHECK(row_gradient(w) == nullptr);
        CHECK(dense(w)[2] == 8);
        CHECK(dense(w)[5] == 1);
    }
    CHECK(c.grad().to_vector() == Values{1, 0, 8, 9, 1, 1});
    a.grad().mutable_data()[0] = 3;  // and grad() shares the memory
    CHECK(dense(a)[0] == 3);
}

TEST_CASE("add_grad_rows: zero_grad and freezing drop it; grad_values is what is stored") {
    Tensor w = table();
    CHECK(grad_values(w).empty());
    add(w, {2, 0}, {1, 2, 3, 4});
    for (real& g : grad_values(w)) g *= 2;
    CHECK(grad_values(w).size() == 4);
    CHECK(row_gradient(w)->values == Values{6, 8, 2, 4});
    w.grad();
    CHECK(grad_values(w).size() == 6);
    w.zero_grad();
    CHECK(!w.has_grad());
    add(w, {2}, {1, 2});
    w.set_requires_grad(false);
    CHECK(!w.has_grad());
    CHECK(!w.grad().defined());
}

TEST_CASE("add_grad_rows: a frozen tensor, a vector and a row that is not there are refused") {
    const Values values{1, 2};
    CHECK_ERROR(add(zeros({3, 2}), {0}, values), "grad", "(3, 2)", "does not require");
    CHECK_ERROR(add(ones({3}).set_requires_grad(), {0}, values), "add_grad_rows", "(3)", "matrix");
    for (int64_t row : {int64_t(-1), int64_t(3)})
        CHECK_ERROR(add(table(), {row}, values), "add_grad_rows", "row " + to_text(row), "(3, 2)",
                    "between 0 and 2");
}

TEST_CASE("sparse: the table may be the result of an op, and meet dense gradients") {
    Rng rng(1);
    const std::vector<int> ids{3, 0, 3, 4};
    std::vector<Tensor> grads;
    for (bool sparse : {false, true}) {
        Rng same(2);
        Tensor w = random_tensor({5, 3}, same), dy = random_tensor({4, 3}, same, false);
        const Tensor twice = 2 * w;
        const Tensor a = embedding(twice, ids, {.sparse = sparse});
        const Tensor b = embedding(w, ids, {.sparse = sparse});
        backward(sum(mul(a + b, dy)) + sum(mul(twice, w)));
        CHECK(row_gradient(w) == nullptr);
        grads.push_back(w.grad());
    }
    check_close(grads[1], grads[0], 1e-6, 1e-6);
}

TEST_CASE("sparse: no rows at all is a gradient too, of zeros") {
    Tensor w = table();
    backward(sum(embedding(w, {}, {.sparse = true})));
    REQUIRE(row_gradient(w) != nullptr);
    CHECK(row_gradient(w)->rows.empty());
    Adam({w}, {.lr = 1}).step();
    CHECK(w.to_vector() == Values{1, 2, 3, 4, 5, 6});
    CHECK(same_bits(w.grad(), zeros({3, 2})));
}

// ---- the optimisers -----------------------------------------------------------------------------

using MakeOptimizer = std::unique_ptr<Optimizer> (*)(const Tensor&);

template <class Kind>
static std::unique_ptr<Optimizer> make(const Tensor& w, const auto& options) {
    return std::make_unique<Kind>(std::vector<Tensor>{w}, options);
}

static const MakeOptimizer kOptimizers[] = {
    [](const Tensor& w) { return make<SGD>(w, SGDOptions{.lr = 0.1}); },
    [](const Tensor& w) { return make<SGD>(w, SGDOptions{.lr = 0.1, .weight_decay = 0.2}); },
    [](const Tensor& w) { return make<SGD>(w, SGDOptions{.lr = 0.1, .momentum = 0.9}); },
    [](const Tensor& w) {
        return make<SGD>(w, SGDOptions{.lr = 0.1, .momentum = 0.9, .nesterov = true});
    },
    [](const Tensor& w) { return make<Adam>(w, AdamOptions{.lr = 0.1, .weight_decay = 0.2}); },
    [](const Tensor& w) { return make<AdamW>(w, AdamOptions{.lr = 0.1, .weight_decay = 0.2}); },
};

// Looks the ids up, with a gradient of its own for each step, and updates.
static void train_step(Optimizer& optimizer, const Tensor& w, const std::vector<int>& ids,
                       bool sparse, uint64_t seed) {
    Rng rng(seed);
    optimizer.zero_grad();
    const Tensor y = embedding(w, ids, {.sparse = sparse});
    backward(y, random_tensor(y.shape(), rng, false));
    CHECK((row_gradient(w) != nullptr) == sparse);
    optimizer.step();
}

TEST_CASE("sparse: when every row is touched, the same bits as the dense step") {
    for (const MakeOptimizer make_optimizer : kOptimizers) {
        Tensor a = table(), b = table();
        auto for_a = make_optimizer(a), for_b = make_optimizer(b);
        for (uint64_t step = 0; step < 5; step++) {
            train_step(*for_a, a, {2, 0, 1, 0}, false, step);
            train_step(*for_b, b, {2, 0, 1, 0}, true, step);
        }
        CHECK(same_bits(a, b));
        CHECK(!same_bits(a, table()));
    }
}

TEST_CASE("sparse: rows that are not touched keep their bits, whatever was remembered of them") {
    for (const MakeOptimizer make_optimizer : kOptimizers) {
        Tensor w = table();
        auto optimizer = make_optimizer(w);
        train_step(*optimizer, w, {0, 1}, true, 1);  // rows 0 and 1 have momentum from now on
        CHECK(w.at({2, 0}) == 5);
        CHECK(w.at({2, 1}) == 6);
        const Values before = w.to_vector();
        train_step(*optimizer, w, {2, 1}, true, 2);
        const Values after = w.to_vector();
        for (size_t i : {0, 1}) CHECK(after[i] == before[i]);
        for (size_t i : {2, 3, 4, 5}) CHECK(after[i] != before[i]);
    }
}

TEST_CASE("sparse: what SGD remembers of a row waits until it is touched again") {
    // Row 0 is touched in steps 1 and 3 of the one, and in steps 1 and 2 of the other.
    Tensor waits = table(), goes = table();
    SGD a({waits}, {.lr = 0.5, .momentum = 0.5, .weight_decay = 0.25});
    SGD b({goes}, {.lr = 0.5, .momentum = 0.5, .weight_decay = 0.25});
    const auto step = [](SGD& sgd, Tensor& w, int64_t row, const Values& g) {
        sgd.zero_grad();
        add(w, {row}, g);
        sgd.step();
    };
    step(a, waits, 0, {1, 2});
    step(a, waits, 1, {5, 5});
    step(a, waits, 0, {3, 4});
    step(b, goes, 0, {1, 2});
    step(b, goes, 0, {3, 4});
    for (int64_t j : {0, 1}) CHECK(waits.at({0, j}) == goes.at({0, j}));
    CHECK(waits.at({1, 0}) != 3);
    CHECK(goes.at({1, 0}) == 3);
}

// torch.optim.SparseAdam([E], lr=0.1, eps=1e-300), PyTorch 1.13, float64, with y = E[ids] and
// y.backward(dy) in each step. (Its eps is added before the second moment is unbiased and not
// after; so small a one does not count.)
TEST_CASE("sparse: Adam gives what PyTorch's SparseAdam gives") {
    struct Step {
        std::vector<int> ids;
        Values dy, after;
    };
    const Step steps[] = {
        {{0, 2, 0}, {1, -2, 0.5, 3, 2, 1}, {0.9, 2.1, 3, 4, 4.9, 5.9}},
        {{2}, {-1, 4}, {0.9, 2.1, 3, 4, 4.9366103527035845, 5.8002677122142696}},
        {{1, 2},
         {2, 0.25, 1, -3},
         {0.9, 2.1, 2.9361186400601484, 3.9361186400601484, 4.9150964568918969,
          5.7670557510526246}},
    };
    Tensor w = table();
    Adam adam({w}, {.lr = 0.1, .eps = 0});
    for (const Step& s : steps) {
        adam.zero_grad();
        const Tensor y = embedding(w, s.ids, {.sparse = true});
        backward(y, tensor(s.dy, y.shape()));
        adam.step();
        check_close(w.detach(), tensor(s.after, {3, 2}), kDouble ? 1e-14 : 1e-6, 0);
    }
}

TEST_CASE("sparse: an optimiser takes dense and sparse gradients in turn") {
    Tensor w = table();
    Adam adam({w}, {.lr = 0.1});
    train_step(adam, w, {0}, true, 1);
    train_step(adam, w, {0}, false, 2);
    const Values before = w.to_vector();
    CHECK(before[5] == 6);  // a zero gradient without momentum
    train_step(adam, w, {2}, true, 3);
    CHECK(w.to_vector()[0] == before[0]);
    train_step(adam, w, {2}, false, 4);
    CHECK(w.to_vector()[0] != before[0]);  // dense again: row 0 moves on by its momentum
}

TEST_CASE("sparse: gradients cost memory by the rows touched, not by the table") {
    Rng rng(1);
    Embedding large(100000, 4, rng, {.sparse = true});
    reset_peak_memory();
    const int64_t before = memory_use().live_bytes;
    backward(sum(large.lookup(std::vector<int>{7, 99999, 7})));
    CHECK(memory_use().peak_bytes - before < 10000);
    CHECK(row_gradient(large.weight)->rows == Rows{7, 99999});
    CHECK(row_gradient(large.weight)->values == Values{2, 2, 2, 2, 1, 1, 1, 1});
}

}  // namespace slim
