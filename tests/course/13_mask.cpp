// answer: right
static void mask_backward(const Tensor& dm, Tensor& ds) {
    const int64_t rows = dm.size(0), time = dm.size(1);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j <= i % time; j++) ds.mutable_data()[i * time + j] += dm.at({i, j});
}

static void softmax_backward(const Tensor& p, const Tensor& dp, Tensor& dm) {
    const int64_t rows = p.size(0), time = p.size(1);
    for (int64_t i = 0; i < rows; i++) {
        real dot = 0;
        for (int64_t k = 0; k < time; k++) dot += dp.at({i, k}) * p.at({i, k});
        for (int64_t j = 0; j < time; j++)
            dm.mutable_data()[i * time + j] += p.at({i, j}) * (dp.at({i, j}) - dot);
    }
}
// answer: no mask
// change: s/j <= i % time/j < time/
// says: ds, element [0, 1]: expected 0, got
// says: the mask is missing: an s that is not seen is in no m
// answer: a position does not see itself
// change: s/j <= i % time/j < i % time/
// says: a position sees itself, too
// answer: one sequence
// change: s/j <= i % time/j <= i \&\& j < time/
// says: row 3 is position 0 of the second sequence: i % time
// answer: no sum
// change: s/ (dp.at({i, j}) - dot)/ dp.at({i, j})/
// says: the sum is missing: each m is in every p of its row
