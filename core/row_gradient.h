// Sparse gradients: the lookups of one step reach a few rows of a large table of embeddings.
#pragma once

#include <span>
#include <vector>

#include "core/tensor.h"

namespace slim {

// The gradient of a matrix [.., width] that is zero in all rows but these.
struct RowGradient {
    std::vector<int64_t> rows;  // ascending, each once
    std::vector<real> values;   // [rows.size(), width]
};

// Adds values [rows.size(), width] to the gradients of these rows of x; a row may occur repeatedly.
// If x has a dense gradient, they are added to it. Else x holds a RowGradient, until a dense one is
// asked for (grad(), grad_data(), mutable_grad(), grad_slot()).
void add_grad_rows(Tensor& x, std::span<const int64_t> rows, const real* values);

const RowGradient* row_gradient(const Tensor& x);  // null if x holds none

// The stored gradient: dense, or only the touched rows (all others are zero). For measuring and
// scaling it.
std::span<real> grad_values(const Tensor& x);

}  // namespace slim
