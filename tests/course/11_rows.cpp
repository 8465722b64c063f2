// answer: right
struct RowChange {
    Tensor magnitude, direction;
};

static RowChange row_change(const Tensor& before, const Tensor& after) {
    const Tensor n = norm(before, 1), n_after = norm(after, 1);
    Tensor magnitude = n_after - n;
    for (int64_t j = 0; j < magnitude.size(); j++)
        magnitude.mutable_data()[j] = std::fabs(magnitude.data()[j]);
    return {magnitude, 1 - sum(before * after, 1) / (n * n_after)};
}
// answer: signed
// change: s/std::fabs(\(.*\));/\1;/
// says: magnitude change of row [2]: expected 1, got -1
// says: a row that shrinks has changed too
// answer: the norm of the difference
// change: s/Tensor magnitude = .*/Tensor magnitude = norm(after - before, 1);/
// says: this is |W' - W|: it mixes magnitude and direction
// answer: the cosine itself
// change: s/1 - sum/sum/
// says: this is the cosine; the change is 1 minus it
// answer: columns
// change: s/norm(before, 1), n_after = norm(after, 1)/norm(before, 0), n_after = norm(after, 0)/
// says: div: shapes differ: (5) and (2)
// answer: not of unit vectors
// change: s, / (n \* n_after),,
// says: divide by both norms: the cosine is of unit vectors
// answer: the angle
// change: s/return {magnitude, .*/Tensor angle = sum(before * after, 1) \/ (n * n_after);\n\
// change: for (int64_t j = 0; j < angle.size(); j++)\n\
// change: angle.mutable_data()[j] = std::acos(angle.data()[j]);\n    return {magnitude, angle};/
// says: this is the angle, not 1 - cos
