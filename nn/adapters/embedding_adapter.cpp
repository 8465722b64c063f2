// LoRA and DoRA around an Embedding. See embedding_adapter.h.
#include "nn/adapters/embedding_adapter.h"

#include <algorithm>  // fill_n
#include <numeric>    // iota

#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

// ---- the adapter's branch -----------------------------------------------------------------------

LoRAEmbeddingLayer::LoRAEmbeddingLayer(const Embedding& table, const AdapterConfig& config,
                                       Rng& rng)
    : config(config), lookup_options(table.options), rng(0) {
    config.check_valid();
    lookup_options.max_norm = 0;
    const Shape shape_A{table.weight.size(0), config.rank},
        shape_B{config.rank, table.weight.size(1)};
    if (config.init == InitA::kTutorial) {
        A = normal(shape_A, 0, 0.02, rng);
        B = zeros(shape_B);
        if (const int padding = table.options.padding_idx; padding >= 0)
            std::fill_n(A.mutable_data() + padding * config.rank, config.rank, real(0));
    } else {
        A = zeros(shape_A);
        B = normal(shape_B, 0, 1, rng);
    }
    A.set_requires_grad();
    B.set_requires_grad();
    this->rng = Rng(rng.bits());
}

Tensor LoRAEmbeddingLayer::delta_weight() const { return slim::scale(matmul(A, B), scaling()); }

std::string LoRAEmbeddingLayer::extra() const {
    return to_text(A.size(0)) + ", " + to_text(B.size(1)) + ", " + config.text();
}

Tensor LoRAEmbeddingLayer::lookup(std::span<const int> ids) {
    const Tensor rows = embedding(A, ids, lookup_options);  // [ids, rank]
    return scaling() * matmul(training ? dropout(rows, config.dropout, rng) : rows, B);
}

// ---- around an Embedding ------------------------------------------------------------------------

static std::shared_ptr<Embedding> expect_embedding(const ModulePtr& module) {
    auto embedding = std::dynamic_pointer_cast<Embedding>(module);
    check(embedding != nullptr, "adapter: expected an Embedding, got ",
          module ? module->name() : "nothing",
          ". hint: print the model to see which of its layers are Embedding");
    return embedding;
}

EmbeddingAdapter::EmbeddingAdapter(const ModulePtr& module, const AdapterConfig& config,
                                   Rng& rng)
    : embedding(expect_embedding(module)), lora(*embedding, config, rng) {}

EmbeddingAdapter::EmbeddingAdapter(int64_t num_embeddings, int64_t dim,
                                   const AdapterConfig& config, Rng& rng,
                                   EmbeddingOptions table)
    : EmbeddingAdapter(std::make_shared<Embedding>(num_embeddings, dim, rng, table), config,
                       rng) {}

std::vector<AdapterTensor> EmbeddingAdapter::adapter_tensors() {
    std::vector<AdapterTensor> list{{"lora_embedding_A", &lora.A, true},
                                    {"lora_embedding_B", &lora.B, true}};
    if (is_dora()) list.push_back({"lora_magnitude_vector", &m});
    return list;
}

static std::vector<int> all_ids(const Tensor& table) {
    std::vector<int> ids(size_t(table.size(0)));
    std::iota(ids.begin(), ids.end(), 0);
    return ids;
}

// Lookups add the adapter's change to rows that max_norm has scaled down. So the copy's rows are
// scaled down before the change is added, and the merged table has no max_norm.
ModulePtr EmbeddingAdapter::merged() const {
    NoGrad no_grad;
    EmbeddingOptions options = embedding->options;
    const Tensor table = clone(embedding->weight);
    slim::embedding(table, all_ids(table), options);
    options.max_norm = 0;
    const Tensor weight = merged_weight(table);
    check_merged(weight);
    return std::make_shared<Embedding>(weight, options);
}

Tensor EmbeddingWithLoRA::merged_weight(const Tensor& table) const {
    return table + lora.delta_weight();
}

Tensor EmbeddingWithLoRA::lookup(std::span<const int> ids) {
    if (is_merged()) return merged_form->lookup(ids);
    return embedding->lookup(ids) + lora.lookup(ids);
}

// ---- EmbeddingWithDoRA --------------------------------------------------------------------------
// The table is a weight [out, in] with out = num_embeddings and in = dim, and s A B changes it as
// s B A does a Linear's: A and B exchange their places. One magnitude per dimension is then one per
// input, and dora_scale() computes c without forming E + s A B.

EmbeddingWithDoRA::EmbeddingWithDoRA(const ModulePtr& module, const AdapterConfig& config,
                                     Rng& rng)
    : EmbeddingAdapter(module, config, rng) {
    m = initial_magnitude(embedding->weight, Axis::kIn);
}

// The same table, without a gradient for the row of padding_idx.
Tensor EmbeddingWithDoRA::without_padding_gradient(const Tensor& table) const {
    const int padding_idx = embedding->options.padding_idx;
    if (padding_idx < 0) return table;
    Tensor padding = zeros({table.size(0)});
    padding.mutable_data()[padding_idx] = 1;
    return mul_col(table, ones(padding.shape()) - padding) + mul_col(table.detach(), padding);
}

// c by the definition. The exact norm's gradient reaches every row of V but padding's.
Tensor EmbeddingWithDoRA::scale_of(const Tensor& V) const {
    const bool exact = lora.config.norm_gradient == NormGradient::kExact;
    const Tensor n = norm(exact ? without_padding_gradient(V) : V.detach(), 0);
    return magnitude_over_norm(m, n);
}

// c by the short formula, unless the table is trained too.
Tensor EmbeddingWithDoRA::scale() {
    const Tensor& table = embedding->weight;
    if (grad_enabled() && table.requires_grad()) return scale_of(table + lora.delta_weight());
    const bool through_norm = grad_enabled() && lora.config.norm_gradient == NormGradient::kExact;
    const Tensor A = through_norm ? without_padding_gradient(lora.A) : lora.A;
    return scale_(!training && !grad_enabled(), table.detach(), lora.B, A, m, lora.scaling(),
                  Axis::kIn, lora.config.norm_gradient);
}

Tensor EmbeddingWithDoRA::merged_weight(const Tensor& table) const {
    const Tensor V = table + lora.delta_weight();
    return mul_row(V, scale_of(V));
}

Tensor EmbeddingWithDoRA::lookup(std::span<const int> ids) {
    if (is_merged()) return merged_form->lookup(ids);
    const Tensor V = embedding->lookup(ids) + lora.lookup(ids);  // first: it may scale rows of E
    return mul_row(V, scale());
}

}  // namespace slim
