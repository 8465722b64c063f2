// The scale of DoRA. See dora_scale.h.
//
// Squared norms without forming V = W + s B A. For row j,
//
//     |V_j|^2 = |W_j|^2 + 2 s B_j . (A W_j) + s^2 B_j (A A^T) B_j^T
//
// where |W_j|^2 is computed once, A W^T is [rank, out] and A A^T is [rank, rank]. Columns are the
// same with the roles of A and B exchanged: B^T W is [rank, in] and B^T B is [rank, rank].
#include "nn/dora_scale.h"

#include <algorithm>  // copy_n
#include <cmath>      // sqrt, fabs
#include <cstdio>     // the warning about rows without a direction

#include "core/autograd.h"
#include "core/gemm.h"
#include "core/ops.h"

namespace slim {

Tensor initial_magnitude(const FrozenWeight& W, Axis axis) {
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
// Quotients are taken one by one: n^2 and n^3 leave float's range long before they do.

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

// ---- DoraScale ----------------------------------------------------------------------------------
// Write the low-rank product as coefficients times directions: row j of s B A is s sum_k B_jk A_k,
// column j of it is s sum_k A_kj B_k. With the coefficients as K [rank, count] (B^T or A):
//
//     product = A W^T or B^T W                    [rank, count]
//     gram    = A A^T or B^T B                    [rank, rank]
//     pull    = product + s gram K                [rank, count], equal to A V^T or B^T V
//     n_j^2   = |W_j|^2 + s K_j . (product_j + pull_j)
//     c       = m / n
//
// Backward, given dc. From dn_j = -dc_j m_j / n_j^2 and d(n_j^2) = 2 n_j dn_j:
//
//     dm_j = dc_j / n_j
//     t_j  = -s dc_j m_j / n_j^3                  (0 where the norm is detached)
//     dK_j = t_j pull_j                           the coefficients' share
//     Q_j  = t_j K_j                              [rank, count]
//     per output: dA = Q V   = Q W + s (Q B) A    the directions' share
//     per input:  dB = V Q^T = W Q^T + s B (A Q^T)

DoraScale::DoraScale(const Tensor& A, const Tensor& B, double s, Axis axis, NormGradient gradient)
    : axis(axis), gradient(gradient), s(real(s)),
      K(axis == Axis::kOut ? transpose(B.detach()) : A.detach()) {}

// |V_j|^2 from the definition, for the rows or columns in which s B A nearly cancels W: there the
// terms of the short formula are large, their sum is small, and its digits are lost.
static double dense_squared_norm(int64_t j, const FrozenWeight& W, const Tensor& A,
                                 const Tensor& B, double s, Axis axis) {
    const int64_t in = W.in(), rank = A.size(0);
    double total = 0;
    const auto add = [&](int64_t row, int64_t col, real w) {
        double v = 0;
        for (int64_t k = 0; k < rank; k++)
            v += double(B.data()[row * rank + k]) * double(A.data()[k * in + col]);
        v = w + s * v;
        total += v * v;
    };
    if (axis == Axis::kOut) {
        const std::vector<real> row = W.row(j);
        for (int64_t i = 0; i < in; i++) add(j, i, row[size_t(i)]);
    } else {
        for (int64_t o = 0; o < W.out(); o++) add(o, j, W.row(o)[size_t(j)]);
    }
    return total;
}

Tensor DoraScale::forward(const FrozenWeight& W, const std::vector<double>& weight_norms,
                          const Tensor& A, const Tensor& B, const Tensor& m,
                          const Tensor& product) {
    const int64_t rank = K.size(0), count = K.size(1);
    Tensor gram({rank, rank});
    if (axis == Axis::kOut)
        gemm(kNormal, kTransposed, rank, rank, W.in(), 1, A.data(), A.data(), 0,
             gram.mutable_data());
    else
        gemm(kTransposed, kNormal, rank, rank, W.out(), 1, B.data(), B.data(), 0,
             gram.mutable_data());
    pull = clone(product);
    gemm(kNormal, kNormal, rank, count, rank, s, gram.data(), K.data(), 1, pull.mutable_data());

    // 2 s K_j . product_j and s^2 K_j gram K_j
    std::vector<double> cross(size_t(count), 0), square(size_t(count), 0);
    const real *k_data = K.data(), *p_data = product.data(), *pull_data = pull.data();
    for (int64_t k = 0; k < rank; k++)
        for (int64_t j = 0; j < count; j++) {
            const int64_t at = k * count + j;
            const double coefficient = double(s) * k_data[at];
            cross[size_t(j)] += 2 * coefficient * p_data[at];
            square[size_t(j)] += coefficient * (double(pull_data[at]) - p_data[at]);
        }

    n.resize(size_t(count));
    Tensor c({count});
    const real* m_data = m.data();
    real* values = c.mutable_data();
    for (int64_t j = 0; j < count; j++) {
        const size_t at = size_t(j);
        const double terms = weight_norms[at] + std::fabs(cross[at]) + std::fabs(square[at]);
        double squared = weight_norms[at] + cross[at] + square[at];
        const double kCancelled = 1.0 / 16;  // less than this share of the terms is left
        if (squared < kCancelled * terms) squared = dense_squared_norm(j, W, A, B, s, axis);
        n[at] = real(std::sqrt(squared));
        values[j] = has_direction(n[at]) ? m_data[j] / n[at] : 1;
    }
    return c;
}

Tensor DoraScale::backward(const real* dc, Tensor& A, Tensor& B, Tensor& m) const {
    const int64_t rank = K.size(0), count = K.size(1);
    if (m.requires_grad()) {
        real* dm = m.mutable_grad();
        for (int64_t j = 0; j < count; j++)
            if (has_direction(n[size_t(j)])) dm[j] += dc[j] / n[size_t(j)];
    }
    if (gradient == NormGradient::kDetached) return {};

    std::vector<real> t(size_t(count), 0);
    const real* m_data = m.data();
    for (int64_t j = 0; j < count; j++) {
        const real n_j = n[size_t(j)];
        if (has_direction(n_j)) t[size_t(j)] = -s * (dc[j] / n_j) * (m_data[j] / n_j) / n_j;
    }
    Tensor Q(K.shape());
    const real *k_data = K.data(), *pull_data = pull.data();
    real* q = Q.mutable_data();
    for (int64_t k = 0; k < rank; k++)
        for (int64_t j = 0; j < count; j++) q[k * count + j] = t[size_t(j)] * k_data[k * count + j];

    const bool per_output = axis == Axis::kOut;
    Tensor &coefficients = per_output ? B : A, &directions = per_output ? A : B;
    if (coefficients.requires_grad()) {  // K is B, transposed, or A
        const int64_t row = per_output ? 1 : count, column = per_output ? rank : 1;
        real* dK = coefficients.mutable_grad();
        for (int64_t k = 0; k < rank; k++)
            for (int64_t j = 0; j < count; j++)
                dK[k * row + j * column] += t[size_t(j)] * pull_data[k * count + j];
    }
    if (directions.requires_grad()) {
        Tensor small({rank, rank});
        real* product = small.mutable_data();
        if (per_output) {
            gemm(kNormal, kNormal, rank, rank, count, s, q, B.data(), 0, product);
            gemm_to_grad(kNormal, kNormal, rank, A.size(1), rank, 1, product, A.data(), A);
        } else {
            gemm(kNormal, kTransposed, rank, rank, count, s, A.data(), q, 0, product);
            gemm_to_grad(kNormal, kNormal, B.size(0), rank, rank, 1, B.data(), product, B);
        }
    }
    return Q;
}

void check_scale(const char* op, const FrozenWeight& W, const std::vector<double>& weight_norms,
                 const Tensor& m, Axis axis) {
    const int64_t count = axis == Axis::kOut ? W.out() : W.in();
    const Shape weight{W.out(), W.in()};
    check(m.shape() == Shape{count} && int64_t(weight_norms.size()) == count, op,
          ": a weight of shape ", weight, " with m of shape ", m.shape(), " and ",
          weight_norms.size(), " norms; both must have ", count, " elements");
    check(W.quantized || !W.dense.requires_grad(), op, ": the weight of shape ", weight,
          " requires a gradient; the factored form is for a frozen one. hint: use merged_weight()");
}

// ---- dora_scale ---------------------------------------------------------------------------------

struct DoraScaleNode : Node {
    FrozenWeight W;
    DoraScale scale;

    DoraScaleNode(const FrozenWeight& W, const Tensor& A, const Tensor& B, const Tensor& m,
                  const DoraScale& scale)
        : Node("dora_scale", {A, B, m, W.dense}), W(W), scale(scale) {}

    void backward(const Tensor& c) override {
        for (const size_t i : {0, 1, 2, 3}) saved(i);  // all are read
        const Tensor Q = scale.backward(c.grad_data(), inputs[0], inputs[1], inputs[2]);
        if (!Q.defined()) return;
        const int64_t rank = Q.size(0), out = W.out();
        if (scale.axis == Axis::kOut && needs_grad(0)) {  // dA += Q W
            const Tensor::GradSlot dA = inputs[0].grad_slot();
            W.times(rank, Q.data(), dA.beta, dA.data);
        }
        if (scale.axis == Axis::kIn && needs_grad(1)) {  // dB += W Q^T, as (Q W^T)^T
            Tensor share({rank, out});
            W.times_transposed(rank, Q.data(), 0, share.mutable_data());
            real* dB = inputs[1].mutable_grad();
            for (int64_t o = 0; o < out; o++)
                for (int64_t k = 0; k < rank; k++) dB[o * rank + k] += share.data()[k * out + o];
        }
    }
};

Tensor dora_scale(const FrozenWeight& W, const std::vector<double>& weight_norms, const Tensor& A,
                  const Tensor& B, const Tensor& m, double s, Axis axis, NormGradient gradient) {
    W.check_low_rank("dora_scale", A, B);
    check_scale("dora_scale", W, weight_norms, m, axis);
    DoraScale scale(A, B, s, axis, gradient);
    const int64_t rank = A.size(0);
    Tensor product(scale.K.shape());
    if (axis == Axis::kOut) W.times_transposed(rank, A.data(), 0, product.mutable_data());
    else W.times(rank, transpose(B.detach()).data(), 0, product.mutable_data());
    const Tensor c = scale.forward(W, weight_norms, A, B, m, product);
    return record(c, std::make_shared<DoraScaleNode>(W, A, B, m, scale));
}

// ---- DoraScaleCache -----------------------------------------------------------------------------

// A quantised weight cannot change, and has no version: 0 stands for it.
static uint64_t version_of(const FrozenWeight& W) { return W.quantized ? 0 : W.dense.version(); }

const std::vector<double>& DoraScaleCache::weight_norms(const FrozenWeight& W, Axis axis) {
    if (norms_.empty() || norms_version_ != version_of(W)) {
        norms_ = W.squared_norms(reduced_axis(axis));
        norms_version_ = version_of(W);
    }
    return norms_;
}

// Versions are never given out twice, so equal versions of everything that c depends on mean that
// it has not changed.
Tensor DoraScaleCache::scale(bool reuse, const FrozenWeight& W, const Tensor& A, const Tensor& B,
                             const Tensor& m, double s, Axis axis, NormGradient gradient) {
    const std::vector<uint64_t> versions{version_of(W), A.version(), B.version(), m.version()};
    if (reuse && versions == c_versions_ && c_scaling_ == s) return c_;
    const Tensor c = dora_scale(W, weight_norms(W, axis), A, B, m, s, axis, gradient);
    if (reuse) {
        c_ = c;
        c_versions_ = versions;
        c_scaling_ = s;
    }
    return c;
}

}  // namespace slim
