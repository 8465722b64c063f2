// LoRA: the branch, the layer, their initialisation, and what a fresh adapter must not change.
#include "nn/adapters/lora.h"

#include "core/gemm.h"
#include "nn/sequential.h"
#include "tests/nn/adapters.h"

namespace slim {

static LoRALayer make_lora(AdapterConfig options, int64_t in = 5, int64_t out = 7) {
    Rng rng(1);
    return LoRALayer(in, out, options, rng);
}

static double mean_square(const Tensor& x) {
    double total = 0;
    for (real v : x.to_vector()) total += double(v) * double(v);
    return total / double(x.size());
}

// ---- options ------------------------------------------------------------------------------------

TEST_CASE("LoRA: the three scalings") {
    CHECK(make_lora({.rank = 4, .alpha = 6, .scaling = Scaling::kAlpha}).scaling() == 6);
    CHECK(make_lora({.rank = 4, .alpha = 6, .scaling = Scaling::kAlphaOverRank}).scaling() == 1.5);
    CHECK(make_lora({.rank = 4, .alpha = 6, .scaling = Scaling::kAlphaOverSqrtRank}).scaling() ==
          3);
    CHECK(make_lora({.rank = 3, .alpha = -6}).scaling() == -2);  // alpha / rank unless told
}

TEST_CASE("LoRA: the scaling multiplies the branch and the change of the weight alike") {
    Rng rng(2);
    const Tensor x = random_tensor({4, 5}, rng, false);
    for (const Scaling scaling :
         {Scaling::kAlpha, Scaling::kAlphaOverRank, Scaling::kAlphaOverSqrtRank}) {
        LoRALayer lora = make_lora({.rank = 3, .alpha = 6, .scaling = scaling});
        train_by_chance(lora, rng);
        const Tensor unscaled = matmul(lora.B, lora.A);
        check_matches(lora.delta_weight(), scale(unscaled, lora.scaling()));
        check_matches(lora(x), scale(matmul_nt(x, unscaled), lora.scaling()));
    }
}

TEST_CASE("fault: the default options are PEFT's; the tutorials' are a preset of their own") {
    const AdapterConfig tutorial = tutorial_preset(4, 8), peft{.rank = 4, .alpha = 8};
    CHECK((tutorial.rank == 4 && tutorial.alpha == 8 && tutorial.dropout == 0));
    CHECK(tutorial.scaling == Scaling::kAlpha);
    CHECK(tutorial.init == InitA::kTutorial);
    CHECK(tutorial.axis == Axis::kIn);
    CHECK(tutorial.norm_gradient == NormGradient::kExact);
    CHECK((AdapterConfig{}.rank == 8 && AdapterConfig{}.alpha == 8 && peft.dropout == 0));
    CHECK(peft.scaling == Scaling::kAlphaOverRank);
    CHECK(peft.init == InitA::kKaiming);
    CHECK(peft.axis == Axis::kOut);
    CHECK(peft.norm_gradient == NormGradient::kDetached);
}

TEST_CASE("fault: a layer prints the scaling and the formula that it comes from") {
    CHECK(tutorial_preset(2, 4).text() == "rank=2, alpha=4, scaling=4 (alpha)");
    AdapterConfig options{.rank = 4, .alpha = 2, .dropout = 0.5};
    CHECK(options.text() == "rank=4, alpha=2, scaling=0.5 (alpha / rank), dropout=0.5");
    options.scaling = Scaling::kAlphaOverSqrtRank;
    CHECK(options.text() == "rank=4, alpha=2, scaling=1 (alpha / sqrt(rank)), dropout=0.5");
    CHECK(make_lora({.rank = 3, .alpha = 6}).extra() ==
          "in_features=5, out_features=7, rank=3, alpha=6, scaling=2 (alpha / rank)");
}

TEST_CASE("LoRA: a rank below 1, a dropout outside 0 to 1, an alpha that is no number: errors") {
    CHECK_ERROR(make_lora({.rank = 0}), "adapter", "rank 0", "at least 1");
    CHECK_ERROR(make_lora({.rank = -2}), "adapter", "rank -2");
    CHECK_ERROR(make_lora({.dropout = -0.1}), "adapter", "dropout -0.1", "between 0 and 1");
    CHECK_ERROR(make_lora({.dropout = 1.1}), "adapter", "dropout 1.1");
    CHECK_ERROR(make_lora({.dropout = std::nan("")}), "adapter", "dropout nan");
    CHECK_ERROR(make_lora({.alpha = std::nan("")}), "adapter", "alpha nan", "finite");
    CHECK_ERROR(make_lora({.alpha = INFINITY}), "adapter", "alpha inf", "finite");
}

// ---- initialisation -----------------------------------------------------------------------------

TEST_CASE("LoRA: B starts at zero whatever the initialisation of A") {
    for (const InitA init : {InitA::kKaiming, InitA::kGaussian, InitA::kTutorial}) {
        const LoRALayer lora = make_lora({.rank = 3, .init = init});
        CHECK(same_bits(lora.B, zeros({7, 3})));
        CHECK(lora.A.shape() == Shape{3, 5});
        CHECK(mean_square(lora.A) > 0);
    }
}

TEST_CASE("LoRA: A from kaiming is uniform within torch.nn.Linear's bound") {
    const double bound = Reference("init.txt")["linear784.weight_bound"].item();
    const Tensor A = make_lora({.rank = 40, .init = InitA::kKaiming}, 784, 7).A;
    double largest = 0;
    for (real v : A.to_vector()) largest = std::max(largest, std::fabs(double(v)));
    CHECK(largest <= bound * (1 + 1e-7));
    CHECK(largest >= 0.99 * bound);
    CHECK(mean_square(A) == relative(bound * bound / 3, 0.03));
    CHECK(std::fabs(mean(A).item()) < 0.02 * bound);  // below zero as often as above
}

TEST_CASE("LoRA: A from gaussian and tutorial has deviation 1/rank and 1/sqrt(rank)") {
    const int64_t rank = 16;
    for (const auto& [init, deviation] :
         {std::pair{InitA::kGaussian, 1.0 / 16}, std::pair{InitA::kTutorial, 1.0 / 4}}) {
        const Tensor A = make_lora({.rank = rank, .init = init}, 1000, 7).A;
        // The relative error of a mean square of n normal numbers is sqrt(2 / n): five of those.
        CHECK(mean_square(A) ==
              relative(deviation * deviation, 5 * std::sqrt(2.0 / 16000)));
        CHECK(std::fabs(mean(A).item()) < 5 * deviation / std::sqrt(16000.0));
        double largest = 0;
        for (real v : A.to_vector()) largest = std::max(largest, std::fabs(double(v)));
        CHECK(largest > 3 * deviation);  // normal, not uniform
    }
}

TEST_CASE("LoRA: the same seed gives the same adapter and the same dropout") {
    Rng one(3), again(3), rng(4);
    const AdapterConfig options{.rank = 3, .alpha = 6, .dropout = 0.5};
    LoRALayer a(5, 7, options, one), b(5, 7, options, again);
    CHECK(same_bits(a.A, b.A));
    train_by_chance(a, rng);
    b.load_state_dict(a.state_dict());
    const Tensor x = random_tensor({4, 5}, rng, false);
    CHECK(same_bits(a(x), b(x)));
}

TEST_CASE("LoRA: parameters and printing") {
    Rng rng(5);
    LinearWithLoRA layer(frozen_linear(5, 7, rng), {.rank = 3, .alpha = 6, .dropout = 0.25}, rng);
    const StateDict state = layer.state_dict();
    for (const std::string name : {"linear.weight", "linear.bias", "lora.A", "lora.B"})
        CHECK(state.count(name) == 1);
    CHECK(state.size() == 4);
    const std::string text = to_string(layer);
    for (const std::string part :
         {"LinearWithLoRA(", "(linear): Linear(in_features=5, out_features=7", "(lora): LoRALayer(",
          "rank=3", "alpha=6", "scaling=2", "dropout=0.25"})
        CHECK(text.find(part) != std::string::npos);
}

// ---- forward and backward -----------------------------------------------------------------------

TEST_CASE("LinearWithLoRA: a fresh adapter leaves the output as it was to the bit") {
    Rng rng(6);
    for (const double p : {0.0, 0.5})
        for (const bool bias : {true, false}) {
            auto linear = frozen_linear(784, 128, rng, bias);
            LinearWithLoRA layer(linear, {.rank = 4, .alpha = 6, .dropout = p}, rng);
            const Tensor x = random_tensor({64, 784}, rng, false);
            const Tensor base = (*linear)(x);
            CHECK(same_bits(layer(x), base));  // training
            layer.eval();
            CHECK(same_bits(layer(x), base));
        }
}

TEST_CASE("LinearWithLoRA: PyTorch's output and gradients") {
    const Reference torch("adapters.txt");
    auto layer = reference_layer<LinearWithLoRA>(torch);
    layer->linear->weight.set_requires_grad();  // once, to see its gradient too
    CHECK(layer->lora.scaling() == double(torch["s"].item()));
    const Results got = forward_backward(*layer, torch["x"], torch["dy"]);
    check_matches(got.at("y"), torch["lora.y"]);
    check_matches(got.at("dx"), torch["lora.dx"]);
    check_matches(got.at("dA"), torch["lora.dA"]);
    check_matches(got.at("dB"), torch["lora.dB"]);
    check_matches(got.at("dweight"), torch["lora.dW"]);
    check_matches(got.at("dbias"), torch["lora.db"]);
}

TEST_CASE("LinearWithLoRA: gradients of x, A, B and the bias over a frozen weight") {
    Rng rng(7);
    for (const bool bias : {true, false}) {
        LinearWithLoRA layer(frozen_linear(5, 7, rng, bias), {.rank = 3, .alpha = 6}, rng);
        train_by_chance(layer, rng);
        std::vector<Tensor> inputs{random_tensor({2, 5}, rng), layer.lora.A, layer.lora.B};
        if (bias) inputs.push_back(layer.linear->bias);
        check_op([&](const std::vector<Tensor>& in) { return layer(in[0]); }, inputs);
    }
}

TEST_CASE("LinearWithLoRA: one row, one input, one output, a rank above both") {
    Rng rng(8);
    for (const Shape& s : {Shape{1, 5, 3, 2}, Shape{3, 1, 5, 2}, Shape{3, 5, 1, 2},
                           Shape{2, 3, 2, 7}, Shape{0, 5, 3, 2}}) {
        INFO("batch, in, out, rank: " << to_text(s));
        LinearWithLoRA layer(frozen_linear(s[1], s[2], rng), {.rank = s[3], .alpha = 6}, rng);
        train_by_chance(layer, rng);
        check_gradients([&](const std::vector<Tensor>& in) { return layer(in[0]); },
                        {random_tensor({s[0], s[1]}, rng), layer.lora.A, layer.lora.B});
    }
}

TEST_CASE("LinearWithLoRA: a frozen weight gets no gradient buffer, and no work is done for one") {
    Rng rng(9);
    const int64_t batch = 32, in = 96, out = 80;
    LinearWithLoRA layer(frozen_linear(in, out, rng), {.rank = 2, .alpha = 6}, rng);
    layer.linear->bias.set_requires_grad(false);
    train_by_chance(layer, rng);
    const Tensor x = random_tensor({batch, in}, rng, false);
    const int64_t before = gemm_count().flops;
    backward(sum(layer(x)));
    CHECK(layer.linear->weight.grad_data() == nullptr);
    CHECK(layer.linear->bias.grad_data() == nullptr);
    CHECK(layer.lora.A.grad_data() != nullptr);
    // The forward product with W, and those with A and B: neither W's gradient nor x's.
    CHECK(gemm_count().flops - before < 1.5 * 2 * batch * in * out);
}

TEST_CASE("LinearWithLoRA: the same function as a Linear with the weight W + s B A") {
    const Reference torch("adapters.txt");
    auto layer = reference_layer<LinearWithLoRA>(torch);
    const Tensor merged = layer->linear->weight + layer->lora.delta_weight();
    check_matches(merged, torch["lora.merged"]);
    CHECK(same_bits(layer->merged_weight(), merged));
    check_matches((*layer)(torch["x"]), linear(torch["x"], merged, layer->linear->bias));
}

TEST_CASE("LinearWithLoRA: delta_weight has the gradients of the product it is") {
    Rng rng(10);
    LoRALayer lora = make_lora({.rank = 3, .alpha = 6});
    train_by_chance(lora, rng);
    check_op([&](const std::vector<Tensor>&) { return lora.delta_weight(); }, {lora.A, lora.B});
}

TEST_CASE("LinearWithLoRA: dropout touches the adapter's input only, and only in training") {
    Rng rng(11);
    LinearWithLoRA layer(frozen_linear(5, 7, rng), {.rank = 3, .alpha = 6, .dropout = 0.5}, rng);
    train_by_chance(layer, rng);
    const Tensor x = random_tensor({4, 5}, rng, false);

    Rng same_mask = layer.lora.rng;
    const Tensor dropped = dropout(x, 0.5, same_mask);
    const Tensor delta = layer.lora.delta_weight();
    check_matches(layer(x), (*layer.linear)(x) + matmul_nt(dropped, delta));

    layer.eval();
    const uint64_t state = layer.lora.rng.state;
    check_matches(layer(x), (*layer.linear)(x) + matmul_nt(x, delta));
    CHECK(layer.lora.rng.state == state);
}

TEST_CASE("LinearWithLoRA: gradients through dropout") {
    Rng rng(12);
    LinearWithLoRA layer(frozen_linear(5, 7, rng), {.rank = 3, .alpha = 6, .dropout = 0.5}, rng);
    train_by_chance(layer, rng);
    const Rng start = layer.lora.rng;
    check_op(
        [&](const std::vector<Tensor>& in) {
            layer.lora.rng = start;
            return layer(in[0]);
        },
        {random_tensor({3, 5}, rng), layer.lora.A, layer.lora.B});
}

// ---- lora_linear --------------------------------------------------------------------------------

TEST_CASE("lora_linear: gradients of all its inputs, also with one tensor as both x") {
    Rng rng(13);
    const Tensor W = random_tensor({7, 5}, rng), bias = random_tensor({7}, rng);
    const Tensor A = random_tensor({3, 5}, rng), B = random_tensor({7, 3}, rng);
    const Tensor x = random_tensor({2, 5}, rng), xa = random_tensor({2, 5}, rng);
    check_op(
        [](const std::vector<Tensor>& in) {
            return lora_linear(in[0], in[1], in[2], in[3], in[4], in[5], 0.7);
        },
        {x, W, bias, xa, A, B});
    check_op(
        [&](const std::vector<Tensor>& in) {
            return lora_linear(in[0], W, {}, in[0], in[1], in[2], 0.7);
        },
        {x, A, B});
}

TEST_CASE("lora_linear: equal to the composition it replaces, on a quantised weight too") {
    Rng rng(14);
    const Tensor W = random_tensor({7, 5}, rng, false), bias = random_tensor({7}, rng, false);
    const Tensor A = random_tensor({3, 5}, rng, false), B = random_tensor({7, 3}, rng, false);
    const Tensor x = random_tensor({4, 5}, rng, false), xa = random_tensor({4, 5}, rng, false);
    const Tensor branch = scale(matmul_nt(matmul_nt(xa, A), B), 0.7);
    check_matches(lora_linear(x, W, bias, xa, A, B, 0.7), linear(x, W, bias) + branch);
    const auto int8 = std::make_shared<QuantizedMatrix>(W, Quantization::kInt8);
    check_matches(lora_linear(x, Weight(int8), bias, xa, A, B, 0.7),
                  linear(x, int8->dequantized(), bias) + branch);
}

TEST_CASE("lora_linear: shapes that do not fit, and inputs changed before backward, are errors") {
    Rng rng(15);
    const Tensor W = ones({7, 5}), A = ones({3, 5}), x = ones({2, 5});
    Tensor B = ones({7, 3}).set_requires_grad();
    const auto call = [&](const Tensor& x, const Tensor& bias, const Tensor& xa, const Tensor& A) {
        return lora_linear(x, W, bias, xa, A, B, 1);
    };
    CHECK_ERROR(call(ones({2, 4}), {}, x, A), "lora_linear", "(2, 4)", "(7, 5)");
    CHECK_ERROR(call(x, ones({5}), x, A), "lora_linear", "(5)", "must be (7)");
    CHECK_ERROR(call(x, {}, ones({3, 5}), A), "lora_linear", "(3, 5)", "(2, 5)");
    CHECK_ERROR(call(x, {}, x, ones({2, 5})), "lora_linear", "(2, 5)", "(7, 3)");
    const Tensor y = call(x, {}, x, A);
    B.mutable_data()[0] = 2;
    CHECK_ERROR(backward(sum(y)), "lora_linear", "changed in place");
}

TEST_CASE("fault: an adapter goes around a layer in one line, and only around a Linear") {
    Rng rng(1);
    MLP model(5, 4, 3, 2, rng);
    const Tensor x = random_tensor({3, 5}, rng, false), before = model(x);
    model.layers[0] = std::make_shared<LinearWithLoRA>(model.layers[0], tutorial_preset(2, 4), rng);
    CHECK(same_bits(model(x), before));
    CHECK(model.layers[0]->name() == "LinearWithLoRA");
    CHECK_ERROR(LinearWithLoRA(model.layers[1], tutorial_preset(2, 4), rng), "expected a Linear",
                "got ReLU");
    CHECK_ERROR(LinearWithLoRA(model.layers[0], tutorial_preset(2, 4), rng), "got LinearWithLoRA");
    CHECK_ERROR(LinearWithLoRA(ModulePtr(), tutorial_preset(2, 4), rng), "got nothing");
}

TEST_CASE("lora: a new Linear with an adapter, from its sizes alone") {
    Rng rng(1);
    LinearWithLoRA layer(5, 3, {.rank = 2}, rng), no_bias(5, 3, {.rank = 2}, rng, false);
    CHECK(layer(random_tensor({4, 5}, rng, false)).shape() == Shape{4, 3});
    CHECK(layer.linear->bias.defined());
    CHECK(!no_bias.linear->bias.defined());
}

TEST_CASE("fault: dropout draws from a stream of its own, not from that of the next A") {
    Rng seed(7);
    LoRALayer layer(5, 7, {.rank = 2, .dropout = 0.5}, seed);
    CHECK(layer.rng.state != seed.state);
    Rng same(7);
    LoRALayer twin(5, 7, {.rank = 2, .dropout = 0.5}, same);
    CHECK(layer.rng.state == twin.rng.state);  // and the same seed gives the same stream
}

}  // namespace slim
