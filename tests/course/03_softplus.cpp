// untouched: apps/exercises/03_softplus.cpp:28: not written yet: make y
// answer: right
struct SoftplusNode : Node {
    explicit SoftplusNode(const Tensor& x) : Node("softplus", {x}) {}
    void backward(const Tensor& y) override {
        for (int64_t i = 0; i < y.size(); i++)
            inputs[0].mutable_grad()[i] += y.grad_data()[i] / (1 + std::exp(-saved(0)[i]));
    }
};

static Tensor softplus(const Tensor& x) {
    Tensor y(x.shape());
    for (int64_t i = 0; i < x.size(); i++) {
        const real v = x.data()[i];
        y.mutable_data()[i] = std::max(v, real(0)) + std::log1p(std::exp(-std::fabs(v)));
    }
    return record(y, std::make_shared<SoftplusNode>(x));
}

static const std::string kMistakes = "dacbe";
// answer: overflows
// change: s/std::max.*/std::log(1 + std::exp(v));/
// says: softplus(100, -100)[0]: expected 100, got inf
// says: take e^-x where x > 0
// answer: overflows on the left
// change: s/std::max.*/v + std::log(1 + std::exp(-v));/
// says: softplus(100, -100)[1]: expected 0, got inf
// says: take e^x where x < 0
// answer: a backward that overflows
// change: s,/ (1 + std::exp(-saved(0)\[i\])),* std::exp(saved(0)[i]) / (1 + std::exp(saved(0)[i])),
// says: dx at (100, -100), by 1 / (1 + e^-x), element [0]: expected 1, got
// answer: forgets dy
// change: s/+= y.grad_data()\[i\]/+= 1/
// says: gradcheck of softplus: a zero upstream gradient gave
// answer: the sigmoid mirrored
// change: s/exp(-saved/exp(saved/
// says: gradcheck of softplus: input 0 of shape (5), element 0: backward says
// answer: no node
// change: s/return record.*/return y;/
// says: does not depend on anything that requires a gradient
// answer: two letters swapped
// change: s/dacbe/daceb/
// says: Not yet found (expected another letter):
// says: gradcheck of node_4: input 0 of shape (4), element 0: one pass gives
// says: gradcheck of node_5: input 0 of shape (4), element 3: backward says 0, finite differences
