// LoRA and DoRA around an Embedding: what both do, and LoRA.
#include "optim/adam.h"
#include "core/row_gradient.h"
#include "tests/nn/embeddings.h"

namespace slim {

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
    CHECK(square / 5000 == relative(1, 5 * std::sqrt(2.0 / 5000)));

    const StateDict state = layer.state_dict();
    CHECK(state.size() == 4);
    for (const std::string name : {"embedding.weight", "lora.A", "lora.B", "m"})
        CHECK(state.count(name) == 1);
    const std::string text = to_string(layer);
    for (const std::string part : {"EmbeddingWithDoRA(\n", "magnitude per dimension",
                             "norm gradient detached", "(embedding): Embedding(3, 1000)",
                             "(lora): LoRAEmbeddingLayer(",
                             "rank=5", "alpha=6", "scaling=1.2", "dropout=0.25"})
        CHECK(text.find(part) != std::string::npos);
    CHECK(to_string(*std::make_unique<EmbeddingWithLoRA>(table, AdapterConfig{}, rng))
              .starts_with("EmbeddingWithLoRA("));
    CHECK(layer.rngs().size() == 1);
    for (const std::string name : {"lora.A", "lora.B", "m"}) CHECK(state.at(name).requires_grad());

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
        CHECK((row_gradient(layer.lora.A) != nullptr) == sparse);
        CHECK(!layer.embedding->weight.has_grad());
        if (sparse) CHECK(row_gradient(layer.lora.A)->rows == std::vector<int64_t>{0, 2, 4, 6});
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
    // DoRA scales padding's row as it does the others. kIds[4] is padding.
    const Tensor c = layer.is_dora() ? div(layer.m.detach(), norm(E + layer.lora.delta_weight(), 0))
                                     : ones({5});
    check_matches(row_of(layer.lookup(kIds), 4), row_of(E, 2) * c);
    CHECK(is_zero(row_of(layer.lora.A, 2)));
    for (int64_t seen : {0, 4, 6}) CHECK(!is_zero(row_of(layer.lora.A, seen)));
    for (int64_t unseen : {1, 3, 5})
        CHECK(is_zero(row_of(layer.lora.A, unseen)) == unseen_stay_zero);

    const auto merged = std::dynamic_pointer_cast<Embedding>(layer.merged());
    REQUIRE(merged);
    check_matches(merged->lookup(kIds), layer.lookup(kIds));
    CHECK(same_bits(table->weight, E));
    CHECK(merged->options.padding_idx == 2);
    CHECK(!merged->weight.requires_grad());
}

TEST_CASE("Embedding adapters: trained, padding's and unseen rows of A stay zero") {
    for (bool sparse : {false, true}) {
        check_training<EmbeddingWithLoRA>(NormGradient::kExact, sparse, true);
        check_training<EmbeddingWithDoRA>(NormGradient::kDetached, sparse, true);
        check_training<EmbeddingWithDoRA>(NormGradient::kExact, sparse, false);
    }
}

TEST_CASE("Embedding adapters: dropout zeroes numbers of the rows of A, in training only") {
    Rng rng(11);
    auto table = frozen_table(rng);
    const AdapterConfig options{
        .rank = 3, .alpha = 5, .dropout = 0.5, .norm_gradient = NormGradient::kExact};
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
    // The norm is taken without dropout. Dropout acts on the rows that are looked up.
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
        const AdapterConfig options{
            .rank = s[2], .alpha = 5, .norm_gradient = NormGradient::kExact};
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

TEST_CASE("Embedding adapters: the tutorials start A at N(0, 0.02) and B at zero") {
    Rng rng(3);
    auto table = frozen_table(rng, {.padding_idx = 2}, {500, 6});
    EmbeddingWithLoRA layer(table, tutorial_preset(4, 8), rng);
    double square = 0;
    for (real v : layer.lora.A.to_vector()) square += double(v) * double(v);
    CHECK(std::sqrt(square / (499 * 4)) == relative(0.02, 0.08));
    for (real v : layer.lora.B.to_vector()) CHECK(v == 0);
    for (int64_t k = 0; k < 4; k++) CHECK(layer.lora.A.at({2, k}) == 0);
    const int ids[] = {0, 2, 499};
    CHECK(same_bits(layer.lookup(ids), table->lookup(ids)));
}

}  // namespace slim
