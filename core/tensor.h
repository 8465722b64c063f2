// The tensor: a dense, row-major array of numbers that can remember how it was computed.
//
// A Tensor is a handle: copying one copies a pointer, and both copies are the same tensor, as in
// PyTorch. What it points to is the plain struct TensorImpl below; in gdb, `print *x.impl`.
// Ops (ops.h) make new tensors from old ones. backward() (autograd.h) walks back over them.
#pragma once

#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/storage.h"

namespace slim {

struct Node;  // the op that made a tensor, see autograd.h
class Rng;

// The gradient of a matrix [.., width] that is zero in all rows but these: what the lookups of one
// step give to a large table of embeddings.
struct RowGradient {
    std::vector<int64_t> rows;  // ascending, each once
    std::vector<real> values;   // [rows.size(), width]
};

struct TensorImpl {
    Shape shape;
    int64_t size = 1;                // product of the shape
    std::shared_ptr<Storage> data;   // shared with tensors made by reshape() and detach()
    std::shared_ptr<Storage> grad;   // dL/d(this); null until backward reaches it
    std::unique_ptr<RowGradient> row_grad;  // stands in for grad while only rows were added
    bool requires_grad = false;      // does anything want a gradient to come here?
    bool graph_used = false;         // its node has run backward and is gone
    std::shared_ptr<Node> node;      // the op that made it; null for a leaf (parameter or input)

    TensorImpl() = default;
    ~TensorImpl();  // unlinks a long chain of ops without recursion
    TensorImpl(const TensorImpl&) = delete;
    TensorImpl& operator=(const TensorImpl&) = delete;
};

class Tensor {
public:
    Tensor() = default;            // undefined: holds nothing (an absent bias, say)
    explicit Tensor(Shape shape);  // uninitialised numbers; throws on a negative or huge dimension

    bool defined() const { return impl != nullptr; }
    const Shape& shape() const { return get().shape; }
    int64_t dim() const { return int64_t(shape().size()); }  // number of axes; 0 for a scalar
    int64_t size() const { return get().size; }              // number of elements
    int64_t size(int64_t axis) const;   // negative counts from the end

    // The numbers, row-major. Whoever may write asks for mutable_data(), which renews the version:
    // by it a cache sees that its input has changed, and backward() that it would go wrong.
    // Ask anew for each round of writing rather than keep the pointer.
    const real* data() const { return get().data->data; }
    real* mutable_data();
    uint64_t version() const { return get().data->version; }
    real item() const;                                  // of a tensor with one element
    real at(std::initializer_list<int64_t> index) const;  // one element; throws when out of range
    std::vector<real> to_vector() const;

    // Gradients. Only a leaf can be asked to require one; results of ops inherit it.
    bool requires_grad() const { return get().requires_grad; }
    Tensor& set_requires_grad(bool on = true);  // off also drops the gradient
    bool is_leaf() const;
    Tensor grad() const;  // shares the gradient's memory; undefined where there is none yet
    void zero_grad();     // drops the gradient, as PyTorch's zero_grad(set_to_none=True)
    bool has_grad() const { return get().grad || get().row_grad; }

    // A gradient for some rows only. It stays one until somebody asks for the dense gradient, by
    // grad(), grad_data() or mutable_grad(): from then on it is dense, for the optimiser too.
    const RowGradient* row_grad() const { return get().row_grad.get(); }  // null if there is none
    // Adds values [rows.size(), width] to these rows' gradients; a row may be named repeatedly.
    void add_grad_rows(std::span<const int64_t> rows, const real* values);
    // What is stored of the gradient, all of it or the touched rows; the rest, if any, is zero.
    std::span<real> grad_values();  // to measure and scale it

    // For the backward functions of ops.
    const real* grad_data() const;  // null where there is none yet
    real* mutable_grad();           // zeros the first time
    struct GradSlot {
        real* data;
        real beta;  // 0: the numbers are uninitialised, overwrite them; 1: add to them
    };
    GradSlot grad_slot();  // as mutable_grad(), for gemm, which spares itself the zeros

    Tensor detach() const;  // the same numbers, without history

    std::shared_ptr<TensorImpl> impl;

private:
    void check_takes_grad() const;
    void make_grad_dense() const;
    TensorImpl& get() const {
        if (!impl) fail_undefined();
        return *impl;
    }
    [[noreturn]] static void fail_undefined();
};

// ---- factories: torch.zeros and its siblings ----------------------------------------------------

Tensor zeros(const Shape& shape);
Tensor ones(const Shape& shape);
Tensor full(const Shape& shape, double value);
Tensor zeros_like(const Tensor& x);
Tensor tensor(const std::vector<real>& values);                      // shape (values.size())
Tensor tensor(const std::vector<real>& values, const Shape& shape);  // row-major
Tensor scalar(double value);                                         // shape ()
Tensor uniform(const Shape& shape, double low, double high, Rng& rng);
Tensor normal(const Shape& shape, double mean, double std_dev, Rng& rng);

// ---- helpers ------------------------------------------------------------------------------------

// The product of the dimensions; throws when one is negative or the product does not fit.
int64_t checked_size(const Shape& shape);

void copy_values(const Tensor& from, Tensor& to);  // same shapes, else throws

// As PyTorch prints: nested brackets, four digits, long axes elided with "...".
std::string to_string(const Tensor& x);
std::ostream& operator<<(std::ostream& out, const Tensor& x);

}  // namespace slim
