// DoRA: the definition against PyTorch, the factored form against the definition, and gradients.
#include "nn/adapters/dora.h"

#include "core/gemm.h"
#include "nn/adapters/adapt.h"
#include "nn/sequential.h"
#include "tests/nn/adapters.h"

namespace slim {

static void check_against_torch(const Results& got, const Reference& torch, Axis axis,
                                NormGradient gradient) {
    const std::string name = axis_name(axis) + ".";
    const std::string gradients = name + gradient_name(gradient) + ".";
    check_matches(got.at("y"), torch[name + "y"]);
    check_matches(got.at("dbias"), torch[gradients + "db"]);
    for (const std::string d : {"dx", "dA", "dB", "dm"}) {
        INFO(d);
        check_matches(got.at(d), torch[gradients + d]);
    }
}

TEST_CASE("LinearWithDoRAMerged: PyTorch's numbers, W's gradient too, both axes, both gradients") {
    const Reference torch("adapters.txt");
    for (const Axis axis : kAxes)
        for (const NormGradient gradient : kNormGradients) {
            INFO(axis_name(axis) << " " << gradient_name(gradient));
            auto layer = reference_layer<LinearWithDoRAMerged>(
                torch, {.axis = axis, .norm_gradient = gradient});
            layer->linear->weight.set_requires_grad();
            const Results got = forward_backward(*layer, torch["x"], torch["dy"]);
            check_against_torch(got, torch, axis, gradient);
            check_matches(got.at("dweight"),
                          torch[axis_name(axis) + "." + gradient_name(gradient) + ".dW"]);
        }
}

TEST_CASE("LinearWithDoRA: PyTorch's numbers over a frozen weight, both axes, both gradients") {
    const Reference torch("adapters.txt");
    for (const Axis axis : kAxes)
        for (const NormGradient gradient : kNormGradients) {
            INFO(axis_name(axis) << " " << gradient_name(gradient));
            auto layer = reference_layer<LinearWithDoRA>(
                torch, {.axis = axis, .norm_gradient = gradient});
            check_against_torch(forward_backward(*layer, torch["x"], torch["dy"]), torch, axis,
                                gradient);
            CHECK(layer->linear->weight.grad_data() == nullptr);
        }
}

TEST_CASE("LinearWithDoRA: a weight that is trained as well gets its gradient too") {
    const Reference torch("adapters.txt");
    for (const Axis axis : kAxes)
        for (const NormGradient gradient : kNormGradients) {
            auto layer = reference_layer<LinearWithDoRA>(
                torch, {.axis = axis, .norm_gradient = gradient});
            layer->linear->weight.set_requires_grad();
            const Results got = forward_backward(*layer, torch["x"], torch["dy"]);
            check_against_torch(got, torch, axis, gradient);
            check_matches(got.at("dweight"),
                          torch[axis_name(axis) + "." + gradient_name(gradient) + ".dW"]);
        }
}

TEST_CASE("DoRA: the merged weight is PyTorch's, and makes a Linear of the same function") {
    const Reference torch("adapters.txt");
    for (const Axis axis : kAxes) {
        auto layer = reference_layer<LinearWithDoRA>(torch, {.axis = axis});
        const Tensor merged = layer->merged_weight();
        check_matches(merged, torch[axis_name(axis) + ".merged"]);
        check_matches((*layer)(torch["x"]), linear(torch["x"], merged, layer->linear->bias));
    }
}

TEST_CASE("DoRA: the factored form is the merged one, in outputs and gradients, at many sizes") {
    Rng rng(1);
    for (const Shape& s : {Shape{5, 7, 11, 3}, Shape{5, 11, 7, 3}, Shape{1, 7, 5, 2},
                           Shape{3, 1, 5, 2}, Shape{3, 5, 1, 2}, Shape{2, 3, 5, 13},
                           Shape{17, 131, 67, 4}, Shape{300, 67, 131, 4},
                           Shape{9, 520, 512, 3}})
        for (const Axis axis : kAxes)
            for (const NormGradient gradient : kNormGradients)
                for (const bool bias : {true, false}) {
                    INFO("batch, in, out, rank: " << to_text(s) << " " << axis_name(axis) << " "
                                                  << gradient_name(gradient));
                    const AdapterConfig options{
                        .rank = s[3], .alpha = 5, .axis = axis, .norm_gradient = gradient};
                    auto linear = frozen_linear(s[1], s[2], rng, bias);
                    LinearWithDoRA factored(linear, options, rng);
                    LinearWithDoRAMerged merged(linear, options, rng);
                    train_by_chance(factored, rng);
                    merged.load_state_dict(factored.state_dict());

                    const Tensor x = random_tensor({s[0], s[1]}, rng, false);
                    const Tensor dy = random_tensor({s[0], s[2]}, rng, false);
                    const Results got = forward_backward(factored, x, dy);
                    const Results want = forward_backward(merged, x, dy);
                    CHECK(got.size() == (bias ? 6 : 5));
                    REQUIRE(want.size() == got.size());
                    for (const auto& entry : want) {
                        INFO(entry.first);
                        // A norm of one element has an exact gradient of 0, the difference of
                        // terms that can be large: hence 1e-4.
                        check_matches(got.at(entry.first), entry.second, kDouble ? 1e-12 : 1e-4);
                    }
                }
}

TEST_CASE("DoRA: exact gradients of x, A, B, m and the bias, both forms, both axes") {
    Rng rng(2);
    const auto check_form = [&](DoRABase& layer) {
        train_by_chance(layer, rng);
        check_op([&](const std::vector<Tensor>& in) { return layer(in[0]); },
                 {random_tensor({2, 5}, rng), layer.lora.A, layer.lora.B, layer.m,
                  layer.linear->bias});
    };
    for (const Axis axis : kAxes) {
        INFO(axis_name(axis));
        const AdapterConfig options{
            .rank = 3, .alpha = 5, .axis = axis, .norm_gradient = NormGradient::kExact};
        LinearWithDoRA factored(frozen_linear(5, 7, rng), options, rng);
        LinearWithDoRAMerged merged(frozen_linear(5, 7, rng), options, rng);
        check_form(factored);
        check_form(merged);
    }
}

TEST_CASE("DoRA: exact and detached agree in y, dx and dm, and differ in dA and dB") {
    const Reference torch("adapters.txt");
    for (const Axis axis : kAxes) {
        auto exact = reference_layer<LinearWithDoRA>(
            torch, {.axis = axis, .norm_gradient = NormGradient::kExact});
        auto detached = reference_layer<LinearWithDoRA>(
            torch, {.axis = axis, .norm_gradient = NormGradient::kDetached});
        Results a = forward_backward(*exact, torch["x"], torch["dy"]);
        Results b = forward_backward(*detached, torch["x"], torch["dy"]);
        for (const std::string same : {"y", "dx", "dm"}) CHECK(same_bits(a.at(same), b.at(same)));
        for (const std::string other : {"dA", "dB"})
            CHECK(largest_difference(a.at(other), b.at(other)) > 0.1);
    }
}

TEST_CASE("DoRA: a step over a frozen weight does about LoRA's work, the definition far more") {
    Rng rng(3);
    const int64_t batch = 64, in = 192, out = 160;
    const auto flops = [&](Module& layer, Tensor x) {
        const int64_t before = gemm_count().flops;
        backward(sum(layer(x)));
        return double(gemm_count().flops - before);
    };
    auto linear = frozen_linear(in, out, rng);
    const Tensor x = random_tensor({batch, in}, rng);
    LinearWithLoRA lora(linear, {.rank = 4}, rng);
    for (const Axis axis : kAxes) {
        LinearWithDoRA dora(linear, {.rank = 4, .axis = axis}, rng);
        LinearWithDoRAMerged merged(linear, {.rank = 4, .axis = axis}, rng);
        const double cheap = flops(lora, x), exact = flops(dora, x), full = flops(merged, x);
        CHECK(exact < 1.25 * cheap);
        CHECK(full > 1.3 * cheap);
    }
}

TEST_CASE("DoRA: what 784-128-256-10 has to train") {
    const auto trainable = [](Method method, Axis axis) {
        Rng rng(4);
        MLP model(784, 128, 256, 10, rng);
        attach(model, {.method = method, .rank = 4, .axis = axis}, rng);
        return count_parameters(model);
    };
    CHECK(trainable(Method::kLoRA, Axis::kOut).trainable == 6248);
    for (const Method method : {Method::kDoRA, Method::kDoRAMerged}) {
        CHECK(trainable(method, Axis::kOut).trainable == 6248 + 394);
        CHECK(trainable(method, Axis::kIn).trainable == 6248 + 1168);
        CHECK(trainable(method, Axis::kOut).all == 136074 + 6248 + 394);
    }
}

TEST_CASE("DoRA: parameters and printing") {
    Rng rng(5);
    LinearWithDoRA layer(frozen_linear(5, 7, rng), tutorial_preset(3, 6), rng);
    const StateDict state = layer.state_dict();
    CHECK(state.size() == 5);
    CHECK(state.at("m").shape() == Shape{5});
    CHECK(state.count("linear.weight") + state.count("lora.A") + state.count("lora.B") == 3);
    const std::string text = to_string(layer);
    for (const std::string part : {"LinearWithDoRA(", "magnitude per input", "norm gradient exact",
                             "(linear): Linear(", "(lora): LoRALayer("})
        CHECK(text.find(part) != std::string::npos);
    LinearWithDoRAMerged other(frozen_linear(5, 7, rng), {.rank = 3, .alpha = 6}, rng);
    CHECK(other.m.shape() == Shape{7});
    CHECK(to_string(other).find("magnitude per output, norm gradient detached") !=
          std::string::npos);
}

// ---- the ops ------------------------------------------------------------------------------------

namespace {

// The operands of dora_scale: a weight [7, 5] and an adapter of rank 3.
struct Operands {
    Tensor W, A, B, m;
    std::vector<double> norms;

    explicit Operands(Rng& rng, Axis axis = Axis::kOut)
        : W(random_tensor({7, 5}, rng, false)), A(random_tensor({3, 5}, rng)),
          B(random_tensor({7, 3}, rng)), m(random_tensor({axis == Axis::kOut ? 7 : 5}, rng)),
          norms(squared_norms(W, axis == Axis::kOut ? 1 : 0)) {}
};

}  // namespace

TEST_CASE("dora_scale: gradients of A, B and m, both axes") {
    Rng rng(6);
    for (const Axis axis : kAxes) {
        INFO(axis_name(axis));
        const Operands o(rng, axis);
        check_op(
            [&](const std::vector<Tensor>& in) {
                return dora_scale(o.W, o.norms, in[0], in[1], in[2], 0.7, axis,
                                  NormGradient::kExact);
            },
            {o.A, o.B, o.m});
    }
}

TEST_CASE("dora_scale: detached, the gradient of m is the same, and A and B get none") {
    Rng rng(7);
    for (const Axis axis : kAxes) {
        Operands o(rng, axis);
        std::vector<std::vector<real>> dm;
        for (const NormGradient gradient : kNormGradients) {
            for (Tensor* x : {&o.A, &o.B, &o.m}) x->zero_grad();
            backward(sum(dora_scale(o.W, o.norms, o.A, o.B, o.m, 0.7, axis, gradient)));
            dm.push_back(o.m.grad().to_vector());
        }
        CHECK(dm[0] == dm[1]);
        CHECK(o.A.grad_data() == nullptr);
        CHECK(o.B.grad_data() == nullptr);
    }
}

TEST_CASE("dora_scale, magnitude_over_norm: shapes that do not fit are errors") {
    Rng rng(10);
    const Operands o(rng);
    const auto call = [&](const Tensor& A, const Tensor& B, const Tensor& m, Axis axis) {
        return dora_scale(o.W, o.norms, A, B, m, 1, axis, NormGradient::kExact);
    };
    CHECK_ERROR(call(ones({3, 4}), o.B, o.m, Axis::kOut), "dora_scale", "(3, 4)", "(7, 5)");
    CHECK_ERROR(call(o.A, ones({7, 2}), o.m, Axis::kOut), "dora_scale", "(7, 2)", "(7, 5)");
    CHECK_ERROR(call(o.A, o.B, o.m, Axis::kIn), "dora_scale", "(7)", "5 elements");
    CHECK_ERROR(magnitude_over_norm(ones({3}), ones({4})), "magnitude_over_norm", "(3)", "(4)");

    Tensor trained = clone(o.W).set_requires_grad();
    CHECK_ERROR(dora_scale(trained, o.norms, o.A, o.B, o.m, 1, Axis::kOut, NormGradient::kExact),
                "dora_scale", "requires a gradient", "hint");
}

TEST_CASE("magnitude_over_norm: gradients; 1 and no gradient where the norm is zero") {
    Rng rng(11);
    check_op([](const std::vector<Tensor>& in) { return magnitude_over_norm(in[0], in[1]); },
             {random_tensor({5}, rng), positive_tensor({5}, rng)});
    Tensor m = tensor({3, 5}).set_requires_grad(), n = tensor({2, 0}).set_requires_grad();
    const Tensor c = magnitude_over_norm(m, n);
    backward(sum(c));
    CHECK(c.to_vector() == std::vector<real>{1.5, 1});
    CHECK(m.grad().to_vector() == std::vector<real>{0.5, 0});
    CHECK(n.grad().to_vector() == std::vector<real>{-0.75, 0});
}

}  // namespace slim
