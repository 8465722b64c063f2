// answer: right
struct Momentum {
    real lr, mu;
    std::vector<real> v;

    void step(std::vector<real>& w, const std::vector<real>& g) {
        if (v.empty()) v.resize(g.size());
        for (size_t i = 0; i < g.size(); i++) {
            v[i] = mu * v[i] + g[i];
            w[i] -= lr * v[i];
        }
    }
};
// answer: an average, as Adam has it
// change: s/+ g\[i\]/+ (1 - mu) * g[i]/
// says: w after step 1, element [0]: expected 2.625, got 2.8125
// says: v is a sum, not a mean: g has no factor 1 - mu
// answer: v is not kept
// change: s/if (v.empty())/v.clear();/
// says: this is SGD without momentum: v must be kept between the steps
// answer: the learning rate inside of v
// change: s/+ g\[i\]/+ lr * g[i]/; s/lr \* v/v/
// says: w after step 3, element [0]: expected
// says: lr belongs to the step, not into v
// answer: uphill
// change: s/-=/+=/
// says: w after step 1, element [0]: expected 2.625, got 3.375
