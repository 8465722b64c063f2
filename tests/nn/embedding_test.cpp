// Embedding against PyTorch, and its options.
#include "nn/embedding.h"

#include "core/row_gradient.h"
#include "optim/adam.h"
#include "tests/nn/embeddings.h"

namespace slim {

// ---- the op -------------------------------------------------------------------------------------

TEST_CASE("embedding: PyTorch's rows, table and gradient with every option, dense and sparse") {
    const Reference torch("embedding.txt");
    const std::map<std::string, EmbeddingOptions> runs{
        {"plain", {}},
        {"padding", {.padding_idx = 3}},
        {"max_norm2", {.max_norm = 1}},
        {"max_norm1", {.max_norm = 1.5, .norm_type = 1}},
        {"by_freq", {.scale_grad_by_freq = true}},
        {"all", {.padding_idx = 3, .max_norm = 1, .norm_type = 2, .scale_grad_by_freq = true}}};
    for (const auto& run : runs)
        for (bool sparse : {false, true}) {
            const std::string name = run.first;  // clang 14 cannot capture structured bindings
            EmbeddingOptions options = run.second;
            INFO(name << (sparse ? ", sparse" : ""));
            options.sparse = sparse;
            Tensor E = torch["E"].set_requires_grad();
            const Tensor y = embedding(E, torch.integers("ids"), options);
            backward(y, torch["dy"]);
            CHECK((row_gradient(E) != nullptr) == sparse);
            check_same(y.detach(), torch[name + ".y"]);
            check_same(E.detach(), torch[name + ".E"]);
            check_same(E.grad(), torch[name + ".dE"]);
            if (options.padding_idx == 3) CHECK(is_zero(row_of(E.grad(), 3)));
            CHECK(same_bits(row_of(E, 2), row_of(torch["E"], 2)));  // never looked up
        }
}

TEST_CASE("embedding: gradients, for ids that repeat, one id, none, and a table of one number") {
    Rng rng(1);
    const std::pair<Shape, Ids> cases[] = {{{7, 3}, kIds},      {{5, 1}, {1, 1}}, {{1, 5}, {0}},
                                           {{1, 1}, {0, 0, 0}}, {{3, 2}, {}},     {{2, 0}, {1}}};
    for (const auto& one : cases)
        for (bool sparse : {false, true}) {
            const Shape& shape = one.first;
            const Ids& ids = one.second;
            INFO(to_text(shape) << (sparse ? " sparse" : ""));
            check_op(
                [&](const std::vector<Tensor>& in) {
                    return embedding(in[0], ids, {.sparse = sparse});
                },
                {random_tensor(shape, rng)});
        }
}

TEST_CASE("embedding: sparse and dense gradients have the same bits, over two passes too") {
    Rng rng(2);
    for (const EmbeddingOptions& options : {EmbeddingOptions{}, EmbeddingOptions{.padding_idx = 4},
                                            EmbeddingOptions{.scale_grad_by_freq = true}}) {
        const Tensor values = random_tensor({7, 3}, rng, false);
        std::vector<Tensor> grads;
        for (bool sparse : {false, true}) {
            EmbeddingOptions with = options;
            with.sparse = sparse;
            Rng same(3);
            Tensor E = clone(values).set_requires_grad();
            for (const Ids& ids : {kIds, Ids{1, 4, 0}}) {
                const Tensor y = embedding(E, ids, with);
                backward(y, random_tensor(y.shape(), same, false));
            }
            grads.push_back(E.grad());
        }
        CHECK(same_bits(grads[0], grads[1]));
        CHECK(!is_zero(grads[0]));
    }
}

TEST_CASE("embedding: max_norm shortens only what is looked up and too long, frozen or not") {
    const real inf = INFINITY;
    for (bool frozen : {false, true}) {
        Tensor E =
            tensor({3, 4, 3, 4, real(0.3), real(0.4), -6, 2}, {4, 2}).set_requires_grad(!frozen);
        uint64_t version = E.version();
        embedding(E, Ids{2}, {.max_norm = 1});
        CHECK(E.version() == version);  // nothing was too long, nothing was written
        const Tensor y = embedding(E, Ids{0, 0, 2}, {.max_norm = 1});
        CHECK(E.version() != version);
        check_close(row_of(y, 0), tensor({real(0.6), real(0.8)}), 1e-6, 0);
        CHECK(same_bits(row_of(y, 0), row_of(y, 1)));  // shortened once
        CHECK(same_bits(row_of(E, 0), row_of(y, 0)));
        CHECK(same_bits(row_of(E, 1), tensor({3, 4})));
        CHECK(same_bits(row_of(E, 2), tensor({real(0.3), real(0.4)})));
        embedding(E, Ids{3}, {.max_norm = 3, .norm_type = inf});
        check_close(row_of(E, 3), tensor({-3, 1}), 1e-6, 0);
        embedding(E, Ids{1}, {.max_norm = 1, .norm_type = 3});
        check_close(row_of(E, 1), scale(tensor({3, 4}), 1 / std::cbrt(91.0)), 1e-6, 0);
    }
}

TEST_CASE("embedding: a row that is named twice is shortened once") {
    // Rows so long that 1e-7 is lost beside the norm: about half of them come out a rounding error
    // longer than max_norm, and would be shortened again.
    Rng rng(4);
    Tensor once = normal({50, 3}, 0, 1e10, rng), twice = clone(once);
    Ids ids, doubled;
    for (int id = 0; id < 50; id++) ids.push_back(id);
    for (int id : ids) doubled.insert(doubled.end(), {id, id});
    embedding(once, ids, {.max_norm = 1});
    embedding(twice, doubled, {.max_norm = 1});
    CHECK(same_bits(once, twice));
}

TEST_CASE("embedding: ids and options that make no sense are errors") {
    const Tensor E = ones({6, 4});
    const Ids high{1, 6, 2}, low{3, 2, -1};
    CHECK_ERROR(embedding(E, high), "embedding", "id 6", "position 1", "(6, 4)", "between 0 and 5");
    CHECK_ERROR(embedding(E, low), "embedding", "id -1", "position 2", "between 0 and 5");
    CHECK_ERROR(embedding(ones({6}), Ids{1}), "embedding", "(6)", "(num_embeddings, dim)");
    CHECK_ERROR(embedding(E, Ids{1}, {.padding_idx = 6}), "embedding", "padding_idx 6", "0 and 5");
    CHECK_ERROR(embedding(E, Ids{1}, {.padding_idx = -2}), "embedding", "padding_idx -2");
    CHECK_ERROR(embedding(E, Ids{1}, {.max_norm = -1}), "embedding", "max_norm -1");
    CHECK_ERROR(embedding(E, Ids{1}, {.max_norm = std::nan("")}), "embedding", "max_norm nan");
    CHECK_ERROR(embedding(E, Ids{1}, {.max_norm = 1, .norm_type = 0}), "embedding", "norm_type 0");
    Rng rng(1);
    CHECK_ERROR(Embedding(0, 4, rng), "Embedding", "0 embeddings", "dimension 4", "positive");
    CHECK_ERROR(Embedding(4, -1, rng), "Embedding", "-1", "positive");
    CHECK_ERROR(Embedding(6, 4, rng, {.padding_idx = 6}), "embedding", "padding_idx 6");
    CHECK_ERROR(Embedding(ones({6})), "embedding", "(6)");
    Embedding table(6, 4, rng);
    CHECK_ERROR(table(ones({2, 4})), "Embedding", "forward");
    CHECK_ERROR(embedding(Tensor(), Ids{}), "undefined");
}

// ---- the module ---------------------------------------------------------------------------------

TEST_CASE("Embedding: drawn from N(0, 1), with zeros for padding; parameters and printing") {
    Rng rng(4);
    Embedding table(500, 40, rng, {.padding_idx = 7, .max_norm = 2, .sparse = true});
    CHECK(is_zero(row_of(table.weight, 7)));
    double square = 0;
    for (real v : table.weight.to_vector()) square += double(v) * double(v);
    CHECK(square / (499 * 40) == relative(1, 5 * std::sqrt(2.0 / 20000)));
    CHECK(std::fabs(mean(table.weight).item()) < 5 / std::sqrt(20000.0));
    CHECK(table.weight.requires_grad());
    CHECK(table.state_dict().count("weight") == 1);
    CHECK(to_string(table) ==
          "Embedding(500, 40, padding_idx=7, max_norm=2, norm_type=2, sparse=True)");
    CHECK(to_string(*std::make_unique<Embedding>(ones({2, 3}))) == "Embedding(2, 3)");
}

TEST_CASE("Embedding: training leaves padding's row as it is, to the bit, and unseen rows") {
    for (bool sparse : {false, true}) {
        Rng rng(5);
        Embedding table(random_tensor({7, 3}, rng), {.padding_idx = 4, .sparse = sparse});
        const Tensor before = clone(table.weight.detach());
        Adam adam(table.parameters(), {.lr = 0.1});
        for (int step = 0; step < 10; step++) {
            adam.zero_grad();
            const Tensor y = table.lookup(kIds);
            backward(sum(mul(y, y)));
            adam.step();
        }
        for (int64_t id : {4, 1, 3, 5})
            CHECK(same_bits(row_of(table.weight, id), row_of(before, id)));
        for (int64_t id : {0, 2, 6})
            CHECK(!same_bits(row_of(table.weight, id), row_of(before, id)));
    }
}

TEST_CASE("fault: an id that occurs 200,000 times keeps the digits of its gradient") {
    const std::vector<int> ids(200000, 1);
    for (const bool sparse : {true, false}) {
        Tensor E = zeros({3, 2}).set_requires_grad();
        backward(mean(embedding(E, ids, {.sparse = sparse})));  // each adds 1 / 400,000
        CHECK(double(E.grad().at({1, 0})) == relative(0.5, 1e-6));
        CHECK(E.grad().at({0, 0}) == 0);
    }
}

}  // namespace slim
