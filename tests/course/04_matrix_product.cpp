// answer: right
static void product_backward(const Tensor& a, const Tensor& b, const Tensor& dy, Tensor& da,
                             Tensor& db) {
    const int64_t m = a.size(0), k = a.size(1), n = b.size(1);
    for (int64_t i = 0; i < m; i++)
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = 0; j < n; j++) {
                da.mutable_data()[i * k + p] += dy.at({i, j}) * b.at({p, j});
                db.mutable_data()[p * n + j] += a.at({i, p}) * dy.at({i, j});
            }
}
// answer: b not transposed
// change: s/b.at({p, j})/b.at({j, p})/
// says: for a (2, 2), b (2, 2), element [0, 0]: expected
// says: this is dy b: which index of b is summed over?
// answer: lesson 4's formula
// change: s/a.at({i, p}) \* dy.at({i, j})/dy.at({i, p}) * a.at({i, j})/
// says: this is dy^T a, right for x W^T of lesson 4
// answer: overwrites
// change: s/+=/=/
// says: da for a (2, 2), b (2, 2), element [0, 0]: expected
// answer: a mean
// change: s/b.at({p, j})/b.at({p, j}) \/ n/
// says: gradients add up: no mean over j
// answer: a's columns for db
// change: s/p \* n + j/p * k + j/
// says: db for a (2, 3), b (3, 5), element
// says: db has n columns: its element {p, j} is at p * n + j
// answer: db forgotten
// change: /db.mutable/d
// says: db is still zero
