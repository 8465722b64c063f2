// Softmax, the losses, and argmax_rows.
#include <algorithm>  // max_element
#include <cmath>      // exp, log

#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

// The length of x's rows along its last axis, and how many rows there are.
static int64_t row_length(const char* op, const Tensor& x) {
    check(x.dim() >= 1, op, ": got a scalar; the tensor must have at least one axis");
    return x.size(-1);
}

static int64_t row_count(const Tensor& x, int64_t length) {
    return length == 0 ? 0 : x.size() / length;
}

// log(sum_j e^x_j) = largest + log_rest of one row. The largest entry is taken out first, so that
// no exponential overflows and at least one of them is 1. The two parts are not added, but
// subtracted one after the other: if largest is 1e9, a float cannot hold largest + log_rest.
struct LogSumExp {
    real largest, log_rest;
    LogSumExp(const real* x, int64_t n) : largest(*std::max_element(x, x + n)) {
        double total = 0;
        for (int64_t j = 0; j < n; j++) total += std::exp(x[j] - largest);
        log_rest = real(std::log(total));
    }
    real subtracted_from(real x) const { return (x - largest) - log_rest; }
};

// ---- softmax ------------------------------------------------------------------------------------
// y_j = e^x_j / sum_k e^x_k                     for each row
// dx_j = y_j (dy_j - sum_k dy_k y_k)

struct SoftmaxNode : Node {
    explicit SoftmaxNode(const Tensor& x) : Node("softmax", {x}) {}
    void backward(const Tensor& y_) override {
        const int64_t n = y_.size(-1);
        real* dx = inputs[0].mutable_grad();
        for (int64_t row = 0; row < row_count(y_, n); row++) {
            const real *y = saved_result(y_) + row * n, *dy = y_.grad_data() + row * n;
            double dot = 0;
            for (int64_t j = 0; j < n; j++) dot += double(dy[j]) * y[j];
            for (int64_t j = 0; j < n; j++) dx[row * n + j] += y[j] * real(dy[j] - dot);
        }
    }
};

Tensor softmax(const Tensor& x) {
    const int64_t n = row_length("softmax", x);
    Tensor y(x.shape());
    real* out = y.mutable_data();
    for (int64_t row = 0; row < row_count(x, n); row++) {
        const real* in = x.data() + row * n;
        const real largest = *std::max_element(in, in + n);
        double total = 0;
        for (int64_t j = 0; j < n; j++) total += out[row * n + j] = std::exp(in[j] - largest);
        for (int64_t j = 0; j < n; j++) out[row * n + j] /= real(total);
    }
    return record(y, std::make_shared<SoftmaxNode>(x));
}

// ---- log_softmax --------------------------------------------------------------------------------
// y_j = x_j - log sum_k e^x_k                   for each row
// dx_j = dy_j - e^y_j sum_k dy_k

struct LogSoftmaxNode : Node {
    explicit LogSoftmaxNode(const Tensor& x) : Node("log_softmax", {x}) {}
    void backward(const Tensor& y_) override {
        const int64_t n = y_.size(-1);
        real* dx = inputs[0].mutable_grad();
        for (int64_t row = 0; row < row_count(y_, n); row++) {
            const real *y = saved_result(y_) + row * n, *dy = y_.grad_data() + row * n;
            double total = 0;
            for (int64_t j = 0; j < n; j++) total += dy[j];
            for (int64_t j = 0; j < n; j++)
                dx[row * n + j] += real(dy[j] - std::exp(y[j]) * total);
        }
    }
};

Tensor log_softmax(const Tensor& x) {
    const int64_t n = row_length("log_softmax", x);
    Tensor y(x.shape());
    real* out = y.mutable_data();
    for (int64_t row = 0; row < row_count(x, n); row++) {
        const real* in = x.data() + row * n;
        const LogSumExp total(in, n);
        for (int64_t j = 0; j < n; j++) out[row * n + j] = total.subtracted_from(in[j]);
    }
    return record(y, std::make_shared<LogSoftmaxNode>(x));
}

// ---- cross_entropy ------------------------------------------------------------------------------
// loss = mean_i (log sum_j e^x_ij - x_i,label_i)
// dx_ij = dloss / batch (softmax(x)_ij - [j == label_i])
//
// Backward needs the softmax, so the forward pass saves it.

struct CrossEntropyNode : Node {
    Tensor softmax;  // [batch, classes]
    std::vector<int> labels;
    CrossEntropyNode(const Tensor& logits, const Tensor& softmax, std::span<const int> labels)
        : Node("cross_entropy", {logits}), softmax(softmax), labels(labels.begin(), labels.end()) {}
    void backward(const Tensor& loss) override {
        const int64_t batch = softmax.size(0), classes = softmax.size(1);
        const real* p = softmax.data();
        const real share = loss.grad_data()[0] / real(batch);
        const Tensor::GradSlot dx = inputs[0].grad_slot();
        for (int64_t i = 0; i < batch * classes; i++) dx.add(i, share * p[i]);
        for (int64_t i = 0; i < batch; i++) dx.data[i * classes + labels[size_t(i)]] -= share;
    }
};

Tensor cross_entropy(const Tensor& logits, std::span<const int> labels) {
    check(logits.dim() == 2 && logits.size() > 0, "cross_entropy: logits of shape ", logits.shape(),
          "; they must be (batch, classes), and not empty");
    check(logits.size(0) == int64_t(labels.size()), "cross_entropy: logits of shape ",
          logits.shape(), " and ", labels.size(), " labels; there must be one label per row");
    const int64_t batch = logits.size(0), classes = logits.size(1);
    Tensor softmax(logits.shape());
    double total = 0;
    for (int64_t i = 0; i < batch; i++) {
        const int label = labels[size_t(i)];
        check(label >= 0 && label < classes, "cross_entropy: label ", label, " in row ", i,
              " for logits of shape ", logits.shape(), "; labels are between 0 and ", classes - 1);
        const real* x = logits.data() + i * classes;
        const LogSumExp log_total(x, classes);
        real* p = softmax.mutable_data() + i * classes;
        for (int64_t j = 0; j < classes; j++) p[j] = std::exp(log_total.subtracted_from(x[j]));
        total -= log_total.subtracted_from(x[label]);
    }
    return record(scalar(total / double(batch)),
                  std::make_shared<CrossEntropyNode>(logits, softmax, labels));
}

// ---- mse_loss -----------------------------------------------------------------------------------

Tensor mse_loss(const Tensor& prediction, const Tensor& target) {
    check(prediction.shape() == target.shape() && prediction.size() > 0,
          "mse_loss: prediction of shape ", prediction.shape(), " and target of shape ",
          target.shape(), "; the shapes must be equal, and not empty");
    Tensor difference = prediction - target;
    return mean(difference * difference);
}

// ---- argmax_rows --------------------------------------------------------------------------------

std::vector<int> argmax_rows(const Tensor& x) {
    check(x.dim() == 2 && (x.size(1) > 0 || x.size(0) == 0), "argmax_rows: a tensor of shape ",
          x.shape(), "; it must be (rows, cols) with at least one column");
    std::vector<int> best;
    for (int64_t i = 0; i < x.size(0); i++) {
        const real* row = x.data() + i * x.size(1);
        best.push_back(int(std::max_element(row, row + x.size(1)) - row));
    }
    return best;
}

}  // namespace slim
