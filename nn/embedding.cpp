// Embedding. See embedding.h.
#include "nn/embedding.h"

#include <algorithm>  // copy_n, max, stable_sort
#include <cmath>      // fabs, isinf, pow
#include <numeric>    // iota
#include <set>        // each id once

#include "core/autograd.h"
#include "core/ops.h"
#include "core/row_gradient.h"

namespace slim {

// ---- embedding ----------------------------------------------------------------------------------
// y_t = E[id_t]        dE[id] = sum of dy_t over the t with id_t = id
//
// Without dE for padding, and with dE[id] divided by the number of such t for scale_grad_by_freq.

struct EmbeddingNode : Node {
    std::vector<int> ids;
    EmbeddingOptions options;

    EmbeddingNode(const Tensor& weight, std::span<const int> ids, const EmbeddingOptions& options)
        : Node("embedding", {weight}), ids(ids.begin(), ids.end()), options(options) {}

    void backward(const Tensor& y) override {
        const size_t dim = size_t(y.size(1));
        const real* dy = y.grad_data();
        std::vector<size_t> order(ids.size());  // positions, those of one id side by side
        std::iota(order.begin(), order.end(), size_t(0));
        std::stable_sort(order.begin(), order.end(),
                         [&](size_t a, size_t b) { return ids[a] < ids[b]; });
        std::vector<int64_t> rows;
        std::vector<real> values;  // [rows.size(), dim]
        for (size_t first = 0, last; first < order.size(); first = last) {
            const int id = ids[order[first]];
            std::vector<double> total(dim, 0);  // in double: an id may occur 100,000 times
            for (last = first; last < order.size() && ids[order[last]] == id; last++)
                for (size_t j = 0; j < dim; j++) total[j] += dy[order[last] * dim + j];
            if (id == options.padding_idx) continue;
            const double share = options.scale_grad_by_freq ? 1 / double(last - first) : 1;
            rows.push_back(id);
            for (const double g : total) values.push_back(real(g * share));
        }
        if (!options.sparse) inputs[0].mutable_grad();  // dense: the rows are then added to it
        add_grad_rows(inputs[0], rows, values.data());
    }
};

static double p_norm(const real* x, int64_t n, double p) {
    double largest = 0, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        const double size = std::fabs(double(x[j]));
        largest = std::max(largest, size);
        sum += p == 2 ? size * size : std::pow(size, p);
    }
    return std::isinf(p) ? largest : std::pow(sum, 1 / p);
}

// Scales the rows whose norm is above max_norm down to it, each once.
static void limit_norms(Tensor& weight, std::span<const int> ids,
                         const EmbeddingOptions& options) {
    const int64_t dim = weight.size(1);
    for (int id : std::set<int>(ids.begin(), ids.end())) {
        const double norm = p_norm(weight.data() + id * dim, dim, options.norm_type);
        if (!(norm > options.max_norm)) continue;  // nothing written: the version stays
        const double factor = options.max_norm / (norm + 1e-7);
        real* row = weight.mutable_data() + id * dim;
        for (int64_t j = 0; j < dim; j++) row[j] = real(row[j] * factor);
    }
}

Tensor embedding(Tensor weight, std::span<const int> ids, const EmbeddingOptions& options) {
    check(weight.dim() == 2, "embedding: a weight of shape ", weight.shape(),
          "; it must be (num_embeddings, dim)");
    const int64_t count = int64_t(ids.size()), rows = weight.size(0), dim = weight.size(1);
    for (int64_t t = 0; t < count; t++)
        check(ids[size_t(t)] >= 0 && ids[size_t(t)] < rows, "embedding: id ", ids[size_t(t)],
              " at position ", t, " for a weight of shape ", weight.shape(),
              "; ids must be between 0 and ", rows - 1);
    check(options.padding_idx >= -1 && options.padding_idx < rows, "embedding: padding_idx ",
          options.padding_idx, " for a weight of shape ", weight.shape(),
          "; it must be between 0 and ", rows - 1, ", or -1 for none");
    check(options.max_norm >= 0 && options.norm_type > 0, "embedding: max_norm ", options.max_norm,
          " and norm_type ", options.norm_type,
          "; max_norm must be 0 (off) or more, norm_type more than 0");
    if (options.max_norm > 0) limit_norms(weight, ids, options);

    Tensor y({count, dim});
    real* row = y.mutable_data();
    for (int id : ids) row = std::copy_n(weight.data() + id * dim, dim, row);
    return record(y, std::make_shared<EmbeddingNode>(weight, ids, options));
}

// ---- Embedding ----------------------------------------------------------------------------------

Embedding::Embedding(int64_t num_embeddings, int64_t dim, Rng& rng, EmbeddingOptions options)
    : options(options) {
    check(num_embeddings > 0 && dim > 0, "Embedding: ", num_embeddings, " embeddings of dimension ",
          dim, "; both must be positive");
    weight = normal({num_embeddings, dim}, 0, 1, rng);
    embedding(weight, {}, options);  // checks the options
    if (options.padding_idx >= 0)
        std::fill_n(weight.mutable_data() + options.padding_idx * dim, dim, real(0));
    weight.set_requires_grad();
}

Embedding::Embedding(Tensor weight, EmbeddingOptions options) : weight(weight), options(options) {
    embedding(weight, {}, options);
}

std::string Embedding::extra() const {
    std::string text = to_text(weight.size(0)) + ", " + to_text(weight.size(1));
    if (options.padding_idx >= 0) text += ", padding_idx=" + to_text(options.padding_idx);
    if (options.max_norm > 0)
        text +=
            ", max_norm=" + to_text(options.max_norm) + ", norm_type=" + to_text(options.norm_type);
    if (options.scale_grad_by_freq) text += ", scale_grad_by_freq=True";
    if (options.sparse) text += ", sparse=True";
    return text;
}

}  // namespace slim
