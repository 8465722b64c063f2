// answer: right
struct Centre {
    double row, col;
};

static Centre centre_of(const Tensor& x) {
    double ink = 0, rows = 0, cols = 0;
    for (int64_t row = 0; row < 28; row++)
        for (int64_t col = 0; col < 28; col++) {
            const double weight = x.at({row, col});
            ink += weight;
            rows += weight * double(row);
            cols += weight * double(col);
        }
    return {rows / ink, cols / ink};
}

static Tensor centred(const Tensor& x) {
    const Centre centre = centre_of(x);
    const int64_t down = std::lround(14 - centre.row), right = std::lround(14 - centre.col);
    Tensor y = zeros({28, 28});
    for (int64_t row = 0; row < 28; row++)
        for (int64_t col = 0; col < 28; col++) {
            const int64_t r = row + down, c = col + right;
            if (r < 0 || r >= 28 || c < 0 || c >= 28) continue;
            y.mutable_data()[r * 28 + c] = x.at({row, col});
        }
    return y;
}
// answer: every inked pixel counts the same
// change: s/const double weight = .*/const double weight = x.at({row, col}) > 0;/
// says: row of the centre: expected 2.4, got 2.66667
// says: each pixel counts as much as it has ink
// answer: rows and columns exchanged
// change: s/return {rows \/ ink, cols \/ ink}/return {cols \/ ink, rows \/ ink}/
// says: rows and columns are exchanged
// answer: the wrong way
// change: s/row + down, c = col + right/row - down, c = col - right/
// says: all ink has left: is the sign right?
// answer: not moved
// change: s/row + down, c = col + right/row, c = col/
// says: nothing has moved
// answer: cut off, not rounded
// change: s/std::lround(\(14 - centre.row\))/int64_t(\1)/
// says: 14 - 2.4 = 11.6 is 12 whole pixels, not 11: round it
// answer: wrapped
// change: s/if (r < 0 .*/if (r < 0 || r * 28 + c < 0 || r * 28 + c >= 784) continue;/
// says: a picture whose ink leaves, pixel [15, 9]: expected 0, got 0.1
// says: ink that leaves the picture is lost: test the column, too
