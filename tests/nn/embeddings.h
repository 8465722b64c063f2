// What the tests of Embedding and of its adapters share.
#pragma once

#include "nn/adapters/embedding_adapter.h"
#include "tests/nn/adapters.h"

namespace slim {

using Ids = std::vector<int>;

inline const Ids kIds{4, 0, 6, 4, 2, 4};  // of 7: 4 three times; 1, 3 and 5 never

// Sums of ids that repeat are rounded in another order than PyTorch's.
inline void check_same(const Tensor& got, const Tensor& want) {
    check_close(got, want, kDouble ? 1e-13 : 2e-6, kDouble ? 1e-14 : 1e-6);
}

inline Tensor row_of(const Tensor& table, int64_t id) {
    const int64_t dim = table.size(1);
    const real* row = table.data() + id * dim;
    return tensor({row, row + dim});
}

inline bool is_zero(const Tensor& x) { return same_bits(x, zeros(x.shape())); }

inline std::shared_ptr<Embedding> frozen_table(Rng& rng, EmbeddingOptions options = {},
                                               Shape shape = {7, 5}) {
    return std::make_shared<Embedding>(random_tensor(shape, rng, false), options);
}

// Gives A, B and m values that training could have left there: padding's row of A stays zero.
template <class Layer>
void train_embedding_by_chance(Layer& layer, Rng& rng) {
    copy_values(random_tensor(layer.lora.A.shape(), rng, false), layer.lora.A);
    const int padding = layer.embedding->options.padding_idx;
    const int64_t rank = layer.lora.A.size(1);
    if (padding >= 0) std::fill_n(layer.lora.A.mutable_data() + padding * rank, rank, real(0));
    train_by_chance(layer, rng);
}

// The rows of a table, without an Embedding's options: what a lookup gives if it is that table.
inline Tensor rows_of(const Tensor& table, const Ids& ids) {
    return embedding(table.detach(), ids);
}

// E + s A B, and scaled by m over the norms of the columns, in double and one number at a time.
inline Tensor by_definition(const LoRAEmbeddingLayer& lora, const Tensor& E, const Tensor& m = {}) {
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

}  // namespace slim
