// Embedding against PyTorch, its options, and LoRA and DoRA around it.
#include "nn/embedding.h"

#include "optim/adam.h"
#include "optim/sgd.h"
#include "tests/nn/adapters.h"

namespace slim {

using Ids = std::vector<int>;

static const Ids kIds{4, 0, 6, 4, 2, 4};  // of 7: 4 three times; 1, 3 and 5 never

// Sums of ids that repeat are rounded in another order than PyTorch's.
static void check_same(const Tensor& got, const Tensor& want) {
    check_close(got, want, kDouble ? 1e-13 : 2e-6, kDouble ? 1e-14 : 1e-6);
}

static Tensor row_of(const Tensor& table, int64_t id) {
    const int64_t dim = table.size(1);
    const real* row = table.data() + id * dim;
    return tensor({row, row + dim});
}

static bool is_zero(const Tensor& x) { return same_bits(x, zeros(x.shape())); }

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
            CHECK((E.row_grad() != nullptr) == sparse);
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
    CHECK(square / (499 * 40) == doctest::Approx(1).epsilon(5 * std::sqrt(2.0 / 20000)));
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

// ---- adapters -----------------------------------------------------------------------------------

static std::shared_ptr<Embedding> frozen_table(Rng& rng, EmbeddingOptions options = {},
                                               Shape shape = {7, 5}) {
    return std::make_shared<Embedding>(random_tensor(shape, rng, false), options);
}

// Gives A, B and m values that training could have left there: padding's row of A stays zero.
template <class Layer>
static void train_embedding_by_chance(Layer& layer, Rng& rng) {
    copy_values(random_tensor(layer.lora.A.shape(), rng, false), layer.lora.A);
    const int padding = layer.embedding->options.padding_idx;
    const int64_t rank = layer.lora.A.size(1);
    if (padding >= 0) std::fill_n(layer.lora.A.mutable_data() + padding * rank, rank, real(0));
    train_by_chance(layer, rng);
}

// The rows of a table, without an Embedding's options: what a lookup gives if it is that table.
static Tensor rows_of(const Tensor& table, const Ids& ids) {
    return embedding(table.detach(), ids);
}

// E + s A B, and scaled by m over the norms of the columns, in double and one number at a time.
static Tensor by_definition(const LoRAEmbeddingLayer& lora, const Tensor& E, const Tensor& m = {}) {
    const int64_t rows = E.size(0), dim = E.size(1), rank = lora.A.size(1);
    Tensor result(E.shape());
    for (int64_t j = 0; j < dim; j++) {
        std::vector<double> column;
        double square = 0;
        for (int64_t t = 0; t < rows; t++) {
            double v = E.at({t, j});
            for (int64_t k = 0; k < rank; k++)
                v += lora.scaling() * double(lora.A.at({t, k})) * double(lora.B.at({k, j}));
            column.push_back(v);
            square += v * v;
        }
        for (int64_t t = 0; t < rows; t++) {
            const double c = m.defined() ? double(m.at({j})) / std::sqrt(square) : 1;
            result.mutable_data()[t * dim + j] = real(c * column[size_t(t)]);
        }
    }
    return result;
}

template <class Layer>
static void check_fresh() {
    for (const double p : {0.0, 0.5})
        for (const NormGradient gradient : kNormGradients) {
            Rng rng(6);
            auto table = frozen_table(rng, {.padding_idx = 2}, {131, 17});
            const Tensor base = table->lookup(kIds);
            Layer layer(table, {.rank = 3, .alpha = 5, .dropout = p, .norm_gradient = gradient},
                        rng);
            CHECK(is_zero(layer.lora.A));
            CHECK(layer.lora.A.shape() == Shape{131, 3});
            CHECK(layer.lora.B.shape() == Shape{3, 17});
            CHECK(same_bits(layer.lookup(kIds), base));
            layer.eval();
            CHECK(same_bits(layer.lookup(kIds), base));
            NoGrad no_grad;
            CHECK(same_bits(layer.lookup(kIds), base));
            CHECK(same_bits(layer.lookup(kIds), base));  // from the cache
            CHECK(layer.lookup({}).shape() == Shape{0, 17});
        }
}

TEST_CASE("Embedding adapters: a fresh one leaves every row as it was, to the bit") {
    check_fresh<EmbeddingWithLoRA>();
    check_fresh<EmbeddingWithDoRA>();
}

TEST_CASE("Embedding adapters: B is drawn from N(0, 1); what is printed, saved and trained") {
    Rng rng(7);
    auto table = frozen_table(rng, {}, {3, 1000});
    EmbeddingWithDoRA layer(table, {.rank = 5, .alpha = 6, .dropout = 0.25}, rng);
    double square = 0;
    for (real v : layer.lora.B.to_vector()) square += double(v) * double(v);
    CHECK(square / 5000 == doctest::Approx(1).epsilon(5 * std::sqrt(2.0 / 5000)));

    const StateDict state = layer.state_dict();
    CHECK(state.size() == 4);
    for (const char* name : {"embedding.weight", "lora.A", "lora.B", "m"})
        CHECK(state.count(name) == 1);
    const std::string text = to_string(layer);
    for (const char* part : {"EmbeddingWithDoRA(magnitude per dimension, norm gradient exact",
                             "(embedding): Embedding(3, 1000)", "(lora): LoRAEmbeddingLayer(",
                             "rank=5", "alpha=6", "scaling=1.2", "dropout=0.25"})
        CHECK(text.find(part) != std::string::npos);
    CHECK(to_string(*std::make_unique<EmbeddingWithLoRA>(table, AdapterOptions{}, rng))
              .starts_with("EmbeddingWithLoRA("));
    CHECK(layer.rngs().size() == 1);
    for (const char* name : {"lora.A", "lora.B", "m"}) CHECK(state.at(name).requires_grad());

    // PEFT's names; its files hold A as [rank, num_embeddings] and B as [dim, rank].
    const std::vector<AdapterTensor> tensors = layer.adapter_tensors();
    REQUIRE(tensors.size() == 3);
    CHECK(tensors[0].peft_name == "lora_embedding_A");
    CHECK((tensors[0].tensor == &layer.lora.A && tensors[0].transposed));
    CHECK(tensors[1].peft_name == "lora_embedding_B");
    CHECK((tensors[1].tensor == &layer.lora.B && tensors[1].transposed));
    CHECK(tensors[2].peft_name == "lora_magnitude_vector");
    CHECK((tensors[2].tensor == &layer.m && !tensors[2].transposed));
    CHECK(layer.is_dora());
    CHECK(layer.base() == table);
    CHECK_ERROR(EmbeddingWithLoRA(table, {.rank = 0}, rng), "rank 0");
    CHECK_ERROR(layer.lookup(Ids{0, 3}), "embedding", "id 3", "position 1", "between 0 and 2");
    CHECK_ERROR(layer(ones({1, 2})), "EmbeddingWithDoRA", "forward");
}

TEST_CASE("EmbeddingWithLoRA: E + s A B, and its gradients, dense and sparse") {
    Rng rng(8);
    for (bool sparse : {false, true}) {
        EmbeddingWithLoRA layer(frozen_table(rng, {.sparse = sparse}), {.rank = 3, .alpha = 5},
                                rng);
        train_embedding_by_chance(layer, rng);
        const Tensor V = by_definition(layer.lora, layer.embedding->weight);
        check_matches(layer.lookup(kIds), rows_of(V, kIds));
        check_matches(layer.merged_weight(layer.embedding->weight), V);
        layer.embedding->weight.set_requires_grad();
        check_op([&](const std::vector<Tensor>&) { return layer.lookup(kIds); },
                 {layer.embedding->weight, layer.lora.A, layer.lora.B});
        layer.embedding->weight.set_requires_grad(false);
        backward(sum(layer.lookup(kIds)));
        CHECK((layer.lora.A.row_grad() != nullptr) == sparse);
        CHECK(!layer.embedding->weight.has_grad());
        if (sparse) CHECK(layer.lora.A.row_grad()->rows == std::vector<int64_t>{0, 2, 4, 6});
    }
}

TEST_CASE("EmbeddingWithLoRA: scale_grad_by_freq divides A's gradient as it does the table's") {
    Rng rng(9);
    auto table = frozen_table(rng);
    EmbeddingWithLoRA plain(table, {.rank = 3, .alpha = 5}, rng);
    train_embedding_by_chance(plain, rng);
    auto same_table =
        std::make_shared<Embedding>(table->weight, EmbeddingOptions{.scale_grad_by_freq = true});
    EmbeddingWithLoRA by_freq(same_table, {.rank = 3, .alpha = 5}, rng);
    by_freq.load_state_dict(plain.state_dict());
    const Tensor dy = random_tensor({6, 5}, rng, false);
    backward(plain.lookup(kIds), dy);
    backward(by_freq.lookup(kIds), dy);
    check_matches(row_of(by_freq.lora.A.grad(), 4), scale(row_of(plain.lora.A.grad(), 4), 1 / 3.0));
    check_matches(row_of(by_freq.lora.A.grad(), 6), row_of(plain.lora.A.grad(), 6));
    CHECK(same_bits(by_freq.lora.B.grad(), plain.lora.B.grad()));
}

template <class Layer>
static void check_training(NormGradient gradient, bool sparse, bool unseen_stay_zero) {
    INFO("norm gradient " << gradient_name(gradient) << (sparse ? ", sparse" : ""));
    Rng rng(10);
    auto table = frozen_table(rng, {.padding_idx = 2, .sparse = sparse});
    Layer layer(table, {.rank = 3, .alpha = 5, .norm_gradient = gradient}, rng);
    const Tensor E = clone(table->weight), target = random_tensor({6, 5}, rng, false);
    AdamW adam(layer.parameters(), {.lr = 0.05, .weight_decay = 0.1});
    double first = 0, last = 0;
    for (int step = 0; step < 100; step++) {
        adam.zero_grad();
        const Tensor loss = mse_loss(layer.lookup(kIds), target);
        backward(loss);
        adam.step();
        last = loss.item();
        if (step == 0) first = last;
    }
    CHECK(last < 0.5 * first);
    CHECK(same_bits(table->weight, E));
    CHECK(same_bits(row_of(layer.lookup(kIds), 4), row_of(E, 2)));  // kIds[4] is padding
    CHECK(is_zero(row_of(layer.lora.A, 2)));
    for (int64_t seen : {0, 4, 6}) CHECK(!is_zero(row_of(layer.lora.A, seen)));
    for (int64_t unseen : {1, 3, 5})
        CHECK(is_zero(row_of(layer.lora.A, unseen)) == unseen_stay_zero);

    const auto merged = std::dynamic_pointer_cast<Embedding>(layer.merged());
    REQUIRE(merged);
    CHECK(same_bits(row_of(merged->weight, 2), row_of(E, 2)));
    check_matches(merged->lookup(kIds), layer.lookup(kIds));
    CHECK(same_bits(table->weight, E));
    CHECK(merged->options.padding_idx == 2);
    CHECK(!merged->weight.requires_grad());
}

TEST_CASE("Embedding adapters: trained, padding keeps its bits and unseen rows of A stay zero") {
    for (bool sparse : {false, true}) {
        check_training<EmbeddingWithLoRA>(NormGradient::kExact, sparse, true);
        check_training<EmbeddingWithDoRA>(NormGradient::kDetached, sparse, true);
        check_training<EmbeddingWithDoRA>(NormGradient::kExact, sparse, false);
    }
}

TEST_CASE("Embedding adapters: dropout zeroes numbers of the rows of A, in training only") {
    Rng rng(11);
    auto table = frozen_table(rng);
    const AdapterOptions options{.rank = 3, .alpha = 5, .dropout = 0.5};
    EmbeddingWithLoRA lora(table, options, rng);
    EmbeddingWithDoRA dora(table, options, rng);
    train_embedding_by_chance(lora, rng);
    train_embedding_by_chance(dora, rng);
    const auto dropped_change = [](const LoRAEmbeddingLayer& layer, Rng rng) {
        return layer.scaling() *
               matmul(dropout(rows_of(layer.A, kIds), 0.5, rng), layer.B.detach());
    };
    const Rng before = lora.lora.rng, dora_before = dora.lora.rng;
    const Tensor rows = rows_of(table->weight, kIds);
    check_matches(lora.lookup(kIds), rows + dropped_change(lora.lora, before));
    CHECK(lora.lora.rng.state != before.state);
    // The norm is that of the whole change: only the rows that are scaled by it are thinned out.
    const Tensor V = dora.merged_weight(table->weight).detach();
    const Tensor unscaled = by_definition(dora.lora, table->weight);
    const Tensor c = div(row_of(V, 0), row_of(unscaled, 0));
    check_matches(dora.lookup(kIds), mul_row(rows + dropped_change(dora.lora, dora_before), c),
                  kDouble ? 1e-12 : 1e-4);
    check_op(
        [&](const std::vector<Tensor>&) {
            dora.lora.rng = dora_before;
            return dora.lookup(kIds);
        },
        {dora.lora.A, dora.lora.B, dora.m});

    lora.eval();
    dora.eval();
    const uint64_t state = lora.lora.rng.state, dora_state = dora.lora.rng.state;
    check_matches(lora.lookup(kIds), rows_of(by_definition(lora.lora, table->weight), kIds));
    check_matches(dora.lookup(kIds),
                  rows_of(by_definition(dora.lora, table->weight, dora.m), kIds));
    CHECK(lora.lora.rng.state == state);
    CHECK(dora.lora.rng.state == dora_state);
}

TEST_CASE("Embedding adapters: one token, one dimension, a rank above both, an empty batch") {
    Rng rng(12);
    const std::pair<Shape, Ids> cases[] = {
        {{1, 5, 3}, {0, 0}}, {{5, 1, 2}, {3, 1}}, {{2, 3, 7}, {1}}, {{3, 2, 2}, {}}};
    for (const auto& one : cases) {
        const Shape& s = one.first;
        const Ids& ids = one.second;
        INFO("num, dim, rank: " << to_text(s));
        const AdapterOptions options{.rank = s[2], .alpha = 5};
        EmbeddingWithLoRA lora(frozen_table(rng, {}, {s[0], s[1]}), options, rng);
        EmbeddingWithDoRA dora(frozen_table(rng, {}, {s[0], s[1]}), options, rng);
        train_embedding_by_chance(lora, rng);
        train_embedding_by_chance(dora, rng);
        check_gradients([&](const std::vector<Tensor>&) { return lora.lookup(ids); },
                        {lora.lora.A, lora.lora.B});
        check_gradients([&](const std::vector<Tensor>&) { return dora.lookup(ids); },
                        {dora.lora.A, dora.lora.B, dora.m});
    }
}

TEST_CASE("Embedding adapters: NaN and infinity are not merged, and the table stays") {
    Rng rng(13);
    for (const real bad : {real(NAN), real(INFINITY)}) {
        auto table = frozen_table(rng);
        EmbeddingWithLoRA lora(table, {.rank = 3, .alpha = 5}, rng);
        EmbeddingWithDoRA dora(table, {.rank = 3, .alpha = 5}, rng);
        const Tensor E = clone(table->weight);
        lora.lora.A.mutable_data()[4] = bad;
        dora.m.mutable_data()[1] = bad;
        CHECK_ERROR(lora.merged(), "merge", "not finite");
        CHECK_ERROR(dora.merged(), "merge", "not finite");
        CHECK(same_bits(table->weight, E));
    }
}

TEST_CASE("EmbeddingWithLoRA: max_norm shortens the table's rows and not A, merged or not") {
    Rng rng(14);
    auto table = frozen_table(rng, {.max_norm = 0.5});
    EmbeddingWithLoRA layer(table, {.rank = 3, .alpha = 5}, rng);
    train_embedding_by_chance(layer, rng);
    const Tensor E = clone(table->weight), A = clone(layer.lora.A);
    const auto merged = std::dynamic_pointer_cast<Embedding>(layer.merged());
    CHECK(same_bits(table->weight, E));
    const Ids all{0, 1, 2, 3, 4, 5, 6};
    const Tensor y = layer.lookup(all);
    CHECK(!same_bits(table->weight, E));
    CHECK(same_bits(layer.lora.A, A));
    check_matches(y, by_definition(layer.lora, table->weight));
    check_matches(merged->lookup(all), y);
    check_matches(merged->lookup(all), y);  // longer than max_norm, and not shortened again
}

// ---- EmbeddingWithDoRA --------------------------------------------------------------------------

TEST_CASE("EmbeddingWithDoRA: m over the norms of the columns, looked up and merged") {
    Rng rng(15);
    for (const NormGradient gradient : kNormGradients)
        for (bool trained_table : {false, true}) {
            EmbeddingWithDoRA layer(frozen_table(rng),
                                    {.rank = 3, .alpha = 5, .norm_gradient = gradient}, rng);
            train_embedding_by_chance(layer, rng);
            const Tensor table = layer.embedding->weight;
            layer.embedding->weight.set_requires_grad(trained_table);
            const Tensor want = by_definition(layer.lora, table, layer.m);
            check_matches(layer.lookup(kIds), rows_of(want, kIds));
            check_matches(layer.merged_weight(table), want);
            check_matches(std::dynamic_pointer_cast<Embedding>(layer.merged())->weight, want);
            layer.eval();
            NoGrad no_grad;
            check_matches(layer.lookup(kIds), rows_of(want, kIds));
        }
}

TEST_CASE("EmbeddingWithDoRA: exact gradients of A, B and m, and of a table that is trained too") {
    Rng rng(16);
    for (bool sparse : {false, true}) {
        EmbeddingWithDoRA layer(frozen_table(rng, {.sparse = sparse}), {.rank = 3, .alpha = 5},
                                rng);
        train_embedding_by_chance(layer, rng);
        const TensorFunction f = [&](const std::vector<Tensor>&) { return layer.lookup(kIds); };
        check_op(f, {layer.lora.A, layer.lora.B, layer.m});
        layer.embedding->weight.set_requires_grad();
        check_op(f, {layer.embedding->weight, layer.lora.A, layer.lora.B, layer.m});
        check_op([&](const std::vector<Tensor>& in) { return layer.merged_weight(in[0]); },
                 {layer.embedding->weight, layer.lora.A, layer.lora.B, layer.m});
    }
}

TEST_CASE("EmbeddingWithDoRA: the detached gradient is that of a constant norm, and of rows only") {
    Rng rng(17);
    EmbeddingWithDoRA layer(frozen_table(rng, {.sparse = true}),
                            {.rank = 3, .alpha = 5, .norm_gradient = NormGradient::kDetached}, rng);
    train_embedding_by_chance(layer, rng);
    LoRAEmbeddingLayer& lora = layer.lora;
    const Tensor n = norm(layer.embedding->weight + lora.delta_weight(), 0).detach();
    const Tensor dy = random_tensor({6, 5}, rng, false);
    const auto gradients = [&](const Tensor& y) {
        backward(y, dy);
        std::vector<Tensor> grads{lora.A.grad(), lora.B.grad(), layer.m.grad()};
        layer.zero_grad();
        return grads;
    };
    const std::vector<Tensor> want = gradients(
        mul_row(rows_of(layer.embedding->weight, kIds) + lora.lookup(kIds), div(layer.m, n)));
    for (bool trained_table : {false, true}) {
        layer.embedding->weight.set_requires_grad(trained_table);
        const Tensor y = layer.lookup(kIds);
        backward(y, dy);
        CHECK(lora.A.row_grad() != nullptr);
        CHECK((layer.embedding->weight.row_grad() != nullptr) == trained_table);
        layer.zero_grad();
        const std::vector<Tensor> got = gradients(layer.lookup(kIds));
        for (size_t i = 0; i < 3; i++) check_matches(got[i], want[i]);
    }
}

TEST_CASE(
    "EmbeddingWithDoRA: padding is neither scaled nor given a gradient, not even by the norm") {
    Rng rng(18);
    for (bool trained_table : {false, true}) {
        const Tensor E = random_tensor({7, 5}, rng, trained_table);
        const auto with_padding =
            std::make_shared<Embedding>(E, EmbeddingOptions{.padding_idx = 2});
        const auto without =
            std::make_shared<Embedding>(clone(E.detach()).set_requires_grad(trained_table));
        EmbeddingWithDoRA layer(with_padding, {.rank = 3, .alpha = 5}, rng);
        EmbeddingWithDoRA other(without, {.rank = 3, .alpha = 5}, rng);
        train_embedding_by_chance(layer, rng);
        other.load_state_dict(layer.state_dict());

        Tensor dy = random_tensor({6, 5}, rng, false);  // kIds[4] is padding
        const Tensor y = layer.lookup(kIds), of_other = other.lookup(kIds);
        CHECK(same_bits(row_of(y, 4), row_of(E, 2)));
        CHECK(!same_bits(row_of(of_other, 4), row_of(E, 2)));
        for (int64_t t : {0, 1, 2, 3, 5}) check_matches(row_of(y, t), row_of(of_other, t));
        backward(y, dy);
        // Without padding the same gradients, if padding's token has none to hand on.
        std::fill_n(dy.mutable_data() + 4 * 5, 5, real(0));
        backward(of_other, dy);
        check_matches(layer.lora.B.grad(), other.lora.B.grad());
        check_matches(layer.m.grad(), other.m.grad());
        const auto same_but_for_padding = [](const Tensor& got, const Tensor& want) {
            CHECK(is_zero(row_of(got, 2)));
            CHECK(!is_zero(row_of(want, 2)));  // which is what the norm would give
            for (int64_t id : {0, 1, 3, 4, 5, 6}) check_matches(row_of(got, id), row_of(want, id));
        };
        same_but_for_padding(layer.lora.A.grad(), other.lora.A.grad());
        if (trained_table)
            same_but_for_padding(with_padding->weight.grad(), without->weight.grad());
        CHECK(same_bits(row_of(layer.merged_weight(E), 2), row_of(E, 2)));
    }
}

TEST_CASE("EmbeddingWithDoRA: a column of zeros stays finite, looked up, trained and merged") {
    Rng rng(19);
    for (const NormGradient gradient : kNormGradients) {
        Tensor E = random_tensor({7, 5}, rng, false);
        EmbeddingWithDoRA layer(std::make_shared<Embedding>(E),
                                {.rank = 3, .alpha = 5, .norm_gradient = gradient}, rng);
        for (int64_t t = 0; t < 7; t++) E.mutable_data()[t * 5 + 3] = 0;  // after the warning
        layer.m.mutable_data()[3] = 0;
        const Tensor base = rows_of(E, kIds);
        CHECK(same_bits(layer.lookup(kIds), base));
        CHECK(same_bits(std::dynamic_pointer_cast<Embedding>(layer.merged())->weight, E));
        backward(sum(layer.lookup(kIds)));
        for (const Tensor& x : {layer.lora.A, layer.lora.B, layer.m}) CHECK(all_finite(x.grad()));
        CHECK(layer.m.grad().at({3}) == 0);
    }
}

TEST_CASE("EmbeddingWithDoRA: the cache of evaluation cannot be stale") {
    Rng rng(20);
    auto table = frozen_table(rng, {.max_norm = 1.5});
    EmbeddingWithDoRA layer(table, {.rank = 3, .alpha = 5}, rng);
    train_embedding_by_chance(layer, rng);
    layer.eval();
    NoGrad no_grad;
    layer.lookup(Ids{4});
    const auto check_current = [&] {
        const Tensor y = layer.lookup(Ids{4, 0});  // which may shorten rows of the table first
        check_matches(y, rows_of(by_definition(layer.lora, table->weight, layer.m), Ids{4, 0}));
        return y;
    };
    Tensor before = check_current();  // row 0 was shortened by this one
    CHECK(same_bits(check_current(), before));
    for (Tensor x : {layer.lora.A, layer.lora.B, layer.m, table->weight}) {
        x.mutable_data()[1] += real(0.125);
        const Tensor now = check_current();
        CHECK(!same_bits(now, before));
        before = now;
    }
    layer.lora.options.alpha = 7;
    CHECK(!same_bits(check_current(), before));
    const int64_t blocks = memory_use().live_blocks;
    layer.lookup(Ids{6, 5, 3, 2, 1});  // shortens the others
    check_current();
    CHECK(memory_use().live_blocks <= blocks);
}

}  // namespace slim
