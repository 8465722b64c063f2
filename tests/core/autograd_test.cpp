// The engine: order, sharing, accumulation, what it refuses, and that nothing is left behind.
#include "core/autograd.h"

#include <pthread.h>

#include <thread>

#include "nn/linear.h"
#include "tests/testing.h"

namespace slim {

// ---- order --------------------------------------------------------------------------------------

TEST_CASE("backward: the chain rule through a few ops, by hand") {
    Tensor x = tensor({2}).set_requires_grad();
    Tensor y = exp(x * x);  // y' = 2 x e^(x^2)
    backward(y);
    CHECK(double(x.grad().item()) == doctest::Approx(4 * std::exp(4.0)));
}

TEST_CASE("backward: a diamond adds both of its sides before it goes on") {
    Tensor x = tensor({3}).set_requires_grad();
    Tensor top = 2 * x, left = top * top, right = 5 * top;  // 4 x^2 + 10 x
    backward(sum(left + right));
    CHECK(x.grad().item() == 8 * 3 + 10);
}

TEST_CASE("backward: a diamond whose sides have different lengths") {
    Tensor x = tensor({3}).set_requires_grad();
    Tensor a = x * x, b = 2 * a, c = 2 * b, d = 2 * c;
    backward(sum(d + a));  // 9 x^2
    CHECK(x.grad().item() == 18 * 3);
}

TEST_CASE("backward: sixty diamonds in a row are 180 ops, not 2^60 paths") {
    Tensor x = ones({1}).set_requires_grad(), y = x;
    for (int i = 0; i < 60; i++) y = 0.5 * y + 0.5 * y;
    backward(y);
    CHECK(x.grad().item() == 1);
}

TEST_CASE("backward: random graphs of shared values agree with finite differences") {
    for (uint64_t seed = 1; seed <= 10; seed++) {
        auto random_graph = [seed](const std::vector<Tensor>& leaves) {
            Rng rng(seed);
            std::vector<Tensor> values = leaves;
            for (int i = 0; i < 12; i++) {
                const Tensor a = values[size_t(rng.below(int64_t(values.size())))];
                const Tensor b = values[size_t(rng.below(int64_t(values.size())))];
                switch (rng.below(4)) {
                    case 0: values.push_back(tanh(a)); break;
                    case 1: values.push_back(a - 0.5 * b); break;
                    case 2: values.push_back(sigmoid(a) * b); break;
                    case 3: values.push_back(tanh(a + b)); break;
                }
            }
            Tensor total = values[0];
            for (const Tensor& value : values) total = total + value;
            return total;
        };
        Rng rng(100 + seed);
        check_op(random_graph, {random_tensor({2, 3}, rng), random_tensor({2, 3}, rng)});
    }
}

TEST_CASE("backward: from any tensor, given dL/dy") {
    Tensor x = tensor({1, 2, 3}).set_requires_grad();
    backward(x * x, tensor({1, 10, 100}));
    CHECK(same_bits(x.grad(), tensor({2, 40, 600})));
}

TEST_CASE("backward: from a leaf, the gradient is the seed") {
    Tensor x = scalar(5).set_requires_grad();
    backward(x);
    backward(x);
    CHECK(x.grad().item() == 2);
}

TEST_CASE("backward: a side branch that the loss does not use gets nothing") {
    Tensor x = ones({2}).set_requires_grad(), z = ones({2}).set_requires_grad();
    Tensor y = 2 * x, unused = y * z;
    backward(sum(y));
    CHECK(same_bits(x.grad(), full({2}, 2)));
    CHECK(!z.grad().defined());
}

// ---- accumulation and reuse ---------------------------------------------------------------------

TEST_CASE("backward: leaves accumulate over passes until zero_grad") {
    Tensor x = tensor({1, 2}).set_requires_grad();
    for (int pass = 1; pass <= 3; pass++) {
        backward(sum(x * x));
        CHECK(same_bits(x.grad(), tensor({real(2 * pass), real(4 * pass)})));
    }
    x.zero_grad();
    backward(sum(x * x));
    CHECK(same_bits(x.grad(), tensor({2, 4})));
}

TEST_CASE("backward: intermediate results keep no gradient") {
    Tensor x = ones({2}).set_requires_grad(), y = 3 * x, z = sum(y);
    backward(z);
    CHECK(!y.grad().defined());
    CHECK(!z.grad().defined());
    CHECK(x.grad().defined());
}

TEST_CASE("backward: a second pass over the same graph throws, and changes no gradient") {
    Tensor x = ones({2}).set_requires_grad(), y = sum(x * x);
    backward(y);
    CHECK_ERROR(backward(y), "backward", "already used", "()", "forward pass again");
    CHECK(same_bits(x.grad(), full({2}, 2)));
}

TEST_CASE("backward: two losses that share a trunk throw at the second, and change no gradient") {
    Tensor x = ones({2, 3}).set_requires_grad(), w = ones({2, 3}).set_requires_grad();
    Tensor trunk = tanh(x), first = sum(trunk), second = sum(trunk * w);
    backward(first);
    const Tensor before = clone(x.grad());
    CHECK_ERROR(backward(second), "backward", "(2, 3)", "already used", "add the losses");
    CHECK(same_bits(x.grad(), before));
    CHECK(!w.grad().defined());
}

TEST_CASE("backward: two losses that share a trunk can be added, and share their leaves freely") {
    Tensor x = tensor({2}).set_requires_grad();
    Tensor trunk = x * x;
    backward(sum(3 * trunk) + sum(trunk * trunk));  // 3 x^2 + x^4
    CHECK(x.grad().item() == 6 * 2 + 4 * 8);
    backward(sum(x));
    CHECK(x.grad().item() == 44 + 1);
}

TEST_CASE("backward: continuing from the result of a used graph throws") {
    Tensor x = ones({2}).set_requires_grad(), y = 2 * x;
    backward(sum(y));
    CHECK(!y.is_leaf());
    CHECK_ERROR(backward(sum(3 * y)), "already used", "(2)");
    CHECK_ERROR(y.set_requires_grad(), "set_requires_grad", "result of an op");
}

// ---- changes in place ---------------------------------------------------------------------------

TEST_CASE("backward: an input changed in place since the forward pass throws, and names the op") {
    Tensor a = ones({2, 3}).set_requires_grad(), b = ones({2, 3}).set_requires_grad();
    Tensor product = sum(a * b);
    a.mutable_data()[0] = 2;
    CHECK_ERROR(backward(product), "mul", "input 0", "(2, 3)", "changed in place");
    Tensor rectified = sum(relu(b));
    b.mutable_data()[0] = 2;
    CHECK_ERROR(backward(rectified), "relu", "changed in place", "hint");
    Tensor multiplied = sum(matmul_nt(a, b));
    b.mutable_data()[0] = 3;
    CHECK_ERROR(backward(multiplied), "matmul_nt", "input 1");
}

// Changes one input, and asks only for the gradient of the other: it is computed from the changed
// one.
TEST_CASE("backward: every op of two inputs notices a change of either") {
    using Binary = Tensor (*)(const Tensor&, const Tensor&);
    const Binary no_bias = [](const Tensor& x, const Tensor& w) { return linear(x, w); };
    const std::vector<Binary> of_matrices = {mul,       div,       matmul,
                                             matmul_nt, matmul_tn, no_bias};
    auto check_notices = [](Binary op, Tensor a, Tensor b) {
        for (Tensor changed : {a, b}) {
            a.set_requires_grad(changed.impl == b.impl);
            b.set_requires_grad(changed.impl == a.impl);
            Tensor y = sum(op(a, b));
            changed.mutable_data()[0] = 2;
            CHECK_ERROR(backward(y), "changed in place",
                        changed.impl == a.impl ? "input 0" : "input 1");
        }
    };
    for (Binary op : of_matrices) check_notices(op, ones({3, 3}), ones({3, 3}));
    for (Binary op : {Binary(mul_row), Binary(mul_col)}) check_notices(op, ones({3, 3}), ones({3}));
}

TEST_CASE("backward: a result that its op needs again, changed in place, throws too") {
    using Unary = Tensor (*)(const Tensor&);
    const std::vector<Unary> ops = {tanh, sigmoid, exp, sqrt, softmax, log_softmax};
    for (Unary op : ops) {
        Tensor x = ones({2, 3}).set_requires_grad(), y = op(x);
        y.mutable_data()[0] = 7;
        CHECK_ERROR(backward(sum(y)), "result", "(2, 3)", "changed in place");
    }
    Tensor x = ones({2, 3}).set_requires_grad(), y = norm(x, 0);
    y.mutable_data()[0] = 7;
    CHECK_ERROR(backward(sum(y)), "norm", "result", "(3)", "changed in place");
}

TEST_CASE("backward: a change of numbers that no backward function reads is allowed") {
    Tensor x = ones({3}).set_requires_grad(), y = 2 * x, z = sum(y + y);
    x.mutable_data()[0] = 5;
    y.mutable_data()[0] = 5;
    backward(z);
    CHECK(same_bits(x.grad(), full({3}, 4)));
}

// ---- NoGrad -------------------------------------------------------------------------------------

TEST_CASE("NoGrad: ops leave no nodes while one lives, also when nested or left by a throw") {
    Tensor x = ones({2}).set_requires_grad();
    CHECK(grad_enabled());
    {
        NoGrad outer;
        { NoGrad inner; }
        CHECK(!grad_enabled());
        CHECK(!(2 * x).requires_grad());
        CHECK((2 * x).is_leaf());
    }
    try {
        NoGrad no_grad;
        fail("leaving");
    } catch (const Error&) {
    }
    CHECK(grad_enabled());
    CHECK((2 * x).requires_grad());
}

TEST_CASE("record: no node is kept where no input requires a gradient") {
    Tensor x = ones({2}), y = 2 * x;
    CHECK(!y.requires_grad());
    CHECK(!y.impl->node);
    CHECK(y.is_leaf());
    Tensor z = x * ones({2}).set_requires_grad();
    CHECK(z.requires_grad());
    CHECK(std::string(z.impl->node->op) == "mul");
}

TEST_CASE("backward: losses that it cannot start from") {
    Tensor x = ones({2, 3}).set_requires_grad();
    CHECK_ERROR(backward(2 * x), "backward", "(2, 3)", "one element", "sum() or mean()");
    CHECK_ERROR(backward(sum(ones({2}))), "backward", "()", "does not depend");
    CHECK_ERROR(backward(2 * x, ones({3, 2})), "backward", "(3, 2)", "(2, 3)", "equal");
    NoGrad no_grad;
    CHECK_ERROR(backward(sum(x)), "backward", "NoGrad");
}

// ---- long chains --------------------------------------------------------------------------------

// Runs f in a thread whose stack holds 256 KB; returns the text of what it threw, or "".
template <class F>
static std::string with_small_stack(F f) {
    struct Task {
        F f;
        std::string error;
    } task{f, ""};
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    pthread_t thread;
    auto run = [](void* argument) -> void* {
        Task& task = *static_cast<Task*>(argument);
        try {
            task.f();
        } catch (const std::exception& e) {
            task.error = e.what();
        }
        return nullptr;
    };
    REQUIRE(pthread_create(&thread, &attributes, run, &task) == 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    return task.error;
}

// One link of a chain. Each keeps the value at 1 and has a slope of 1, and each is linked to the
// one before it in a way of its own.
struct Link {
    Tensor (*op)(const Tensor&);
    int ops;  // that the longest way through it has
};
static Tensor one_input(const Tensor& x) { return add_scalar(x, 0); }
static Tensor same_input_twice(const Tensor& x) { return scale(x + x, 0.5); }
static Tensor residual(const Tensor& x) { return 0.5 * (x + scale(x, 1)); }
static Tensor shared_storage(const Tensor& x) { return reshape(x, {1}); }
static const Link kLinks[] = {
    {one_input, 1}, {same_input_twice, 2}, {residual, 3}, {shared_storage, 1}};

static Tensor chain(const Link& link, const Tensor& x) {
    Tensor y = x;
    for (int i = 0; i < 100000; i += link.ops) y = link.op(y);
    return y;
}

TEST_CASE("a chain of 100,000 ops: forward, backward and destruction on a stack of 256 KB") {
    for (const Link& link : kLinks) {
        real gradient = 0;
        int64_t leaked = -1;
        CHECK(with_small_stack([&] {
                  const LeakCounter leaks;
                  {
                      const Tensor x = ones({1}).set_requires_grad();
                      backward(chain(link, x));
                      gradient = x.grad().item();
                  }
                  leaked = leaks.leaked();
              }) == "");
        CHECK(gradient == 1);
        CHECK(leaked == 0);
    }
}

TEST_CASE("a chain of 100,000 ops: destruction without a backward pass on a stack of 256 KB") {
    for (const Link& link : kLinks) {
        int64_t leaked = -1;
        CHECK(with_small_stack([&] {
                  const LeakCounter leaks;
                  chain(link, ones({1}).set_requires_grad());
                  leaked = leaks.leaked();
              }) == "");
        CHECK(leaked == 0);
    }
}

TEST_CASE("a chain of 100,000 ops: a backward pass that throws at its end cleans up as well") {
    int64_t leaked = -1;
    const std::string error = with_small_stack([&] {
        const LeakCounter leaks;
        try {
            Tensor x = ones({1}).set_requires_grad(), y = x * x;
            for (int i = 0; i < 100000; i++) y = one_input(y);
            x.mutable_data()[0] = 2;
            backward(y);
        } catch (const Error&) {
            leaked = leaks.leaked();
            throw;
        }
    });
    check_words(error, {"mul", "changed in place"});
    CHECK(leaked == 0);
}

TEST_CASE("destruction: a node that somebody else holds keeps its inputs") {
    Tensor x = ones({1}).set_requires_grad();
    std::shared_ptr<Node> kept;
    {
        Tensor y = 3 * (2 * x);
        kept = y.impl->node;
    }
    REQUIRE(kept->inputs[0].defined());
    CHECK(kept->inputs[0].item() == 2);
    CHECK(kept->inputs[0].impl->node);
}

// ---- nothing is left behind ---------------------------------------------------------------------

// A little of everything, so that each kind of node is made.
static Tensor forward_of_many_ops(const Tensor& x, const Tensor& w) {
    Rng rng(1);
    Tensor y = linear(x, w, zeros({2}).set_requires_grad());
    y = softmax(relu(y)) + log_softmax(tanh(y)) * sigmoid(y) - exp(dropout(y, 0.5, rng));
    y = mul_row(add_col(y, mean(y, 1)), norm(y, 0)) / add_scalar(y * y, 1);
    return cross_entropy(matmul(y, reshape(w, {2, 3})), std::vector<int>{0, 1, 2}) + sum(clone(y));
}

TEST_CASE("leaks: after backward nothing lives but the leaves and their gradients") {
    const LeakCounter leaks;
    {
        Rng rng(2);
        Tensor x = random_tensor({3, 3}, rng), w = random_tensor({2, 3}, rng);
        Tensor loss = forward_of_many_ops(x, w);
        backward(loss);
        CHECK(leaks.leaked() == 2 * 2 + 1);  // x, w, their gradients, and the loss
    }
    CHECK(leaks.leaked() == 0);
}

TEST_CASE("leaks: without backward everything goes with the last handle") {
    const LeakCounter leaks;
    {
        Rng rng(2);
        Tensor x = random_tensor({3, 3}, rng), w = random_tensor({2, 3}, rng);
        forward_of_many_ops(x, w);
        CHECK(leaks.leaked() == 2);
        Tensor loss = forward_of_many_ops(x, w);
        CHECK(leaks.leaked() > 20);
    }
    CHECK(leaks.leaked() == 0);
}

TEST_CASE("leaks: an op that throws leaves nothing") {
    const LeakCounter leaks;
    {
        Tensor x = ones({2, 3}).set_requires_grad();
        CHECK_ERROR(matmul(2 * x, 3 * x), "matmul");
        CHECK_ERROR(cross_entropy(2 * x, std::vector<int>{0, 9}), "label 9");
    }
    CHECK(leaks.leaked() == 0);
}

TEST_CASE("fault: a graph that crosses threads") {
    Tensor w = tensor({3}).set_requires_grad(), h;
    std::thread([&] { h = scale(scale(scale(w, 2), 1), 1); }).join();
    backward(sum(h));
    CHECK(w.grad().item() == 2);

    // A trunk here, a branch in a thread that has made no node yet, the sum here.
    w.zero_grad();
    for (int i = 0; i < 100; i++) (void)scale(w, 2);
    const Tensor trunk = w * w;
    Tensor branch;
    std::thread([&] { branch = scale(trunk, 10); }).join();
    backward(sum(branch + trunk));
    CHECK(w.grad().item() == 66);
}

// Its backward throws while `armed`.
struct ThrowingNode : Node {
    const bool& armed;
    ThrowingNode(const Tensor& x, const bool& armed) : Node("throwing", {x}), armed(armed) {}
    void backward(const Tensor& y) override {
        check(!armed, "throwing: on purpose");
        inputs[0].mutable_grad()[0] += y.grad_data()[0];
    }
};

TEST_CASE("fault: an exception inside backward leaves no gradient on what is between") {
    bool armed = true;
    Tensor w = tensor({1}).set_requires_grad();
    const Tensor survives = scale(w, 1);
    const Tensor throws =
        record(survives.detach(), std::make_shared<ThrowingNode>(survives, armed));
    CHECK_ERROR(backward(sum(scale(survives, 100) + throws)), "on purpose");
    CHECK(!survives.has_grad());
    backward(sum(survives));
    CHECK(w.grad().item() == 1);
}

TEST_CASE("fault: a leaf that requires a gradient only after its ops ran is an error") {
    Tensor w = tensor({2}), v = tensor({3}).set_requires_grad();
    const Tensor y = w * v + scale(w, 10);
    w.set_requires_grad();
    CHECK_ERROR(backward(sum(y)), "mul", "input 0", "after the op", "hint");
    w.set_requires_grad(false);
    backward(sum(y));  // nothing was consumed by the error
    CHECK(v.grad().item() == 2);

    w.set_requires_grad();
    backward(sum(w * v + scale(w, 10)));
    CHECK(w.grad().item() == 13);
}

TEST_CASE("fault: two losses on one trunk: the second says so, before any gradient is touched") {
    Tensor w = tensor({2}).set_requires_grad();
    const Tensor trunk = w * w, first = scale(trunk, 1), second = scale(trunk, 10) + w;
    backward(first);
    CHECK(w.grad().item() == 4);
    CHECK_ERROR(backward(second), "already used");
    CHECK(w.grad().item() == 4);
}

}  // namespace slim
