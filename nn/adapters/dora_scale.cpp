// The scale of DoRA. See dora_scale.h.
//
// Squared norms without forming V = W + s B A. For row j (V_j, W_j and B_j are rows of V, W and B),
//
//     |V_j|^2 = |W_j|^2 + 2 s B_j (A W_j^T) + s^2 B_j (A A^T) B_j^T
//
// where |W_j|^2 is computed once, A W^T is [rank, out] and A A^T is [rank, rank]. Columns are the
// same with the roles of A and B exchanged: B^T W is [rank, in] and B^T B is [rank, rank].
#include "nn/adapters/dora_scale.h"

#include <bit>     // bit_cast
#include <cmath>   // sqrt, fabs
#include <cstdio>  // the warning about rows without a direction

#include "core/autograd.h"
#include "core/gemm.h"
#include "core/ops.h"

namespace slim {

Tensor initial_magnitude(const Weight& W, Axis axis) {
    // norm() and dora_scale() take their squares from the same routine, so that with B = 0, where V
    // is W, c is exactly 1.
    Tensor m = norm(W.to_tensor(), reduced_axis(axis)).set_requires_grad();
    std::string tiny;
    for (int64_t j = 0; j < m.size(); j++)
        if (!has_direction(m.data()[j])) tiny += (tiny.empty() ? "" : ", ") + to_text(j);
    if (!tiny.empty())
        std::fprintf(stderr,
                     "DoRA: %s %s of a weight have a norm below 1e-12 and no direction; c = 1 "
                     "there\n",
                     axis == Axis::kOut ? "rows" : "columns", tiny.c_str());
    return m;
}

// ---- magnitude_over_norm ------------------------------------------------------------------------
// c = m / n        dm = dc / n, dn = -dc m / n^2        without a direction: c = 1, dm = dn = 0
//
// Divides by n twice: n^2 could overflow, or become 0, although the quotients do not.

struct MagnitudeOverNormNode : Node {
    MagnitudeOverNormNode(const Tensor& m, const Tensor& n) : Node("magnitude_over_norm", {m, n}) {}
    void backward(const Tensor& c) override {
        const real *m = saved(0), *n = saved(1), *dc = c.grad_data();
        if (needs_grad(0)) {
            real* dm = inputs[0].mutable_grad();
            for (int64_t j = 0; j < c.size(); j++)
                if (has_direction(n[j])) dm[j] += dc[j] / n[j];
        }
        if (needs_grad(1)) {
            real* dn = inputs[1].mutable_grad();
            for (int64_t j = 0; j < c.size(); j++)
                if (has_direction(n[j])) dn[j] -= dc[j] / n[j] * (m[j] / n[j]);
        }
    }
};

Tensor magnitude_over_norm(const Tensor& m, const Tensor& n) {
    check(m.shape() == n.shape(), "magnitude_over_norm: shapes differ: ", m.shape(), " and ",
          n.shape(), "; they must be equal");
    Tensor c(m.shape());
    const real *pm = m.data(), *pn = n.data();
    real* out = c.mutable_data();
    for (int64_t j = 0; j < c.size(); j++) out[j] = has_direction(pn[j]) ? pm[j] / pn[j] : 1;
    return record(c, std::make_shared<MagnitudeOverNormNode>(m, n));
}

// ---- dora_scale ---------------------------------------------------------------------------------
// Row j of B A is a sum of A's rows, with row j of B for coefficients. Column j of it is a sum of
// B's columns, with column j of A for coefficients. K [rank, count] holds all coefficients, without
// s: it is B^T per output (count is out), A per input (count is in).
// Below, K_j, product_j, pull_j and Q_j are columns j, and . is the dot product:
//
//     product = A W^T or B^T W                    [rank, count]
//     gram    = A A^T or B^T B                    [rank, rank]
//     pull    = product + s gram K                [rank, count], equal to A V^T or B^T V
//     n_j^2   = |W_j|^2 + s K_j . (product_j + pull_j)
//     c       = m / n
//
// Backward, given dc. (d.. stands for dL/d...) dn_j = -dc_j m_j / n_j^2, and d(n_j^2) = dn_j /
// (2 n_j), because n_j^2 grows 2 n_j times as fast as n_j. As pull_j contains K_j too, n_j^2
// changes with K_j at the rate 2 s pull_j: this gives the gradient of the coefficients (of B per
// output, of A per input). The other one of A and B gets one through the norm, too. Both have t_j:
//
//     dm_j = dc_j / n_j
//     t_j  = 2 s d(n_j^2) = -s dc_j m_j / n_j^3
//     dK_j = t_j pull_j                           of the coefficients
//     Q_j  = t_j K_j                              [rank, count]
//     per output: dA = Q V   = Q W + s (Q B) A    of the other one
//     per input:  dB = V Q^T = W Q^T + s B (A Q^T)

struct DoraScaleNode : Node {
    Weight W;
    real s;
    Axis axis;
    NormGradient gradient;
    Tensor K, pull;       // [rank, count], where count is out or in
    std::vector<real> n;  // [count]

    DoraScaleNode(const Weight& W, const Tensor& A, const Tensor& B, const Tensor& m, double s,
                  Axis axis, NormGradient gradient)
        : Node("dora_scale", {A, B, m, W}), W(W), s(real(s)), axis(axis), gradient(gradient),
          K(axis == Axis::kOut ? transpose(B.detach()) : A.detach()) {}

    // |V_j|^2 by the short formula.
    std::vector<double> squared_norms(const std::vector<double>& weight_norms,
                                      const Tensor& product) const;
    // Sets |V_j|^2 from the definition, for the rows or columns j in which s B A nearly cancels W:
    // there the terms of the short formula are large, their sum is small, and its digits are lost.
    void recompute(const std::vector<bool>& wanted, std::vector<double>& squared) const;

    void backward(const Tensor& c) override {
        const Tensor &A = saved_tensor(0), &B = saved_tensor(1);
        const real *m = saved(2), *dc = c.grad_data();
        saved(3);  // throws if W has changed since forward
        const int64_t rank = K.size(0), count = K.size(1);
        if (needs_grad(2)) {
            real* dm = inputs[2].mutable_grad();
            for (int64_t j = 0; j < count; j++)
                if (has_direction(n[size_t(j)])) dm[j] += dc[j] / n[size_t(j)];
        }
        if (gradient == NormGradient::kDetached) return;

        // Divides by n three times: n^3 could overflow, or become 0, although t does not.
        std::vector<real> t(size_t(count), 0);
        for (int64_t j = 0; j < count; j++) {
            const real n_j = n[size_t(j)];
            if (has_direction(n_j)) t[size_t(j)] = -s * (dc[j] / n_j) * (m[j] / n_j) / n_j;
        }
        Tensor Q(K.shape());
        const real *k_data = K.data(), *pull_data = pull.data();
        real* q = Q.mutable_data();
        for (int64_t k = 0; k < rank; k++)
            for (int64_t j = 0; j < count; j++)
                q[k * count + j] = t[size_t(j)] * k_data[k * count + j];

        const bool per_output = axis == Axis::kOut;
        const size_t coefficients = per_output ? 1 : 0, other = 1 - coefficients;
        if (needs_grad(coefficients)) {  // K is B, transposed, or A
            const int64_t row = per_output ? 1 : count, column = per_output ? rank : 1;
            real* dK = inputs[coefficients].mutable_grad();
            for (int64_t k = 0; k < rank; k++)
                for (int64_t j = 0; j < count; j++)
                    dK[k * row + j * column] += t[size_t(j)] * pull_data[k * count + j];
        }
        if (!needs_grad(other)) return;
        Tensor small({rank, rank});
        if (per_output) {
            gemm(view(Q), view(B), overwrite(small), s);
            gemm(view(small), view(A), add_to_grad(inputs[0]));
            W.times(view(Q), add_to_grad(inputs[0]));
        } else {
            gemm(view(A), view(Q).t(), overwrite(small), s);
            gemm(view(B), view(small), add_to_grad(inputs[1]));
            Tensor share({rank, W.out()});  // (Q W^T)^T is W Q^T
            W.times_transposed(view(Q), overwrite(share));
            real* dB = inputs[1].mutable_grad();
            for (int64_t o = 0; o < W.out(); o++)
                for (int64_t k = 0; k < rank; k++)
                    dB[o * rank + k] += share.data()[k * W.out() + o];
        }
    }
};

// product is A W^T or B^T W.
std::vector<double> DoraScaleNode::squared_norms(const std::vector<double>& weight_norms,
                                                 const Tensor& product) const {
    const size_t rank = size_t(K.size(0)), count = size_t(K.size(1));
    // 2 s K_j . product_j and s^2 K_j gram K_j
    std::vector<double> cross(count, 0), square(count, 0), squared(count);
    const real *k_data = K.data(), *p_data = product.data(), *pull_data = pull.data();
    for (size_t k = 0; k < rank; k++)
        for (size_t j = 0; j < count; j++) {
            const size_t at = k * count + j;
            const double coefficient = double(s) * double(k_data[at]);
            cross[j] += 2 * coefficient * p_data[at];
            square[j] += coefficient * (double(pull_data[at]) - p_data[at]);
        }

    bool any = false;
    std::vector<bool> cancelled(count);
    const double kCancelled = 1.0 / 16;  // less than this share of the terms is left
    for (size_t j = 0; j < count; j++) {
        squared[j] = weight_norms[j] + cross[j] + square[j];
        cancelled[j] = squared[j] < kCancelled * (weight_norms[j] + std::fabs(cross[j]) +
                                                  std::fabs(square[j]));
        any = any || cancelled[j];
    }
    if (any) recompute(cancelled, squared);
    return squared;
}

void DoraScaleNode::recompute(const std::vector<bool>& wanted, std::vector<double>& squared) const {
    const Tensor &A = inputs[0], &B = inputs[1];
    const bool per_output = axis == Axis::kOut;
    const int64_t in = W.in(), rank = A.size(0);
    const auto add = [&](int64_t o, int64_t i, real w) {
        double v = 0;
        for (int64_t k = 0; k < rank; k++)
            v += double(B.data()[o * rank + k]) * double(A.data()[k * in + i]);
        v = w + double(s) * v;
        squared[size_t(per_output ? o : i)] += v * v;
    };
    for (size_t j = 0; j < wanted.size(); j++)
        if (wanted[j]) squared[j] = 0;
    W.for_rows([&](int64_t first, MatrixView rows) {
        for (int64_t o = first; o < first + rows.rows; o++) {
            const real* row = rows.data + (o - first) * rows.stride;
            if (per_output && !wanted[size_t(o)]) continue;
            for (int64_t i = 0; i < in; i++)
                if (per_output || wanted[size_t(i)]) add(o, i, row[i]);
        }
    });
}

Tensor dora_scale(const Weight& W, const std::vector<double>& weight_norms, const Tensor& A,
                  const Tensor& B, const Tensor& m, double s, Axis axis, NormGradient gradient) {
    W.check_low_rank("dora_scale", A, B);
    const bool per_output = axis == Axis::kOut;
    const int64_t count = per_output ? W.out() : W.in(), rank = A.size(0);
    check(m.shape() == Shape{count} && int64_t(weight_norms.size()) == count,
          "dora_scale: a weight of shape ", W.shape(), " with m of shape ", m.shape(),
          " and ", weight_norms.size(), " norms; both must have ", count, " elements");
    check(!W.is_trained(), "dora_scale: the weight of shape ", W.shape(),
          " requires a gradient; the factored form is for a frozen one. hint: use merged_weight()");

    auto node = std::make_shared<DoraScaleNode>(W, A, B, m, s, axis, gradient);
    const Tensor& K = node->K;
    Tensor product(K.shape()), gram({rank, rank});
    if (per_output) {
        W.times_transposed(view(A), overwrite(product));
        gemm(view(A), view(A).t(), overwrite(gram));
    } else {
        W.times(view(transpose(B.detach())), overwrite(product));
        gemm(view(B).t(), view(B), overwrite(gram));
    }
    node->pull = clone(product);
    gemm(view(gram), view(K), add_to(node->pull), real(s));

    const std::vector<double> squared = node->squared_norms(weight_norms, product);
    Tensor c({count});
    const real* m_data = m.data();
    real* values = c.mutable_data();
    for (int64_t j = 0; j < count; j++) {
        const real n = real(std::sqrt(squared[size_t(j)]));
        node->n.push_back(n);
        values[j] = has_direction(n) ? m_data[j] / n : 1;
    }
    return record(c, node);
}

// ---- DoraScale ----------------------------------------------------------------------------------

Tensor DoraScale::operator()(bool reuse, const Weight& W, const Tensor& A, const Tensor& B,
                             const Tensor& m, double s, Axis axis, NormGradient gradient) {
    const auto compute = [&] {
        const auto& norms = weight_norms_.get(
            {W.version()}, [&] { return W.squared_norms(reduced_axis(axis)); });
        return dora_scale(W, norms, A, B, m, s, axis, gradient);
    };
    if (!reuse) return compute();
    return c_.get({W.version(), A.version(), B.version(), m.version(), std::bit_cast<uint64_t>(s)},
                  compute);
}

}  // namespace slim
