// Tensor's handle, gradients and factories. See tensor.h; printing is in print.cpp.
#include "core/tensor.h"

#include <algorithm>  // copy, fill
#include <cmath>      // fma

#include "core/autograd.h"
#include "core/random.h"
#include "core/row_gradient.h"

namespace slim {

int64_t checked_size(const Shape& shape) {
    // The limit counts the bytes of the wider build, so that both builds refuse the same shapes.
    const int64_t limit = INT64_MAX / int64_t(sizeof(double));
    int64_t size = 1;
    for (int64_t n : shape)
        check(n >= 0, "tensor: the shape ", shape,
              " has a negative dimension; sizes are 0 or more");
    for (int64_t n : shape) {
        check(n == 0 || size <= limit / n, "tensor: the shape ", shape,
              " has more elements than memory can address");
        size *= n;
    }
    return size;
}

int64_t checked_axis(const char* op, const Tensor& x, int64_t axis) {
    check(x.dim() > 0, op, ": axis ", axis, " of a tensor of shape (); a scalar has no axes");
    check(axis >= -x.dim() && axis < x.dim(), op, ": axis ", axis, " of a tensor of shape ",
          x.shape(), "; an axis is between ", -x.dim(), " and ", x.dim() - 1);
    return axis < 0 ? axis + x.dim() : axis;
}

// ---- the handle ---------------------------------------------------------------------------------

Tensor::Tensor(Shape shape) {
    int64_t size = checked_size(shape);
    impl = std::make_shared<TensorImpl>();
    impl->shape = std::move(shape);
    impl->size = size;
    impl->data = std::make_shared<Storage>(size);
}

void Tensor::fail_undefined() {
    fail("tensor: this tensor is undefined (it was default-constructed and never assigned)",
         ". hint: make one with zeros, tensor or an op");
}

int64_t Tensor::size(int64_t axis) const {
    return shape()[size_t(checked_axis("size", *this, axis))];
}

real* Tensor::mutable_data() {
    Storage& storage = *get().data;
    storage.version = next_version();
    return storage.data;
}

real Tensor::item() const {
    check(size() == 1, "item: a tensor of shape ", shape(), " has ", size(),
          " elements; item() reads tensors with exactly one. hint: use at() or mean()");
    return data()[0];
}

real Tensor::at(std::initializer_list<int64_t> index) const {
    check(int64_t(index.size()) == dim(), "at: ", index.size(), " indices for a tensor of shape ",
          shape(), "; there must be one per axis");
    int64_t offset = 0, axis = 0;
    for (int64_t i : index) {
        check(i >= 0 && i < size(axis), "at: index ", i, " on axis ", axis, " of shape ", shape(),
              "; it must be between 0 and ", size(axis) - 1);
        offset = offset * size(axis++) + i;
    }
    return data()[offset];
}

std::vector<real> Tensor::to_vector() const { return {data(), data() + size()}; }

// ---- gradients ----------------------------------------------------------------------------------

bool Tensor::is_leaf() const { return !get().node && !impl->graph_used; }

Tensor& Tensor::set_requires_grad(bool on) {
    check(is_leaf(), "set_requires_grad: this tensor of shape ", shape(), " is the result of an op",
          "; only leaves can change it. hint: use detach()");
    impl->requires_grad = on;
    if (!on) zero_grad();
    return *this;
}

Tensor Tensor::grad() const {
    make_grad_dense();
    Tensor g;
    if (!get().grad) return g;
    g.impl = std::make_shared<TensorImpl>();
    g.impl->shape = shape();
    g.impl->size = size();
    g.impl->data = impl->grad;
    return g;
}

void Tensor::zero_grad() {
    get().grad.reset();
    impl->row_grad.reset();
}

const real* Tensor::grad_data() const {
    make_grad_dense();
    return impl->grad ? impl->grad->data : nullptr;
}

// A frozen tensor never owns a gradient: an op must not compute one for it.
void Tensor::check_takes_grad() const {
    check(requires_grad(), "grad: the tensor of shape ", shape(), " does not require a gradient",
          ". hint: call set_requires_grad() on the leaf; in an op, ask requires_grad() first");
}

Tensor::GradSlot Tensor::grad_slot() {
    check_takes_grad();
    make_grad_dense();
    if (impl->grad) return {impl->grad->data, 1};
    impl->grad = std::make_shared<Storage>(size());
    return {impl->grad->data, 0};
}

real* Tensor::mutable_grad() {
    GradSlot slot = grad_slot();
    if (slot.beta == 0) std::fill(slot.data, slot.data + size(), real(0));
    return slot.data;
}

Tensor Tensor::detach() const {
    Tensor y;
    y.impl = std::make_shared<TensorImpl>();
    y.impl->shape = shape();
    y.impl->size = size();
    y.impl->data = impl->data;
    return y;
}

// Dropping the last tensor of a long chain would destroy its node, hence the node's input, hence
// that one's node, one stack frame after another. So take the nodes over, one at a time.
TensorImpl::~TensorImpl() {
    if (!node) return;
    std::vector<std::shared_ptr<Node>> pending;
    pending.push_back(std::move(node));
    while (!pending.empty()) {
        std::shared_ptr<Node> last = std::move(pending.back());
        pending.pop_back();
        if (last.use_count() > 1) continue;  // another owner holds it, and with it the rest
        for (Tensor& slot : last->inputs) {
            // Takes each handle out before it looks at the next: in x + x both hold x, and when the
            // first has gone, the second sees that it is the last.
            Tensor input = std::move(slot);
            if (input.impl && input.impl.use_count() == 1 && input.impl->node)
                pending.push_back(std::move(input.impl->node));
        }
    }
}

// ---- factories ----------------------------------------------------------------------------------

Tensor full(const Shape& shape, double value) {
    Tensor x(shape);
    std::fill_n(x.mutable_data(), x.size(), real(value));
    return x;
}

Tensor zeros(const Shape& shape) { return full(shape, 0); }
Tensor ones(const Shape& shape) { return full(shape, 1); }
Tensor zeros_like(const Tensor& x) { return zeros(x.shape()); }
Tensor scalar(double value) { return full({}, value); }

Tensor tensor(const std::vector<real>& values, const Shape& shape) {
    check(checked_size(shape) == int64_t(values.size()), "tensor: ", values.size(),
          " values for the shape ", shape, ", which holds ", checked_size(shape));
    Tensor x(shape);
    std::copy(values.begin(), values.end(), x.mutable_data());
    return x;
}

Tensor tensor(const std::vector<real>& values) { return tensor(values, {int64_t(values.size())}); }

Tensor uniform(const Shape& shape, double low, double high, Rng& rng) {
    Tensor x(shape);
    real* values = x.mutable_data();
    for (int64_t i = 0; i < x.size(); i++) values[i] = real(rng.uniform(low, high));
    return x;
}

Tensor normal(const Shape& shape, double mean, double std_dev, Rng& rng) {
    Tensor x(shape);
    real* values = x.mutable_data();
    for (int64_t i = 0; i < x.size(); i++) values[i] = real(std::fma(std_dev, rng.normal(), mean));
    return x;
}

void copy_values(const Tensor& from, Tensor& to) {
    check(from.shape() == to.shape(), "copy_values: from shape ", from.shape(), " to shape ",
          to.shape(), "; the shapes must be equal");
    std::copy_n(from.data(), from.size(), to.mutable_data());
}

}  // namespace slim
