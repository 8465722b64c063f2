// DoRA where it is delicate: fresh adapters, zero rows, cancellation, the cache, dropout.
#include <cstdio>
#include <functional>

#include "core/gemm.h"
#include "nn/adapters/dora.h"
#include "nn/dropout.h"
#include "optim/sgd.h"
#include "tests/nn/adapters.h"

namespace slim {

static int64_t summed_axis(Axis axis) { return axis == Axis::kOut ? 1 : 0; }

// ---- fresh adapters -----------------------------------------------------------------------------

TEST_CASE("DoRA: the magnitude starts as the norm of each row, or column, of W") {
    Rng rng(1);
    auto linear = frozen_linear(3, 2, rng);
    linear->load_state_dict({{"weight", tensor({3, 4, 0, 1, 2, 2}, {2, 3})}, {"bias", zeros({2})}});
    LinearWithDoRA out(linear, {.rank = 2, .axis = Axis::kOut}, rng);
    CHECK(out.m.to_vector() == std::vector<real>{5, 3});
    CHECK(out.m.requires_grad());
    LinearWithDoRA in(linear, {.rank = 2, .axis = Axis::kIn}, rng);
    check_close(in.m, tensor({std::sqrt(real(10)), std::sqrt(real(20)), 2}), 1e-6, 0);
}

TEST_CASE("DoRA: a fresh adapter scales by exactly 1") {
    Rng rng(2);
    for (const auto& [out, in] : {std::pair{7, 5}, std::pair{128, 784}, std::pair{10, 256}})
        for (const Axis axis : kAxes) {
            LinearWithDoRA layer(frozen_linear(in, out, rng), {.rank = 4, .axis = axis}, rng);
            const Weight W = layer.linear->weight;
            const Tensor c = dora_scale(W, W.squared_norms(summed_axis(axis)), layer.lora.A,
                                        layer.lora.B, layer.m, 2, axis, NormGradient::kExact);
            CHECK(same_bits(c, ones({axis == Axis::kOut ? out : in})));
        }
}

TEST_CASE("DoRA: a fresh adapter leaves the output as it was to the bit") {
    Rng rng(3);
    for (const Shape& s : {Shape{4, 5, 7}, Shape{64, 784, 128}, Shape{1, 784, 128},
                           Shape{500, 256, 10}, Shape{64, 512, 640}, Shape{5, 640, 520}})
        for (const Axis axis : kAxes)
            for (const double p : {0.0, 0.5})
                for (const bool bias : {true, false}) {
                    INFO("batch, in, out: " << to_text(s) << " " << axis_name(axis) << " dropout "
                                            << p << " bias " << bias);
                    auto linear = frozen_linear(s[1], s[2], rng, bias);
                    LinearWithDoRA layer(
                        linear, {.rank = 4, .alpha = 6, .dropout = p, .axis = axis}, rng);
                    const Tensor x = random_tensor({s[0], s[1]}, rng, false);
                    const Tensor base = (*linear)(x);
                    CHECK(same_bits(layer(x), base));
                    layer.eval();
                    CHECK(same_bits(layer(x), base));
                    NoGrad no_grad;
                    CHECK(same_bits(layer(x), base));
                    CHECK(same_bits(layer(x), base));  // from the cache
                    CHECK(same_bits(layer.merged_weight(), linear->weight));
                }
}

TEST_CASE("LinearWithDoRAMerged: a fresh adapter leaves the output as it was to the bit") {
    Rng rng(4);
    for (const Axis axis : kAxes) {
        auto linear = frozen_linear(784, 128, rng);
        LinearWithDoRAMerged layer(linear, {.rank = 4, .axis = axis}, rng);
        const Tensor x = random_tensor({64, 784}, rng, false);
        CHECK(same_bits(layer(x), (*linear)(x)));
    }
}

// ---- rows of zeros ------------------------------------------------------------------------------

// A Linear 5 -> 7 whose outputs 2 and 6, or inputs 0 and 3, have no weight at all.
static std::shared_ptr<Linear> linear_with_zeros(Axis axis, Rng& rng) {
    auto linear = frozen_linear(5, 7, rng);
    real* W = linear->weight.mutable_data();
    for (int64_t j = 0; j < 7; j++)
        for (int64_t k = 0; k < 5; k++)
            if (axis == Axis::kOut ? j == 2 || j == 6 : k == 0 || k == 3) W[j * 5 + k] = 0;
    return linear;
}

TEST_CASE("DoRA: making an adapter over rows or columns of zeros warns once and names them") {
    Rng rng(5);
    const auto warning = [&](Axis axis, bool with_zeros) {
        auto linear = with_zeros ? linear_with_zeros(axis, rng) : frozen_linear(5, 7, rng);
        return stderr_of([&] {
            LinearWithDoRA layer(linear, {.rank = 3, .axis = axis}, rng);
            layer(ones({2, 5}));
            layer(ones({2, 5}));
        });
    };
    check_words(warning(Axis::kOut, true), {"DoRA: rows 2, 6 "});
    check_words(warning(Axis::kIn, true), {"DoRA: columns 0, 3 "});
    const std::string once = warning(Axis::kOut, true);
    CHECK(std::count(once.begin(), once.end(), '\n') == 1);
    CHECK(warning(Axis::kOut, false) == "");
}

TEST_CASE("DoRA: a row or column of zeros keeps outputs, gradients and merged weight finite") {
    Rng rng(6);
    const Tensor x = random_tensor({4, 5}, rng, false), dy = random_tensor({4, 7}, rng, false);
    const auto check_form = [&](DoRABase& layer) {
        for (int step = 0; step < 2; step++) {  // with B zero, and after B and m have moved
            const Results got = forward_backward(layer, x, dy);
            for (const auto& entry : got) {
                INFO(entry.first << " in step " << step);
                CHECK(all_finite(entry.second));
            }
            if (step == 0) CHECK(same_bits(got.at("y"), (*layer.linear)(x)));
            CHECK(all_finite(layer.merged_weight()));
            SGD(layer.parameters(), {.lr = 0.1}).step();
        }
    };
    for (const Axis axis : kAxes)
        for (const NormGradient gradient : kNormGradients) {
            INFO(axis_name(axis) << " " << gradient_name(gradient));
            const AdapterConfig options{
                .rank = 3, .alpha = 5, .axis = axis, .norm_gradient = gradient};
            stderr_of([&] {
                LinearWithDoRA factored(linear_with_zeros(axis, rng), options, rng);
                LinearWithDoRAMerged merged(linear_with_zeros(axis, rng), options, rng);
                check_form(factored);
                check_form(merged);
            });
        }
}

TEST_CASE("fault: DoRA: a column of 1e-16 gives finite gradients, and none through its scale") {
    Rng rng(1);
    stderr_of([&] {
        for (const bool merged : {false, true}) {
            INFO(merged);
            auto linear = std::make_shared<Linear>(tensor({1, 1e-16f}, {1, 2}));
            const AdapterConfig options{.rank = 1, .alpha = 1, .axis = Axis::kIn,
                                         .norm_gradient = NormGradient::kExact};
            std::shared_ptr<DoRABase> layer;
            if (merged) layer = std::make_shared<LinearWithDoRAMerged>(linear, options, rng);
            else layer = std::make_shared<LinearWithDoRA>(linear, options, rng);
            copy_values(tensor({1, 1}, {1, 2}), layer->lora.A);
            backward(sum((*layer)(tensor({1, 0}, {1, 2}))));
            CHECK(layer->lora.A.grad().to_vector() == std::vector<real>{0, 0});
            CHECK(layer->lora.B.grad().item() == 0);
            CHECK(layer->m.grad().to_vector() == std::vector<real>{1, 0});
        }
    });
}

TEST_CASE("fault: DoRA: norms from 1e-37 to 1e18: finite, and factored is merged") {
    Rng rng(2);
    const int64_t in = 9, out = 6;
    const Tensor x = random_tensor({4, in}, rng, false), dy = random_tensor({4, out}, rng, false);
    const Tensor W = random_tensor({out, in}, rng, false), B = random_tensor({out, 3}, rng, false);
    for (const double size : {1e-37, 1e-30, 1e-23, 1e-20, 1e-16, 1e-14, 1e-11, 1e-6, 1.0, 1e6, 1e12,
                              1e18})
        for (const Axis axis : kAxes)
            for (const NormGradient gradient : kNormGradients)
                for (const bool fresh : {true, false}) {
                    INFO(size << " " << axis_name(axis) << " " << gradient_name(gradient));
                    const AdapterConfig options{
                        .rank = 3, .alpha = 3, .axis = axis, .norm_gradient = gradient};
                    Rng same(3), too(3);
                    std::shared_ptr<DoRABase> factored, merged;
                    const auto linear = std::make_shared<Linear>((size * W).detach());
                    stderr_of([&] {
                        factored = std::make_shared<LinearWithDoRA>(linear, options, same);
                        merged = std::make_shared<LinearWithDoRAMerged>(linear, options, too);
                    });
                    for (const auto& layer : {factored, merged})
                        if (!fresh) copy_values((size * B).detach(), layer->lora.B);
                    const Results a = forward_backward(*factored, x, dy),
                                  b = forward_backward(*merged, x, dy);
                    for (const auto& [name, value] : a) {
                        INFO(name);
                        CHECK(all_finite(value));
                        double largest = 0;
                        for (real v : b.at(name).to_vector())
                            largest = std::max(largest, std::fabs(double(v)));
                        CHECK(largest_difference(value, b.at(name)) <= 2e-5 * largest);
                    }
                }
}

// ---- cancellation -------------------------------------------------------------------------------

TEST_CASE("dora_scale: norms are exact to 5e-6 where the adapter nearly cancels the weight") {
    // Rows (or columns) of W are made to be -s B A plus a remainder that is `condition` times
    // shorter. The terms of the factored formula are then condition^2 times larger than their sum.
    Rng rng(7);
    const int64_t out = 24, in = 40, rank = 3;
    const double s = 0.75;
    for (const double condition : {1.0, 5e3, 5e6})
        for (const Axis axis : kAxes) {
            INFO("condition " << condition << " " << axis_name(axis));
            const Tensor A = random_tensor({rank, in}, rng), B = random_tensor({out, rank}, rng);
            const Tensor product = matmul(B, A).detach();
            Tensor W({out, in});
            real* w = W.mutable_data();
            for (int64_t i = 0; i < W.size(); i++)
                w[i] = real(-s * product.data()[i] + 2 * rng.normal() / condition);

            const int64_t count = axis == Axis::kOut ? out : in;
            const Tensor c = dora_scale(W, squared_norms(W, summed_axis(axis)), A, B,
                                        ones({count}), s, axis, NormGradient::kExact);
            std::vector<double> squared(size_t(count), 0.0);
            for (int64_t j = 0; j < out; j++)
                for (int64_t k = 0; k < in; k++) {
                    double v = 0;
                    for (int64_t r = 0; r < rank; r++) v += double(B.at({j, r})) * A.at({r, k});
                    v = W.at({j, k}) + s * v;
                    squared[size_t(axis == Axis::kOut ? j : k)] += v * v;
                }
            double worst = 0;
            for (int64_t j = 0; j < count; j++)
                worst = std::max(worst, std::fabs(1 / double(c.data()[j]) /
                                                      std::sqrt(squared[size_t(j)]) - 1));
            CHECK(worst <= 5e-6);
        }
}

// ---- the cache of evaluation --------------------------------------------------------------------

TEST_CASE("LinearWithDoRA: in evaluation the norms are computed once, and the answer stays") {
    Rng rng(8);
    for (const Axis axis : kAxes) {
        LinearWithDoRA layer(frozen_linear(5, 7, rng), {.rank = 3, .alpha = 5, .axis = axis}, rng);
        train_by_chance(layer, rng);
        layer.eval();
        const Tensor x = random_tensor({4, 5}, rng, false);
        NoGrad no_grad;
        const int64_t start = gemm_count().flops;
        const Tensor first = layer(x);
        const int64_t between = gemm_count().flops;
        const Tensor second = layer(x);
        CHECK(gemm_count().flops - between < between - start);
        CHECK(same_bits(first, second));
    }
}

TEST_CASE("LinearWithDoRA: the cache cannot be stale, whatever is changed in place") {
    struct Change {
        const char* what;
        std::function<void(LinearWithDoRA&)> apply;
    };
    const Change changes[] = {
        {"A", [](LinearWithDoRA& l) { l.lora.A.mutable_data()[1] += 1; }},
        {"B", [](LinearWithDoRA& l) { l.lora.B.mutable_data()[2] += 1; }},
        {"m", [](LinearWithDoRA& l) { l.m.mutable_data()[3] += 1; }},
        {"W", [](LinearWithDoRA& l) { l.linear->weight.mutable_data()[4] += 1; }},
        {"alpha", [](LinearWithDoRA& l) { l.lora.config.alpha += 1; }},
        {"the kind of scaling",
         [](LinearWithDoRA& l) { l.lora.config.scaling = Scaling::kAlphaOverSqrtRank; }},
        {"A through a handle that shares it",
         [](LinearWithDoRA& l) { l.lora.A.detach().mutable_data()[1] += 1; }},
        {"m by another tensor", [](LinearWithDoRA& l) { l.m = clone(2 * l.m).detach(); }},
        {"B by loading a state",
         [](LinearWithDoRA& l) {
             StateDict state = l.state_dict();
             state["lora.B"] = 2 * state["lora.B"].detach();
             l.load_state_dict(state);
         }},
        {"A, B and m by a training step",
         [](LinearWithDoRA& l) {
             l.train();
             backward(sum(l(ones({2, 5}))));
             SGD(l.parameters(), {.lr = 0.1}).step();
             l.eval();
         }},
    };
    for (const Axis axis : kAxes)
        for (const Change& change : changes) {
            INFO(axis_name(axis) << ", changed: " << change.what);
            Rng rng(9);
            LinearWithDoRA layer(frozen_linear(5, 7, rng), {.rank = 3, .alpha = 5, .axis = axis},
                                 rng);
            train_by_chance(layer, rng);
            layer.eval();
            const Tensor x = random_tensor({4, 5}, rng, false);
            const auto evaluate = [&] {
                NoGrad no_grad;
                return layer(x);
            };
            const auto by_definition = [&] {
                return linear(x, layer.merged_weight(), layer.linear->bias).detach();
            };
            const Tensor before = evaluate();
            check_matches(before, by_definition());
            change.apply(layer);
            const Tensor after = evaluate();
            CHECK(largest_difference(before, after) > 1e-3);
            check_matches(after, by_definition());
            check_matches(layer(x).detach(), by_definition());  // recording, so without the cache
            layer.train();
            check_matches(evaluate(), by_definition());
        }
}

TEST_CASE("LinearWithDoRA: training after evaluation has every gradient, as without a cache") {
    Rng rng(10);
    for (const Axis axis : kAxes) {
        LinearWithDoRA layer(frozen_linear(5, 7, rng), {.rank = 3, .alpha = 5, .axis = axis}, rng);
        train_by_chance(layer, rng);
        const Tensor x = random_tensor({4, 5}, rng, false), dy = random_tensor({4, 7}, rng, false);
        const Results before = forward_backward(layer, x, dy);
        {
            NoGrad no_grad;
            layer.eval();
            layer(x);
            layer.train();
            layer(x);
        }
        const Results after = forward_backward(layer, x, dy);
        REQUIRE(after.size() == before.size());
        for (const auto& [name, tensor] : before) CHECK(same_bits(tensor, after.at(name)));
    }
}

// ---- dropout ------------------------------------------------------------------------------------

// x~ is what dropout leaves of x; c scales outputs or inputs:
//     y = x W^T + b + (c - 1) . (x~ W^T) + c . s x~ A^T B^T            per output
//     y = (x + (c - 1) . x~) W^T + b + s (c . x~) A^T B^T              per input
static Tensor dropout_form(LinearWithDoRA& layer, const Tensor& x, Rng same_mask) {
    const Axis axis = layer.lora.config.axis;
    const Tensor W = layer.linear->weight, b = layer.linear->bias;
    const Tensor c = magnitude_over_norm(
        layer.m, norm(W + layer.lora.delta_weight(), summed_axis(axis)));
    const Tensor dropped = dropout(x, layer.lora.config.dropout, same_mask);
    if (axis == Axis::kOut)
        return linear(x, W, b) + mul_row(matmul_nt(dropped, W), add_scalar(c, -1)) +
               mul_row(layer.lora.project(dropped), c);
    return linear(x + mul_row(dropped, add_scalar(c, -1)), W, b) +
           layer.lora.project(mul_row(dropped, c));
}

TEST_CASE("LinearWithDoRA: dropout is PEFT's form, in output and gradients") {
    Rng rng(11);
    for (const Axis axis : kAxes) {
        INFO(axis_name(axis));
        LinearWithDoRA layer(frozen_linear(5, 7, rng),
                             {.rank = 3, .alpha = 5, .dropout = 0.4, .axis = axis,
                              .norm_gradient = NormGradient::kExact},
                             rng);
        train_by_chance(layer, rng);
        const Tensor values = random_tensor({6, 5}, rng, false), dy = random_tensor({6, 7}, rng);
        const Rng start = layer.lora.rng;
        const Results got = forward_backward(layer, values, dy.detach());
        CHECK(layer.lora.rng.state != start.state);

        Tensor x = clone(values).set_requires_grad();
        layer.zero_grad();
        const Tensor y = dropout_form(layer, x, start);
        backward(y, dy.detach());
        check_matches(got.at("y"), y);
        check_matches(got.at("dx"), x.grad());
        check_matches(got.at("dA"), layer.lora.A.grad());
        check_matches(got.at("dB"), layer.lora.B.grad());
        check_matches(got.at("dm"), layer.m.grad());
        check_matches(got.at("dbias"), layer.linear->bias.grad());
    }
}

TEST_CASE("LinearWithDoRA: gradients through dropout; in evaluation it does nothing") {
    Rng rng(12);
    for (const Axis axis : kAxes) {
        INFO(axis_name(axis));
        LinearWithDoRA layer(frozen_linear(5, 7, rng),
                             {.rank = 3, .alpha = 5, .dropout = 0.4, .axis = axis,
                              .norm_gradient = NormGradient::kExact},
                             rng);
        train_by_chance(layer, rng);
        const Rng start = layer.lora.rng;
        check_op(
            [&](const std::vector<Tensor>& in) {
                layer.lora.rng = start;
                return layer(in[0]);
            },
            {random_tensor({3, 5}, rng), layer.lora.A, layer.lora.B, layer.m});

        layer.eval();
        const Rng before = layer.lora.rng;
        const Tensor x = random_tensor({3, 5}, rng, false);
        check_matches(layer(x), linear(x, layer.merged_weight(), layer.linear->bias));
        CHECK(layer.lora.rng.state == before.state);
    }
}

TEST_CASE("LinearWithDoRAMerged: has no branch to drop from, and says so") {
    Rng rng(13);
    LinearWithDoRAMerged layer(frozen_linear(5, 7, rng), {.rank = 3, .dropout = 0.4}, rng);
    CHECK_ERROR(layer(ones({2, 5})), "LinearWithDoRAMerged", "dropout 0.4", "hint",
                "LinearWithDoRA");
}

TEST_CASE("fault: a scale that evaluation has kept is not taken where gradients are wanted") {
    Rng rng(12);
    for (const Axis axis : kAxes) {
        LinearWithDoRA layer(frozen_linear(5, 7, rng), {.rank = 3, .axis = axis}, rng);
        layer.eval();
        const Tensor x = random_tensor({2, 5}, rng, false);
        {
            const NoGrad no_grad;
            layer(x);
        }
        backward(sum(layer(x)));
        CHECK(layer.m.has_grad());
        CHECK(layer.lora.B.has_grad());
    }
}

}  // namespace slim
