// answer: right
static Tensor dm_at_start(const Tensor& x, const Tensor& W, const Tensor& g) {
    return sum(g * matmul_nt(x, W), 0) / norm(W, 1);
}

static bool is_dora(const Layer& layer, const Tensor& x, const Tensor& W, const Tensor& A,
                    const Tensor& B, const Tensor& m) {
    const Tensor V = W + matmul(B, A);
    const Tensor off = layer(x) - matmul_nt(x, mul_col(V, m / norm(V, 1)));
    for (real value : off.to_vector())
        if (!(std::fabs(value) < 1e-4)) return false;
    return true;
}
// answer: not divided by the norm
// change: s/ \/ norm(W, 1);/;/
// says: y_j = m_j (x V_j / n_j): divide by n_j
// answer: norms of columns
// change: s/norm(W, 1);/norm(W, 0);/
// says: these are norms of columns; m belongs to rows here
// answer: only the gradient of m
static Tensor dm_at_start(const Tensor& x, const Tensor& W, const Tensor& g) {
    return sum(g * matmul_nt(x, W), 0) / norm(W, 1);
}
static bool is_dora(const Layer& layer, const Tensor& x, const Tensor&, const Tensor&,
                    const Tensor&, const Tensor& m) {
    backward(sum(layer(x)));
    return m.has_grad();
}
// says: m has a gradient there. Is the output x W'^T?
// answer: only linearity
static Tensor dm_at_start(const Tensor& x, const Tensor& W, const Tensor& g) {
    return sum(g * matmul_nt(x, W), 0) / norm(W, 1);
}
static bool is_dora(const Layer& layer, const Tensor& x, const Tensor&, const Tensor&,
                    const Tensor&, const Tensor&) {
    const Tensor bent = layer(2 * x) - 2 * layer(x);
    return sum(bent * bent).item() < 1e-4;
}
// says: is_dora(LoRA): expected false, got true. Does m reach the output?
// answer: linearity, and the gradient of m
static Tensor dm_at_start(const Tensor& x, const Tensor& W, const Tensor& g) {
    return sum(g * matmul_nt(x, W), 0) / norm(W, 1);
}
static bool is_dora(const Layer& layer, const Tensor& x, const Tensor&, const Tensor&,
                    const Tensor&, const Tensor& m) {
    const Tensor bent = layer(2 * x) - 2 * layer(x);
    backward(sum(layer(x)));
    return m.has_grad() && sum(bent * bent).item() < 1e-4;
}
// says: is_dora(V divided by W's norms): expected false, got true. Are the rows of W' of norm m?
