// Exercise 3: softplus, and five broken nodes.
//
//     softplus(x) = log(1 + e^x), a relu with a round corner, which core lacks
//
// Write its forward and backward, which must be right at 100 and -100, where e^x or e^-x overflows.
// Then read what gradcheck says about five broken ops, and find each one's mistake:
//
//     a  the factor dy is missing           b  = instead of +=       c  a factor 2 is missing
//     d  the second input has a wrong sign  e  the last element is left out
//
// Check: make ex-03    Hint: make hint-03
#include <algorithm>
#include <cmath>

#include "apps/exercises/broken_nodes.h"
#include "apps/exercises/check.h"
#include "core/gradcheck.h"

using namespace slim;
// ---- your part ----------------------------------------------------------------------------------

struct SoftplusNode : Node {
    explicit SoftplusNode(const Tensor& x) : Node("softplus", {x}) {}
    void backward(const Tensor& y) override { TO_WRITE("add to inputs[0].mutable_grad()"); }
};

static Tensor softplus(const Tensor& x) {
    TO_WRITE("make y, fill it, and return record(y, std::make_shared<SoftplusNode>(x))");
}

static const std::string kMistakes = "?????";  // the letters for node_1 to node_5

// ---- the check ----------------------------------------------------------------------------------

static void check_both() {
    Tensor x = tensor({-2, -0.5, 0, 1, 3}).set_requires_grad();
    expect("softplus(-2, -0.5, 0, 1, 3)", softplus(x),
           tensor({0.126928f, 0.474077f, 0.693147f, 1.313262f, 3.048587f}));
    Tensor far = tensor({100, -100}).set_requires_grad();
    expect("softplus(100, -100)", softplus(far), tensor({100, 0}),
           {{tensor({INFINITY, 0}), "log(1 + e^x) = x + log(1 + e^-x): take e^-x where x > 0"},
            {tensor({100, INFINITY}), "x + log(1 + e^-x) = log(1 + e^x): take e^x where x < 0"}});
    gradcheck([](const std::vector<Tensor>& in) { return softplus(in[0]); }, {x});
    backward(sum(softplus(far)));
    expect("dx at (100, -100), by 1 / (1 + e^-x), element ", far.grad(), tensor({1, 0}));

    Tensor a = tensor({0.3f, -1, 2, 0.7f}).set_requires_grad();
    Tensor b = tensor({1, 0.5f, -2, 1.5f}).set_requires_grad();
    const std::string right = broken::kMistakes;
    require(kMistakes.size() == 5, "kMistakes: expected 5 letters");
    std::string said;
    for (size_t k = 0; k < right.size(); k++) try {
            gradcheck([&](const auto& in) { return broken::kNodes[k](in[0], in[1]); }, {a, b});
        } catch (const Error& e) {
            if (kMistakes[k] != right[k]) said += std::string(e.what()) + "\n";
        }
    require(said.empty(), "softplus is right. Not yet found (expected another letter):\n" + said);
}

int main() { return run_exercise(__FILE__, check_both); }
