// answer: right
static Tensor column_norms(const Tensor& W, const Tensor& w2, const Tensor& A, const Tensor& B,
                           double s) {
    const Tensor mixed = matmul_tn(B, W);               // [rank, in]
    const Tensor square = matmul(matmul_tn(B, B), A);   // [rank, in]
    return sqrt(w2 + sum(A * (2 * s * mixed + s * s * square), 0));
}
// answer: no mixed term
// change: s/2 \* s \* mixed + //
// says: the mixed term 2 s W_jk (B A)_jk is missing
// answer: the square of the norm
// change: s/sqrt(w2 + \(.*\));/w2 + \1;/
// says: this is the square of the norm
// answer: rows
// change: s/w2 + .*/sum(W * W, 1));/
// says: norm of column : expected shape (7), got (5)
// answer: s once
// change: s/s \* s \*/s */
// says: the last term has s^2
// answer: V is formed
// change: s/return .*/return norm(W + s * matmul(B, A), 0);/
// says: the norms are right, but a matrix as large as W was formed on the way
