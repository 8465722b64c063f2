// Gradients of single rows, and Tensor::make_grad_dense(). See row_gradient.h.
#include "core/row_gradient.h"

#include <algorithm>  // sort, unique, lower_bound

namespace slim {

void add_grad_rows(Tensor& x, std::span<const int64_t> rows, const real* values) {
    x.check_takes_grad();
    check(x.dim() == 2, "add_grad_rows: a tensor of shape ", x.shape(), "; it must be a matrix");
    for (int64_t row : rows)
        check(row >= 0 && row < x.size(0), "add_grad_rows: row ", row, " of a tensor of shape ",
              x.shape(), "; a row is between 0 and ", x.size(0) - 1);
    const size_t width = size_t(x.size(1));
    TensorImpl& impl = *x.impl;
    if (impl.grad) {
        for (int64_t row : rows) {
            real* sum = impl.grad->data + size_t(row) * width;
            for (size_t j = 0; j < width; j++) sum[j] += *values++;
        }
        return;
    }
    // The union of the rows that were there and of the new ones; then both are added into it.
    auto merged = std::make_unique<RowGradient>();
    const std::unique_ptr<RowGradient> old = std::move(impl.row_grad);
    merged->rows.assign(rows.begin(), rows.end());
    if (old) merged->rows.insert(merged->rows.end(), old->rows.begin(), old->rows.end());
    std::sort(merged->rows.begin(), merged->rows.end());
    merged->rows.erase(std::unique(merged->rows.begin(), merged->rows.end()), merged->rows.end());
    merged->values.assign(merged->rows.size() * width, 0);
    const auto add = [&](std::span<const int64_t> rows, const real* values) {
        for (int64_t row : rows) {
            const auto place = std::lower_bound(merged->rows.begin(), merged->rows.end(), row);
            real* sum = merged->values.data() + size_t(place - merged->rows.begin()) * width;
            for (size_t j = 0; j < width; j++) sum[j] += *values++;
        }
    };
    if (old) add(old->rows, old->values.data());
    add(rows, values);
    impl.row_grad = std::move(merged);
}

void Tensor::make_grad_dense() const {
    if (!get().row_grad) return;
    const std::unique_ptr<RowGradient> sparse = std::move(impl->row_grad);
    Tensor same = *this;
    same.mutable_grad();  // zeros, to which the rows are added
    add_grad_rows(same, sparse->rows, sparse->values.data());
}

const RowGradient* row_gradient(const Tensor& x) {
    x.size();  // throws if x is undefined
    return x.impl->row_grad.get();
}

std::span<real> grad_values(const Tensor& x) {
    if (row_gradient(x)) return x.impl->row_grad->values;
    if (x.impl->grad) return {x.impl->grad->data, size_t(x.size())};
    return {};
}

}  // namespace slim
