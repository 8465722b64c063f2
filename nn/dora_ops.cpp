// The ops behind DoRA. See dora_ops.h.
//
// Squared norms without forming V = W + s B A. For row j,
//
//     |V_j|^2 = |W_j|^2 + 2 s B_j . (A W_j) + s^2 B_j (A A^T) B_j^T
//
// where |W_j|^2 is computed once, A W^T is [rank, out] and A A^T is [rank, rank]. Columns are the
// same with the roles of A and B exchanged: B^T W is [rank, in] and B^T B is [rank, rank].
#include "nn/dora_ops.h"

#include <algorithm>  // copy_n
#include <cmath>      // sqrt, fabs
#include <cstdio>     // the warning about zero rows

#include "core/autograd.h"
#include "core/gemm.h"
#include "core/ops.h"

namespace slim {

Tensor initial_magnitude(const FrozenWeight& W, Axis axis) {
    // norm() and dora_scale() take their squares from the same routine, so that with B = 0, where V
    // is W, c is exactly 1.
    Tensor m = norm(W.to_tensor(), reduced_axis(axis)).set_requires_grad();
    std::string zero;
    for (int64_t j = 0; j < m.size(); j++)
        if (m.data()[j] == 0) zero += (zero.empty() ? "" : ", ") + to_text(j);
    if (!zero.empty())
        std::fprintf(stderr,
                     "DoRA: %s %s of a weight are zero and have no direction; c = 1 there\n",
                     axis == Axis::kOut ? "rows" : "columns", zero.c_str());
    return m;
}

// ---- magnitude_over_norm ------------------------------------------------------------------------
// c = m / n        dm = dc / n, dn = -dc m / n^2        where n == 0: c = 1, dm = dn = 0

struct MagnitudeOverNormNode : Node {
    MagnitudeOverNormNode(const Tensor& m, const Tensor& n) : Node("magnitude_over_norm", {m, n}) {}
    void backward(const Tensor& c) override {
        const real *m = saved(0), *n = saved(1), *dc = c.grad_data();
        if (needs_grad(0)) {
            real* dm = inputs[0].mutable_grad();
            for (int64_t j = 0; j < c.size(); j++)
                if (n[j] != 0) dm[j] += dc[j] / n[j];
        }
        if (needs_grad(1)) {
            real* dn = inputs[1].mutable_grad();
            for (int64_t j = 0; j < c.size(); j++)
                if (n[j] != 0) dn[j] -= dc[j] * m[j] / (n[j] * n[j]);
        }
    }
};

Tensor magnitude_over_norm(const Tensor& m, const Tensor& n) {
    check(m.shape() == n.shape(), "magnitude_over_norm: shapes differ: ", m.shape(), " and ",
          n.shape(), "; they must be equal");
    Tensor c(m.shape());
    const real *pm = m.data(), *pn = n.data();
    real* out = c.mutable_data();
    for (int64_t j = 0; j < c.size(); j++) out[j] = pn[j] != 0 ? pm[j] / pn[j] : 1;
    return record(c, std::make_shared<MagnitudeOverNormNode>(m, n));
}

// ---- what dora_scale and dora_linear share ------------------------------------------------------
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

static Tensor transposed(const Tensor& x) {
    Tensor y({x.size(1), x.size(0)});
    const real* in = x.data();
    real* out = y.mutable_data();
    for (int64_t i = 0; i < x.size(0); i++)
        for (int64_t j = 0; j < x.size(1); j++) out[j * x.size(0) + i] = in[i * x.size(1) + j];
    return y;
}

namespace {

struct Scale {
    Axis axis;
    NormGradient gradient;
    real s;
    Tensor K, pull;         // [rank, count]
    std::vector<real> n;    // [count]

    Scale(const Tensor& A, const Tensor& B, double s, Axis axis, NormGradient gradient)
        : axis(axis), gradient(gradient), s(real(s)),
          K(axis == Axis::kOut ? transposed(B) : A.detach()) {}

    // c, given product (which becomes pull).
    Tensor forward(const FrozenWeight& W, const std::vector<double>& weight_norms, const Tensor& A,
                   const Tensor& B, const Tensor& m, const Tensor& product);
    // Adds dm and the coefficients' share of the gradients of A or B. Returns Q.
    Tensor backward(const real* dc, Tensor& A, Tensor& B, Tensor& m) const;
};

// |V_j|^2 from the definition, for the rows or columns in which s B A nearly cancels W: there the
// terms of the short formula are large, their sum is small, and its digits are lost.
double dense_squared_norm(int64_t j, const FrozenWeight& W, const Tensor& A, const Tensor& B,
                          double s, Axis axis) {
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

Tensor Scale::forward(const FrozenWeight& W, const std::vector<double>& weight_norms,
                      const Tensor& A, const Tensor& B, const Tensor& m, const Tensor& product) {
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

    n.resize(size_t(count));
    Tensor c({count});
    const real *k_data = K.data(), *p_data = product.data(), *pull_data = pull.data();
    real* values = c.mutable_data();
    for (int64_t j = 0; j < count; j++) {
        double cross = 0, square = 0;  // 2 s K_j . product_j and s^2 K_j gram K_j
        for (int64_t at = j; at < rank * count; at += count) {
            const double coefficient = double(s) * k_data[at];
            cross += 2 * coefficient * p_data[at];
            square += coefficient * (double(pull_data[at]) - p_data[at]);
        }
        const double terms = weight_norms[size_t(j)] + std::fabs(cross) + std::fabs(square);
        double squared = weight_norms[size_t(j)] + cross + square;
        const double kCancelled = 1.0 / 16;  // less than this share of the terms is left
        if (squared < kCancelled * terms) squared = dense_squared_norm(j, W, A, B, s, axis);
        n[size_t(j)] = real(std::sqrt(squared));
        values[j] = n[size_t(j)] != 0 ? m.data()[j] / n[size_t(j)] : 1;
    }
    return c;
}

Tensor Scale::backward(const real* dc, Tensor& A, Tensor& B, Tensor& m) const {
    const int64_t rank = K.size(0), count = K.size(1);
    if (m.requires_grad()) {
        real* dm = m.mutable_grad();
        for (int64_t j = 0; j < count; j++)
            if (n[size_t(j)] != 0) dm[j] += dc[j] / n[size_t(j)];
    }
    if (gradient == NormGradient::kDetached) return {};

    std::vector<real> t(size_t(count), 0);
    for (int64_t j = 0; j < count; j++) {
        const real length = n[size_t(j)];
        if (length != 0) t[size_t(j)] = -s * dc[j] * m.data()[j] / (length * length * length);
    }
    Tensor Q(K.shape());
    const real *k_data = K.data(), *pull_data = pull.data();
    real* q = Q.mutable_data();
    for (int64_t k = 0; k < rank; k++)
        for (int64_t j = 0; j < count; j++) q[k * count + j] = t[size_t(j)] * k_data[k * count + j];

    Tensor& coefficients = axis == Axis::kOut ? B : A;  // K is B, transposed, or A
    if (coefficients.requires_grad()) {
        const int64_t row = axis == Axis::kOut ? 1 : count, column = axis == Axis::kOut ? rank : 1;
        real* dK = coefficients.mutable_grad();
        for (int64_t k = 0; k < rank; k++)
            for (int64_t j = 0; j < count; j++)
                dK[k * row + j * column] += t[size_t(j)] * pull_data[k * count + j];
    }
    return Q;
}

void check_dora(const char* op, const FrozenWeight& W, const std::vector<double>& weight_norms,
                const Tensor& A, const Tensor& B, const Tensor& m, Axis axis) {
    const int64_t count = axis == Axis::kOut ? W.out() : W.in();
    const Shape weight{W.out(), W.in()};
    check(A.dim() == 2 && A.size(1) == W.in() && B.shape() == Shape{W.out(), A.size(0)}, op,
          ": a weight of shape ", weight, " with A of shape ", A.shape(), " and B of shape ",
          B.shape(), "; they must be (out, in), (rank, in) and (out, rank)");
    check(m.shape() == Shape{count} && int64_t(weight_norms.size()) == count, op,
          ": a weight of shape ", weight, " with m of shape ", m.shape(), " and ",
          weight_norms.size(), " norms; both must have ", count, " elements");
    check(W.quantized || !W.dense.requires_grad(), op, ": the weight of shape ", weight,
          " requires a gradient; the factored form is for a frozen one. hint: use merged_weight()");
}

}  // namespace

// ---- dora_scale ---------------------------------------------------------------------------------

struct DoraScaleNode : Node {
    FrozenWeight W;
    Scale scale;

    DoraScaleNode(const FrozenWeight& W, const Tensor& A, const Tensor& B, const Tensor& m,
                  const Scale& scale)
        : Node("dora_scale", {A, B, m, W.dense}), W(W), scale(scale) {}

    void backward(const Tensor& c) override {
        const real *A = saved(0), *B = saved(1);
        saved(2), saved(3);  // m and W are read as well
        const Tensor Q = scale.backward(c.grad_data(), inputs[0], inputs[1], inputs[2]);
        if (!Q.defined()) return;
        const int64_t rank = Q.size(0), in = W.in(), out = W.out();
        const real* q = Q.data();
        Tensor small({rank, rank});
        if (scale.axis == Axis::kOut && needs_grad(0)) {  // dA += Q W + s (Q B) A
            const Tensor::GradSlot dA = inputs[0].grad_slot();
            W.times(rank, q, dA.beta, dA.data);
            gemm(kNormal, kNormal, rank, rank, out, scale.s, q, B, 0, small.mutable_data());
            gemm(kNormal, kNormal, rank, in, rank, 1, small.data(), A, 1, dA.data);
        }
        if (scale.axis == Axis::kIn && needs_grad(1)) {  // dB += (Q W^T)^T + s B (A Q^T)
            Tensor share({rank, out});
            W.times_transposed(rank, q, 0, share.mutable_data());
            real* dB = inputs[1].mutable_grad();
            for (int64_t o = 0; o < out; o++)
                for (int64_t k = 0; k < rank; k++) dB[o * rank + k] += share.data()[k * out + o];
            gemm(kNormal, kTransposed, rank, rank, in, scale.s, A, q, 0, small.mutable_data());
            gemm(kNormal, kNormal, out, rank, rank, 1, B, small.data(), 1, dB);
        }
    }
};

Tensor dora_scale(const FrozenWeight& W, const std::vector<double>& weight_norms, const Tensor& A,
                  const Tensor& B, const Tensor& m, double s, Axis axis, NormGradient gradient) {
    check_dora("dora_scale", W, weight_norms, A, B, m, axis);
    Scale scale(A, B, s, axis, gradient);
    const int64_t rank = A.size(0);
    Tensor product(scale.K.shape());
    if (axis == Axis::kOut) W.times_transposed(rank, A.data(), 0, product.mutable_data());
    else W.times(rank, transposed(B).data(), 0, product.mutable_data());
    const Tensor c = scale.forward(W, weight_norms, A, B, m, product);
    return record(c, std::make_shared<DoraScaleNode>(W, A, B, m, scale));
}

// ---- dora_linear --------------------------------------------------------------------------------
// The same as the composition
//
//     raw = x W^T + s h B^T      h = x A^T
//     y   = c . raw + bias       c from product = A W^T
//
// but the two products with W are one: the rows of A are stacked under those of x, and
// [x; A] W^T gives x W^T and product together. Likewise backward, with gc = dy . c and Q of above:
//
//     dc     = column sums of dy . raw
//     dB     = s gc^T h           + the coefficients' share
//     dh     = s gc B
//     dA     = dh^T x             + Q W + s (Q B) A
//     dx     = gc W + dh A        where [gc; Q] W gives gc W and Q W together
//     dbias  = column sums of dy
//
// A frozen layer with N rows costs what LoRA costs with N + rank rows.

struct DoraLinearNode : Node {
    FrozenWeight W;
    Scale scale;
    Tensor c, raw, h;

    DoraLinearNode(const Tensor& x, const FrozenWeight& W, const Tensor& bias, const Tensor& A,
                   const Tensor& B, const Tensor& m, const Scale& scale)
        : Node("dora_linear", {x, A, B, m, bias, W.dense}), W(W), scale(scale) {}

    void backward(const Tensor& y) override {
        const real *x = saved(0), *A = saved(1), *B = saved(2), *dy = y.grad_data();
        saved(3), saved(5);  // m and W are read as well
        const int64_t batch = y.size(0), out = W.out(), in = W.in(), rank = scale.K.size(0);
        const real *scale_c = c.data(), *raw_data = raw.data();
        const real s = scale.s;

        if (needs_grad(4)) {
            real* dbias = inputs[4].mutable_grad();
            for (int64_t i = 0; i < batch; i++)
                for (int64_t j = 0; j < out; j++) dbias[j] += dy[i * out + j];
        }
        // gc, with room for Q below it, and dc.
        Tensor stacked({batch + rank, out});
        real* gc = stacked.mutable_data();
        std::vector<real> dc(size_t(out), 0);
        for (int64_t i = 0; i < batch; i++)
            for (int64_t j = 0; j < out; j++) {
                gc[i * out + j] = dy[i * out + j] * scale_c[j];
                dc[size_t(j)] += dy[i * out + j] * raw_data[i * out + j];
            }
        if (needs_grad(2))
            gemm_to_grad(kTransposed, kNormal, out, rank, batch, s, gc, h.data(), inputs[2]);
        Tensor dh({batch, rank});
        gemm(kNormal, kNormal, batch, rank, out, s, gc, B, 0, dh.mutable_data());
        if (needs_grad(1))
            gemm_to_grad(kTransposed, kNormal, rank, in, batch, 1, dh.data(), x, inputs[1]);

        const Tensor Q = scale.backward(dc.data(), inputs[1], inputs[2], inputs[3]);
        const int64_t first = needs_grad(0) ? 0 : batch;  // rows of [gc; Q] that are needed
        const int64_t last = Q.defined() && needs_grad(1) ? batch + rank : batch;
        if (Q.defined()) std::copy_n(Q.data(), rank * out, gc + batch * out);
        Tensor products({last - first, in});
        if (last > first) W.times(last - first, gc + first * out, 0, products.mutable_data());
        const real* rows = products.data();
        if (needs_grad(0)) {
            real* dx = inputs[0].mutable_grad();
            for (int64_t i = 0; i < batch * in; i++) dx[i] += rows[i];
            gemm(kNormal, kNormal, batch, in, rank, 1, dh.data(), A, 1, dx);
            rows += batch * in;
        }
        if (last > batch) {
            real* dA = inputs[1].mutable_grad();
            for (int64_t i = 0; i < rank * in; i++) dA[i] += rows[i];
            Tensor small({rank, rank});
            gemm(kNormal, kNormal, rank, rank, out, s, Q.data(), B, 0, small.mutable_data());
            gemm(kNormal, kNormal, rank, in, rank, 1, small.data(), A, 1, dA);
        }
    }
};

Tensor dora_linear(const Tensor& x, const FrozenWeight& W, const std::vector<double>& weight_norms,
                   const Tensor& bias, const Tensor& A, const Tensor& B, const Tensor& m, double s,
                   NormGradient gradient) {
    check_dora("dora_linear", W, weight_norms, A, B, m, Axis::kOut);
    check(x.dim() == 2 && x.size(1) == W.in(), "dora_linear: input of shape ", x.shape(),
          " and a weight of shape ", Shape{W.out(), W.in()}, "; the input must be (batch, in)");
    check(!bias.defined() || bias.shape() == Shape{W.out()}, "dora_linear: bias of shape ",
          bias.defined() ? bias.shape() : Shape{}, "; it must be ", Shape{W.out()});
    const int64_t batch = x.size(0), out = W.out(), in = W.in(), rank = A.size(0);
    Scale scale(A, B, s, Axis::kOut, gradient);

    Tensor stacked({batch + rank, in}), raw({batch + rank, out}), h({batch, rank});
    std::copy_n(x.data(), batch * in, stacked.mutable_data());
    std::copy_n(A.data(), rank * in, stacked.mutable_data() + batch * in);
    real* r = raw.mutable_data();
    W.times_transposed(batch + rank, stacked.data(), 0, r);
    Tensor product({rank, out});
    std::copy_n(r + batch * out, rank * out, product.mutable_data());
    gemm(kNormal, kTransposed, batch, rank, in, 1, x.data(), A.data(), 0, h.mutable_data());
    gemm(kNormal, kTransposed, batch, out, rank, scale.s, h.data(), B.data(), 1, r);

    const Tensor c = scale.forward(W, weight_norms, A, B, m, product);
    Tensor y({batch, out});
    const real* scale_c = c.data();
    real* result = y.mutable_data();
    for (int64_t i = 0; i < batch; i++)
        for (int64_t j = 0; j < out; j++) result[i * out + j] = r[i * out + j] * scale_c[j];
    if (bias.defined())
        for (int64_t i = 0; i < batch; i++)
            for (int64_t j = 0; j < out; j++) result[i * out + j] += bias.data()[j];

    auto node = std::make_shared<DoraLinearNode>(x, W, bias, A, B, m, scale);
    node->c = c;
    node->raw = raw;
    node->h = h;
    return record(y, node);
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
