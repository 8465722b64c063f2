// The ops of a transformer. See transformer.h.
#include "core/transformer.h"

#include <algorithm>  // fill, min
#include <bit>        // bit_cast
#include <cmath>      // exp, pow, sqrt

#include "core/autograd.h"
#include "core/gemm.h"

namespace slim {

// ---- exp ----------------------------------------------------------------------------------------
// e^x = 2^n e^r with n = round(x / ln 2), so |r| <= ln(2) / 2: there the Taylor polynomial of
// degree 7 is exact to float's last digit. No branch and no call, so a loop over it becomes vector
// code, about 5 times as fast as std::exp. x is bounded so that 2^n is a float; NaN stays NaN.

[[maybe_unused]] static inline float vector_exp(float x) {
    x = x < -87 ? -87 : x > 88 ? 88 : x;
    const float shifted = x * 1.44269504f + 12582912;  // 1.5 * 2^23: the last bits hold round(..)
    const float n = shifted - 12582912;
    const float r = x - n * 0.693359375f + n * 2.12194440e-4f;  // ln 2 in two parts
    float p = 1 / 5040.f;
    p = p * r + 1 / 720.f;
    p = p * r + 1 / 120.f;
    p = p * r + 1 / 24.f;
    p = p * r + 1 / 6.f;
    p = p * r + 0.5f;
    p = p * r + 1;
    p = p * r + 1;
    const uint32_t power = std::bit_cast<uint32_t>(shifted) << 23;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + power);
}
[[maybe_unused]] static inline double vector_exp(double x) { return std::exp(x); }

// ---- rms_norm -----------------------------------------------------------------------------------
// y_j = x_j w_j / n                                        n = sqrt(mean_j x_j^2 + eps)
// dx_j = (dy_j w_j - x_j mean_k(dy_k w_k x_k) / n^2) / n   dw_j = sum over the rows of dy_j x_j / n

struct RmsNormNode : Node {
    Tensor norms;  // [rows]
    RmsNormNode(const Tensor& x, const Tensor& weight, const Tensor& norms)
        : Node("rms_norm", {x, weight}), norms(norms) {}
    void backward(const Tensor& y) override {
        const int64_t rows = y.size(0), dim = y.size(1);
        const real *x = saved(0), *w = saved(1), *dy = y.grad_data(), *n = norms.data();
        real* dx = needs_grad(0) ? inputs[0].mutable_grad() : nullptr;
        std::vector<double> dw(size_t(needs_grad(1) ? dim : 0), 0);  // in double: rows are many
        for (int64_t i = 0; i < rows; i++, x += dim, dy += dim) {
            for (size_t j = 0; j < dw.size(); j++) dw[j] += dy[j] * (x[j] / n[i]);
            if (!dx) continue;
            real dot = 0;
#pragma omp simd reduction(+ : dot)
            for (int64_t j = 0; j < dim; j++) dot += dy[j] * w[j] * x[j];
            const real share = dot / real(dim) / n[i] / n[i];
            for (int64_t j = 0; j < dim; j++) dx[j] += (dy[j] * w[j] - x[j] * share) / n[i];
            dx += dim;
        }
        for (size_t j = 0; j < dw.size(); j++) inputs[1].mutable_grad()[j] += real(dw[j]);
    }
};

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
    check(x.dim() == 2 && weight.dim() == 1 && weight.size(0) == x.size(1), "rms_norm: x of shape ",
          x.shape(), " and weight of shape ", weight.shape(), "; they must be (rows, dim) and ",
          "(dim)");
    const int64_t rows = x.size(0), dim = x.size(1);
    Tensor y(x.shape()), norms({rows});
    const real *in = x.data(), *w = weight.data();
    real *out = y.mutable_data(), *n = norms.mutable_data();
    for (int64_t i = 0; i < rows; i++, in += dim, out += dim) {
        real squares = 0;
#pragma omp simd reduction(+ : squares)
        for (int64_t j = 0; j < dim; j++) squares += in[j] * in[j];
        n[i] = std::sqrt(squares / real(dim) + real(eps));
        for (int64_t j = 0; j < dim; j++) out[j] = in[j] / n[i] * w[j];
    }
    return record(y, std::make_shared<RmsNormNode>(x, weight, norms));
}

// ---- silu_mul -----------------------------------------------------------------------------------
// y = g s u                                                s = 1 / (1 + e^-g)
// dg = dy u s (1 + g (1 - s))    du = dy g s

struct SiluMulNode : Node {
    SiluMulNode(const Tensor& gate, const Tensor& up) : Node("silu_mul", {gate, up}) {}
    void backward(const Tensor& y) override {
        const real *g = saved(0), *u = saved(1), *dy = y.grad_data();
        const int64_t size = y.size();
        if (needs_grad(0)) {
            const Tensor::GradSlot dg = inputs[0].grad_slot();
#pragma omp simd
            for (int64_t i = 0; i < size; i++) {
                const real s = 1 / (1 + vector_exp(-g[i]));
                dg.add(i, dy[i] * u[i] * s * (1 + g[i] * (1 - s)));
            }
        }
        if (needs_grad(1)) {
            const Tensor::GradSlot du = inputs[1].grad_slot();
#pragma omp simd
            for (int64_t i = 0; i < size; i++) du.add(i, dy[i] * g[i] / (1 + vector_exp(-g[i])));
        }
    }
};

Tensor silu_mul(const Tensor& gate, const Tensor& up) {
    check(gate.shape() == up.shape(), "silu_mul: gate of shape ", gate.shape(), " and up of shape ",
          up.shape(), "; the shapes must be equal");
    Tensor y(gate.shape());
    const real *g = gate.data(), *u = up.data();
    real* out = y.mutable_data();
    const int64_t size = y.size();
#pragma omp simd
    for (int64_t i = 0; i < size; i++) out[i] = g[i] / (1 + vector_exp(-g[i])) * u[i];
    return record(y, std::make_shared<SiluMulNode>(gate, up));
}

// ---- rope ---------------------------------------------------------------------------------------
// (y_j, y_j') = R (x_j, x_j')         R = ((cos, -sin), (sin, cos)), j' = j + head_dim / 2
// (dx_j, dx_j') = R^T (dy_j, dy_j'), a rotation by minus the angle

// Writes each head of in to out, or adds it, as out.beta says: rotated by the angles of the row's
// position in its sequence, or by minus the angles (sign -1).
static void rotate(const real* in, Tensor::GradSlot out, int64_t rows, int64_t heads, int64_t time,
                   const Tensor& angles, real sign) {
    const int64_t half = angles.size(1) / 2;
    for (int64_t i = 0; i < rows * heads; i++, in += 2 * half, out.data += 2 * half) {
        const real* c = angles.data() + i / heads % time * 2 * half;
        const real* s = c + half;
#pragma omp simd
        for (int64_t j = 0; j < half; j++) {
            out.add(j, in[j] * c[j] - in[j + half] * (sign * s[j]));
            out.add(j + half, in[j + half] * c[j] + in[j] * (sign * s[j]));
        }
    }
}

struct RopeNode : Node {
    int64_t heads, time;
    Tensor angles;
    RopeNode(const Tensor& x, int64_t heads, int64_t time, const Tensor& angles)
        : Node("rope", {x}), heads(heads), time(time), angles(angles) {}
    void backward(const Tensor& y) override {
        rotate(y.grad_data(), inputs[0].grad_slot(), y.size(0), heads, time, angles, -1);
    }
};

Tensor rope_angles(int64_t positions, int64_t head_dim, double theta) {
    check(positions > 0 && head_dim > 0 && head_dim % 2 == 0 && theta > 0, "rope_angles: ",
          positions, " positions, head_dim ", head_dim, ", theta ", theta,
          "; all must be positive, and head_dim even");
    Tensor angles({positions, head_dim});
    real* out = angles.mutable_data();
    for (int64_t t = 0; t < positions; t++, out += head_dim)
        for (int64_t j = 0; j < head_dim / 2; j++) {
            // Rounded to real twice, as transformers does.
            const real rate = real(1 / std::pow(theta, double(2 * j) / double(head_dim)));
            const real angle = real(t) * rate;
            out[j] = std::cos(angle);
            out[j + head_dim / 2] = std::sin(angle);
        }
    return angles;
}

Tensor rope(const Tensor& x, int64_t heads, int64_t time, const Tensor& angles) {
    check(x.dim() == 2 && angles.dim() == 2 && heads * angles.size(1) == x.size(1), "rope: x of ",
          "shape ", x.shape(), " and angles of shape ", angles.shape(), " for ", heads,
          " heads; they must be (rows, heads * head_dim) and (positions, head_dim)");
    check(time > 0 && x.size(0) % time == 0 && time <= angles.size(0), "rope: ", x.size(0),
          " rows and angles of ", angles.size(0), " positions for sequences of ", time,
          "; the rows must be whole sequences, no longer than the angles");
    Tensor y(x.shape());
    rotate(x.data(), {y.mutable_data(), 0}, x.size(0), heads, time, angles, 1);
    return record(y, std::make_shared<RopeNode>(x, heads, time, angles));
}

// ---- causal_attention ---------------------------------------------------------------------------
// For each head of each sequence, with q, k, v [time, d]:
// S = q k^T / sqrt(d)    P = softmax of S's rows up to the diagonal, 0 after it    y = P v
// dv = P^T dy            dP = dy v^T       dS_ij = P_ij (dP_ij - sum_k dP_ik P_ik) / sqrt(d)
// dq = dS k              dk = dS^T q
//
// S is computed in strips of kStrip rows, each only as wide as its last row needs: almost nothing
// above the diagonal is computed.

namespace {

constexpr int64_t kStrip = 32;

// A strip of a head: the offsets of its rows in q and y, of the head's keys in k and v, and of the
// strip in the probabilities. Its `rows` queries begin at position `first` of their sequence. The
// last one sees `keys` keys.
struct Strip {
    int64_t in_q, in_k, in_p, first, rows, keys;
};

struct Heads {
    int64_t batch, time, heads, kv_heads, d;

    // Views of a strip's queries in q or dy, and of its keys in k or v.
    MatrixView queries(const real* q, const Strip& s) const {
        return {q + s.in_q, s.rows, d, heads * d};
    }
    MatrixView keys(const real* k, const Strip& s) const {
        return {k + s.in_k, s.keys, d, kv_heads * d};
    }
    MatrixTarget to_queries(real* q, const Strip& s, real beta) const {
        return {q + s.in_q, s.rows, d, heads * d, beta};
    }
    MatrixTarget add_to_keys(real* k, const Strip& s) const {
        return {k + s.in_k, s.keys, d, kv_heads * d, 1};
    }
    real scale() const { return real(1 / std::sqrt(double(d))); }

    template <class F>
    void for_strips(F f) const {
        for (int64_t b = 0; b < batch; b++)
            for (int64_t h = 0; h < heads; h++)
                for (int64_t first = 0; first < time; first += kStrip) {
                    const int64_t rows = std::min(kStrip, time - first);
                    f(Strip{(b * time + first) * heads * d + h * d,
                            b * time * kv_heads * d + h / (heads / kv_heads) * d,
                            ((b * heads + h) * time + first) * time, first, rows, first + rows});
                }
    }
};

// The softmax of the first n values; the others, up to `width`, become 0.
void softmax_row(real* s, int64_t n, int64_t width) {
    real largest = s[0], total = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t j = 0; j < n; j++) largest = s[j] > largest ? s[j] : largest;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < n; j++) total += s[j] = vector_exp(s[j] - largest);
    const real share = 1 / total;
    for (int64_t j = 0; j < n; j++) s[j] *= share;
    std::fill(s + n, s + width, real(0));
}

// dS from dP, in place.
void softmax_row_backward(const real* p, real* ds, int64_t n) {
    real dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t j = 0; j < n; j++) dot += ds[j] * p[j];
    for (int64_t j = 0; j < n; j++) ds[j] = p[j] * (ds[j] - dot);
}

}  // namespace

struct CausalAttentionNode : Node {
    Heads at;
    Tensor probabilities;  // [batch, heads, time, time]; not written to the right of the strips
    CausalAttentionNode(const Tensor& q, const Tensor& k, const Tensor& v, const Heads& at,
                        const Tensor& probabilities)
        : Node("causal_attention", {q, k, v}), at(at), probabilities(probabilities) {}
    void backward(const Tensor& y) override {
        const real *q = saved(0), *k = saved(1), *v = saved(2);
        real* dk = needs_grad(1) ? inputs[1].mutable_grad() : nullptr;
        real* dv = needs_grad(2) ? inputs[2].mutable_grad() : nullptr;
        // After dk and dv: if q is the same tensor as k or v, its gradient exists by now, and dq is
        // to be added to it (beta = 1).
        Tensor::GradSlot dq{};
        if (needs_grad(0)) dq = inputs[0].grad_slot();
        Tensor strip({kStrip, at.time});
        real* ds = strip.mutable_data();
        at.for_strips([&](const Strip& s) {
            const real* p = probabilities.data() + s.in_p;
            const MatrixView P{p, s.rows, s.keys, at.time}, dS{ds, s.rows, s.keys, at.time};
            const MatrixView dy = at.queries(y.grad_data(), s);
            if (dv) gemm(P.t(), dy, at.add_to_keys(dv, s));
            if (!dq.data && !dk) return;
            gemm(dy, at.keys(v, s).t(), {ds, s.rows, s.keys, at.time, 0});
            for (int64_t i = 0; i < s.rows * at.time; i += at.time)
                softmax_row_backward(p + i, ds + i, s.keys);
            if (dq.data) gemm(dS, at.keys(k, s), at.to_queries(dq.data, s, dq.beta), at.scale());
            if (dk) gemm(dS.t(), at.queries(q, s), at.add_to_keys(dk, s), at.scale());
        });
    }
};

Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads,
                        int64_t kv_heads, int64_t time) {
    const bool fits = q.dim() == 2 && k.dim() == 2 && k.shape() == v.shape() &&
                      q.size(0) == k.size(0) && heads > 0 && kv_heads > 0 &&
                      heads % kv_heads == 0 && q.size(1) % heads == 0 &&
                      q.size(1) / heads * kv_heads == k.size(1);
    check(fits, "causal_attention: q, k and v of shapes ", q.shape(), ", ", k.shape(), " and ",
          v.shape(), " for ", heads, " heads and ", kv_heads, " key/value heads; q must be ",
          "(rows, heads * d), k and v (rows, kv_heads * d), and kv_heads must divide heads");
    check(time > 0 && q.size(0) % time == 0, "causal_attention: ", q.size(0),
          " rows for sequences of ", time, "; the rows must be whole sequences");
    const Heads at{q.size(0) / time, time, heads, kv_heads, q.size(1) / heads};
    Tensor y(q.shape()), probabilities({at.batch, heads, time, time});
    real *out = y.mutable_data(), *all = probabilities.mutable_data();
    at.for_strips([&](const Strip& s) {
        real* p = all + s.in_p;
        gemm(at.queries(q.data(), s), at.keys(k.data(), s).t(), {p, s.rows, s.keys, time, 0},
             at.scale());
        for (int64_t i = 0; i < s.rows; i++) softmax_row(p + i * time, s.first + i + 1, s.keys);
        gemm({p, s.rows, s.keys, time}, at.keys(v.data(), s), at.to_queries(out, s, 0));
    });
    return record(y, std::make_shared<CausalAttentionNode>(q, k, v, at, probabilities));
}

}  // namespace slim
