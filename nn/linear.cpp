// Linear, and LoRA's branch beside it, as one op. See linear.h.
#include "nn/linear.h"

#include <cmath>  // sqrt

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"

namespace slim {

// ---- linear and lora_linear ---------------------------------------------------------------------
// y  = x W^T + b           [batch, in] [out, in]^T + [out] -> [batch, out]
// dx = dy W                [batch, out] [out, in] -> [batch, in]
// dW = dy^T x              [batch, out]^T [batch, in] -> [out, in]
// db = sum of dy's rows
//
// With LoRA's branch. Separate ops would write three more matrices [batch, out]: the branch's
// product, the same scaled by s, and the sum.
// Here gemm writes the branch into y, scaled by s, and then adds the base's product to it:
//
// h    = A xa^T            [rank, batch]
// y    = s h^T B^T         [batch, out], then y += x W^T + b
// dB^T = s h dy            [rank, out]
// dh   = s B^T dy^T        [rank, batch]
// dA   = dh xa             [rank, in]
// dxa  = dh^T A            [batch, in]
//
// Inside the op, matrices with a side of length rank are held as [rank, n]: few rows, each long,
// for long inner loops (core/thin.cpp). B is transposed for that.
//
// The bias is added to the finished product, while that is still in the cache. (Laying the bias
// into y first and letting gemm add to it saves nothing, and rounds otherwise than add_row would.)

struct LinearNode : Node {
    Weight W;
    real s = 0;
    Tensor h, B_t;  // A xa^T [rank, batch] and B^T; undefined without a branch

    LinearNode(const Tensor& x, const Weight& W, const Tensor& bias)
        : Node("linear", {x, W, bias}), W(W) {}
    LinearNode(const Tensor& x, const Weight& W, const Tensor& bias, const Tensor& xa,
               const Tensor& A, const Tensor& B, double s)
        : Node("lora_linear", {x, W, bias, xa, A, B}), W(W), s(real(s)) {}

    void backward(const Tensor& y) override {
        const MatrixView dy = grad_view(y);
        if (h.defined()) branch_backward(dy);
        if (needs_grad(0)) {
            saved(1);  // throws if W has changed since forward
            W.times(dy, add_to_grad(inputs[0]));
        }
        if (needs_grad(1)) gemm(dy.t(), view(saved_tensor(0)), add_to_grad(inputs[1]));
        if (needs_grad(2)) add_column_sums(dy.data, dy.rows, dy.cols, inputs[2].mutable_grad());
    }

    void branch_forward(MatrixTarget y) {
        const Tensor &xa = inputs[3], &A = inputs[4], &B = inputs[5];
        h = Tensor({A.size(0), xa.size(0)});
        B_t = transpose(B.detach());
        gemm(view(A), view(xa).t(), overwrite(h));
        gemm(view(h).t(), view(B_t), y, s);
    }

    void branch_backward(MatrixView dy) {
        const Tensor &xa = saved_tensor(3), &A = saved_tensor(4);
        saved(5);  // throws if B has changed since forward; B_t is a copy of it
        if (needs_grad(5)) {
            Tensor dB_t(B_t.shape());
            gemm(view(h), dy, overwrite(dB_t), s);
            const int64_t rank = dB_t.size(0), out = dB_t.size(1);
            const real* from = dB_t.data();
            real* dB = inputs[5].mutable_grad();
            for (int64_t j = 0; j < out; j++)
                for (int64_t k = 0; k < rank; k++) dB[j * rank + k] += from[k * out + j];
        }
        if (!needs_grad(3) && !needs_grad(4)) return;
        Tensor dh(h.shape());
        gemm(view(B_t), dy.t(), overwrite(dh), s);
        if (needs_grad(4)) gemm(view(dh), view(xa), add_to_grad(inputs[4]));
        if (needs_grad(3)) gemm(view(dh).t(), view(A), add_to_grad(inputs[3]));
    }
};

static void check_linear(const char* op, const Tensor& x, const Weight& W, const Tensor& bias) {
    check(x.dim() == 2 && W.shape().size() == 2 && x.size(1) == W.in(), op, ": input of shape ",
          x.shape(), " and weight of shape ", W.shape(),
          "; the input must be (batch, in), the weight (out, in), with the same in");
    check(!bias.defined() || bias.shape() == Shape{W.out()}, op, ": bias of shape ",
          bias.defined() ? bias.shape() : Shape{}, " for a weight of shape ", W.shape(),
          "; it must be ", Shape{W.out()});
}

static void add_bias(const Tensor& bias, MatrixTarget y) {
    if (!bias.defined()) return;
    const real* b = bias.data();
    for (int64_t i = 0; i < y.rows; i++)
        for (int64_t j = 0; j < y.cols; j++) y.data[i * y.cols + j] += b[j];
}

Tensor linear(const Tensor& x, const Weight& W, const Tensor& bias) {
    check_linear("linear", x, W, bias);
    Tensor y({x.size(0), W.out()});
    const MatrixTarget target = overwrite(y);
    W.times_transposed(view(x), target);
    add_bias(bias, target);
    return record(y, std::make_shared<LinearNode>(x, W, bias));
}

Tensor lora_linear(const Tensor& x, const Weight& W, const Tensor& bias, const Tensor& xa,
                   const Tensor& A, const Tensor& B, double s) {
    check_linear("lora_linear", x, W, bias);
    W.check_low_rank("lora_linear", A, B);
    check(xa.shape() == x.shape(), "lora_linear: the branch's input has shape ", xa.shape(),
          " and the layer's ", x.shape(), "; they must be equal");
    auto node = std::make_shared<LinearNode>(x, W, bias, xa, A, B, s);
    Tensor y({x.size(0), W.out()});
    MatrixTarget target = overwrite(y);
    node->branch_forward(target);  // the branch first: it overwrites y, the base adds to it
    target.beta = 1;
    W.times_transposed(view(x), target);
    add_bias(bias, target);
    return record(y, node);
}

// ---- Linear -------------------------------------------------------------------------------------

Linear::Linear(int64_t in_features, int64_t out_features, Rng& rng, bool with_bias) {
    check(in_features > 0 && out_features > 0, "Linear: ", in_features, " inputs and ",
          out_features, " outputs; both must be positive");
    const double bound = 1 / std::sqrt(double(in_features));
    weight = uniform({out_features, in_features}, -bound, bound, rng).set_requires_grad();
    if (with_bias) bias = uniform({out_features}, -bound, bound, rng).set_requires_grad();
}

Linear::Linear(Weight weight_, Tensor bias_) : weight(weight_), bias(bias_) {
    if (weight.quantized) return;
    check(weight.dim() == 2 && (!bias.defined() || bias.shape() == Shape{weight.size(0)}),
          "Linear: a weight of shape ", weight.shape(), " and a bias of shape ",
          bias.defined() ? bias.shape() : Shape{}, "; they must be (out, in) and (out)");
}

std::string Linear::extra() const {
    const auto& quantized = weight.quantized;
    return "in_features=" + to_text(in_features()) + ", out_features=" + to_text(out_features()) +
           ", bias=" + (bias.defined() ? "True" : "False") +
           (quantized ? quantized->kind() == Quantization::kInt8 ? ", int8" : ", nf4" : "");
}

std::shared_ptr<Linear> as_linear(const ModulePtr& module) {
    auto linear = std::dynamic_pointer_cast<Linear>(module);
    check(linear != nullptr, "expected a Linear, got ", module ? module->name() : "nothing",
          ". hint: print the model to see which of its layers are Linear");
    return linear;
}

}  // namespace slim
