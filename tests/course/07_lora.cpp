// answer: right
struct MyLoRA {
    Tensor W, b, A, B;
    double s;

    MyLoRA(const Tensor& W, const Tensor& b, int64_t rank, double s, Rng& rng) : W(W), b(b), s(s) {
        const int64_t out = W.size(0), in = W.size(1);
        const double bound = 1 / std::sqrt(double(in));
        A = uniform({rank, in}, -bound, bound, rng).set_requires_grad();
        B = zeros({out, rank}).set_requires_grad();
    }

    Tensor forward(const Tensor& x) const {
        return linear(x, W, b) + s * matmul_nt(matmul_nt(x, A), B);
    }
};
// answer: B random too
// change: s/B = zeros({out, rank})/B = normal({out, rank}, 0, 1, rng)/
// says: before training, y - base, element [0, 0]: expected 0, got
// answer: right, with A zero and B random
// change: s/A = uniform(\(.*\), -bound, bound, rng)/A = zeros(\1)/
// change: s/B = zeros({out, rank})/B = uniform({out, rank}, -0.3, 0.3, rng)/
// answer: both zero
// change: s/A = uniform(\(.*\), -bound, bound, rng)/A = zeros(\1)/
// says: dB is zero, as A is, and dA is zero, as B is: nothing will ever move
// answer: s forgotten
// change: s/+ s \* /+ /
// says: the factor s is missing
// answer: the notebook's shapes
// change: s/{rank, in}/{in, rank}/; s/{out, rank}/{rank, out}/
// says: A: expected shape (2, 8), got (8, 2)
// answer: A is not trained
// change: s/rng).set_requires_grad()/rng)/
// says: A and B must require gradients
// answer: equal rows of A
// change: s/A = uniform({rank, in}, -bound, bound, rng)/A = clone(0.3 * ones({rank, in}))/
// says: rank 2: expected a loss of 0.83
// says: Are the rows of A random and different?
