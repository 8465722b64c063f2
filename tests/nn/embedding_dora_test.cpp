// DoRA around an Embedding.
#include "tests/nn/embeddings.h"

#include "core/row_gradient.h"

namespace slim {

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
        EmbeddingWithDoRA layer(frozen_table(rng, {.sparse = sparse}),
                                {.rank = 3, .alpha = 5, .norm_gradient = NormGradient::kExact},
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
        CHECK(row_gradient(lora.A) != nullptr);
        CHECK((row_gradient(layer.embedding->weight) != nullptr) == trained_table);
        layer.zero_grad();
        const std::vector<Tensor> got = gradients(layer.lookup(kIds));
        for (size_t i = 0; i < 3; i++) check_matches(got[i], want[i]);
    }
}

TEST_CASE(
    "fault: EmbeddingWithDoRA: padding is scaled as in PEFT, and its row of A gets no gradient") {
    Rng rng(18);
    for (bool trained_table : {false, true}) {
        const Tensor E = random_tensor({7, 5}, rng, trained_table);
        const auto with_padding =
            std::make_shared<Embedding>(E, EmbeddingOptions{.padding_idx = 2});
        const auto without =
            std::make_shared<Embedding>(clone(E.detach()).set_requires_grad(trained_table));
        const AdapterConfig options{
            .rank = 3, .alpha = 5, .norm_gradient = NormGradient::kExact};
        EmbeddingWithDoRA layer(with_padding, options, rng);
        EmbeddingWithDoRA other(without, options, rng);
        train_embedding_by_chance(layer, rng);
        other.load_state_dict(layer.state_dict());

        Tensor dy = random_tensor({6, 5}, rng, false);  // kIds[4] is padding
        const Tensor y = layer.lookup(kIds), of_other = other.lookup(kIds);
        CHECK(!same_bits(row_of(y, 4), row_of(E, 2)));
        for (int64_t t = 0; t < 6; t++) check_matches(row_of(y, t), row_of(of_other, t));
        backward(y, dy);
        backward(of_other, dy);
        check_matches(layer.lora.B.grad(), other.lora.B.grad());
        check_matches(layer.m.grad(), other.m.grad());
        const auto same_but_for_padding = [](const Tensor& got, const Tensor& want) {
            CHECK(is_zero(row_of(got, 2)));
            CHECK(!is_zero(row_of(want, 2)));  // without padding_idx it comes through the norm
            for (int64_t id : {0, 1, 3, 4, 5, 6}) check_matches(row_of(got, id), row_of(want, id));
        };
        same_but_for_padding(layer.lora.A.grad(), other.lora.A.grad());
        if (trained_table)
            same_but_for_padding(with_padding->weight.grad(), without->weight.grad());
        check_matches(row_of(layer.merged_weight(E), 2), row_of(y, 4));
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
    layer.lora.config.alpha = 7;
    CHECK(!same_bits(check_current(), before));
    const int64_t blocks = memory_use().live_blocks;
    layer.lookup(Ids{6, 5, 3, 2, 1});  // shortens the others
    check_current();
    CHECK(memory_use().live_blocks <= blocks);
}

}  // namespace slim
