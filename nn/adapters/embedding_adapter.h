// LoRA and DoRA around an Embedding.
//
//     y_t = E[id_t] + s A[id_t] B            LoRA: A [num_embeddings, rank], B [rank, dim]
//     y_t = c . (E[id_t] + s A[id_t] B)      DoRA: c = m / norm of the columns of E + s A B
//
// The LoRA paper and PEFT write the change as B A with A [rank, num_embeddings] and B [dim, rank].
// Here both are held the other way round, in the order of the table's own axes: what A knows about
// a token is then one row of it, which a lookup can copy, and the gradient can be sparse.
//
// A starts at zero and B at N(0, 1) (with InitA::kTutorial A is random and B zero), so that A B is
// zero and a fresh adapter changes nothing. There is one exception, DoRA with max_norm: a lookup
// may scale rows of the table down after m was taken from it, and then c is no longer 1.
//
// With LoRA, a row of A that is never looked up gets no gradient. (With DoRA one through the norm
// reaches it too, unless that is detached.) A's row of padding_idx gets no gradient in either:
// as long as it is zero, that id's output is the table's row (times c in DoRA), as in PEFT.
// A's gradient is made as the table's options say (sparse, scale_grad_by_freq). max_norm is the
// table's alone: A is never scaled down.
//
// Of AdapterConfig, axis is about Linear and means nothing here.
#pragma once

#include "core/random.h"
#include "nn/adapters/adapter.h"
#include "nn/embedding.h"

namespace slim {

// The adapter's own branch: ids -> s dropout(A[ids]) B. Dropout acts on the rows A[ids], because
// ids cannot be dropped.
struct LoRAEmbeddingLayer : Module {
    Tensor A, B;  // [num_embeddings, rank], [rank, dim]
    AdapterConfig config;
    EmbeddingOptions lookup_options;
    Rng rng;  // for dropout

    LoRAEmbeddingLayer(const Embedding& table, const AdapterConfig& config, Rng& rng);

    double scaling() const { return config.scaling_factor(); }
    Tensor delta_weight() const;  // s A B [num_embeddings, dim], what merging adds to the table

    std::string name() const override { return "LoRAEmbeddingLayer"; }
    std::string extra() const override;
    std::vector<Member> members() override { return {{"A", A}, {"B", B}, {"rng", rng}}; }
    Tensor lookup(std::span<const int> ids) override;
};

// The base of LoRA and DoRA around an Embedding.
struct EmbeddingAdapter : Adapter {
    std::shared_ptr<Embedding> embedding;
    LoRAEmbeddingLayer lora;

    // Around a module that must be an Embedding, or around a new one.
    EmbeddingAdapter(const ModulePtr& embedding, const AdapterConfig& config, Rng& rng);
    EmbeddingAdapter(int64_t num_embeddings, int64_t dim, const AdapterConfig& config, Rng& rng,
                     EmbeddingOptions table = {});

    // The table [num_embeddings, dim] with the adapter's change in it; differentiable.
    virtual Tensor merged_weight(const Tensor& table) const = 0;

    std::vector<Member> members() override { return {{"embedding", *embedding}, {"lora", lora}}; }
    const AdapterConfig& config() const override { return lora.config; }
    const char* magnitude_per() const override { return "dimension"; }
    ModulePtr base() const override { return embedding; }
    ModulePtr merged() const override;
    std::vector<AdapterTensor> adapter_tensors() override;
};

struct EmbeddingWithLoRA : EmbeddingAdapter {
    using EmbeddingAdapter::EmbeddingAdapter;
    std::string name() const override { return "EmbeddingWithLoRA"; }
    Tensor merged_weight(const Tensor& table) const override;  // table + s A B
    Tensor lookup(std::span<const int> ids) override;
};

// One magnitude per embedding dimension: the norms are those of the columns, over the vocabulary.
// The exact gradient of a norm reaches every row of A but that of padding_idx: it is dense, and
// changes rows that were never looked up. NormGradient::kDetached avoids both.
//
// When max_norm scales rows of the table down, the norms of the columns change, and c with them.
// merged() scales down every row of its copy that is above max_norm, looked up before or not. So it
// equals the adapter only when all those rows have been looked up.
struct EmbeddingWithDoRA : EmbeddingAdapter {
    EmbeddingWithDoRA(const ModulePtr& embedding, const AdapterConfig& config, Rng& rng);

    std::string name() const override { return "EmbeddingWithDoRA"; }
    std::vector<Member> members() override {
        return {{"embedding", *embedding}, {"lora", lora}, {"m", m}};
    }
    Tensor merged_weight(const Tensor& table) const override;
    Tensor lookup(std::span<const int> ids) override;

private:
    Tensor without_padding_gradient(const Tensor& table) const;
    Tensor scale_of(const Tensor& V) const;
    Tensor scale();

    DoraScale scale_;
};

}  // namespace slim
