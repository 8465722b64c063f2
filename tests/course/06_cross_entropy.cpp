// answer: right
static double cross_entropy_by_hand(const Tensor& z, const std::vector<int>& labels, Tensor& dz) {
    const int64_t batch = z.size(0), classes = z.size(1);
    double loss = 0;
    for (int64_t i = 0; i < batch; i++) {
        const real* row = z.data() + i * classes;
        real top = row[0];
        for (int64_t k = 0; k < classes; k++) top = std::max(top, row[k]);
        double total = 0;
        for (int64_t k = 0; k < classes; k++) total += std::exp(row[k] - top);
        for (int64_t k = 0; k < classes; k++) {
            const double p = std::exp(row[k] - top) / total, y = k == labels[i] ? 1 : 0;
            dz.mutable_data()[i * classes + k] = real((p - y) / batch);
        }
        loss += (top + std::log(total) - row[labels[i]]) / batch;
    }
    return loss;
}
// answer: a sum
// change: s/row\[labels\[i\]\]) \/ batch/row[labels[i]])/
// says: L is the mean over the batch, not the sum
// answer: the gradient of a sum
// change: s/real((p - y) \/ batch)/real(p - y)/
// says: L is a mean: each row counts 1 / batch
// answer: downhill
// change: s/p - y/y - p/
// says: this is y - p, which points downhill
// answer: overflows
// change: s/real top = row\[0\];/real top = 0;/; /std::max/d
// says: L, a logit of 1000 (subtract the row's largest): expected 
// answer: the logarithm of p
// change: s/loss += .*/loss -= std::log(std::exp(row[labels[i]] - top) \/ total) \/ batch;/
// says: L, a logit of 1000 (subtract the row's largest): expected
// says: a p is 0: take z_c - largest - log(sum of e^(z - largest))
// answer: no softmax
// change: s/(p - y)/(row[k] - y)/
// says: this is z - y: p is softmax(z)
