// Embedding: a table with one row per id.
//
//     y_t = E[id_t]        E [num_embeddings, dim]
#pragma once

#include "nn/module.h"

namespace slim {

// As torch.nn.Embedding's.
struct EmbeddingOptions {
    int padding_idx = -1;  // this row gets no gradient; -1: there is none
    double max_norm = 0;   // lookups first scale rows of a larger norm down, in place; 0: off
    double norm_type = 2;  // the p of max_norm's p-norm; may be INFINITY
    bool scale_grad_by_freq = false;  // divide a row's gradient by its id's count among the ids
    bool sparse = false;  // keep the gradient of the rows looked up alone (core/row_gradient.h)
};

// weight [num_embeddings, dim] -> [ids.size(), dim]. With max_norm, the rows of weight that are
// looked up and have a larger norm become row * max_norm / (norm + 1e-7), also if weight is frozen.
// (torch.nn.functional.embedding)
Tensor embedding(Tensor weight, std::span<const int> ids, const EmbeddingOptions& options = {});

struct Embedding : Module {
    Tensor weight;  // [num_embeddings, dim]
    EmbeddingOptions options;

    // Drawn from N(0, 1), with zeros in the row of padding_idx.
    Embedding(int64_t num_embeddings, int64_t dim, Rng& rng, EmbeddingOptions options = {});
    explicit Embedding(Tensor weight, EmbeddingOptions options = {});  // shares it

    std::string name() const override { return "Embedding"; }
    std::string extra() const override;
    std::vector<Member> members() override { return {{"weight", weight}}; }
    Tensor lookup(std::span<const int> ids) override { return embedding(weight, ids, options); }
};

}  // namespace slim
