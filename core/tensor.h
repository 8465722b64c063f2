// The tensor: a dense, row-major array of elements that can remember how it was computed.
//
// A Tensor is a handle: copying one copies a pointer, and both copies are the same tensor, as in
// PyTorch. What it points to is the plain struct TensorImpl below; in gdb, `print *x.impl`.
// Ops (ops.h) make new tensors from old ones. backward() (autograd.h) walks back over them.
#pragma once

#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/storage.h"

namespace slim {

struct Node;         // the op that made a tensor, see autograd.h
struct RowGradient;  // the gradient of single rows, see row_gradient.h
class Rng;

struct TensorImpl {
    Shape shape;
    int64_t size = 1;                // product of the shape
    std::shared_ptr<Storage> data;   // shared with tensors made by reshape() and detach()
    std::shared_ptr<Storage> grad;   // dL/d(this); null until backward reaches it
    std::unique_ptr<RowGradient> row_grad;  // instead of grad: an embedding's, if sparse
    bool requires_grad = false;      // whether backward computes a gradient for it
    bool graph_used = false;         // its node has run backward and is gone
    std::shared_ptr<Node> node;      // the op that made it; null for a leaf, and after backward

    TensorImpl() = default;
    ~TensorImpl();  // unlinks a long chain of ops without recursion
    TensorImpl(const TensorImpl&) = delete;
    TensorImpl& operator=(const TensorImpl&) = delete;
};

class Tensor {
public:
    Tensor() = default;            // undefined: holds nothing (an absent bias, say)
    explicit Tensor(Shape shape);  // uninitialised; throws on a negative or huge dimension

    bool defined() const { return impl != nullptr; }
    const Shape& shape() const { return get().shape; }
    int64_t dim() const { return int64_t(shape().size()); }  // number of axes; 0 for a scalar
    int64_t size() const { return get().size; }              // number of elements
    int64_t size(int64_t axis) const;   // negative counts from the end

    // The elements, row-major. Call mutable_data() before each round of writing: it renews the
    // version, so that caches and backward() see the change.
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

    // For the backward functions of ops.
    const real* grad_data() const;  // null where there is none yet
    real* mutable_grad();           // zeros the first time
    struct GradSlot {
        real* data;
        real beta;  // 0: the elements are uninitialised, overwrite them; 1: add to them
        void add(int64_t i, real value) const { data[i] = beta == 0 ? value : data[i] + value; }
    };
    GradSlot grad_slot();  // the faster mutable_grad(): a new gradient is not zeroed, see beta
    void check_takes_grad() const;  // throws unless this tensor requires a gradient

    Tensor detach() const;  // the same elements, without history

    std::shared_ptr<TensorImpl> impl;

private:
    void make_grad_dense() const;  // in row_gradient.cpp
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

// The axis, counted from the front. Throws, naming the op, when x has no such axis.
int64_t checked_axis(const char* op, const Tensor& x, int64_t axis);

void copy_values(const Tensor& from, Tensor& to);  // same shapes, else throws

// As PyTorch prints: nested brackets, four digits, long axes elided with "...".
std::string to_string(const Tensor& x);
std::ostream& operator<<(std::ostream& out, const Tensor& x);

}  // namespace slim
