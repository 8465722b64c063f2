// Weights in 8 and 4 bits: what is stored, products with it, and adapters around it.
#include "nn/quantize.h"

#include <limits>

#include "nn/adapters/adapt.h"
#include "optim/adam.h"
#include "tests/nn/adapters.h"

namespace slim {

constexpr Quantization kKinds[] = {Quantization::kInt8, Quantization::kNF4};

// Enough rows and columns that a product takes several rounds and that blocks run over rows' ends.
static const Shape kShapes[] = {{5, 3},  {1, 1},   {1, 67},  {67, 1},
                                {3, 64}, {131, 7}, {64, 64}, {129, 65}};

static std::shared_ptr<const QuantizedMatrix> quantize(const Tensor& weight, Quantization kind) {
    return std::make_shared<QuantizedMatrix>(weight, kind);
}

// The levels of bitsandbytes, create_normal_map(), as it prints them.
static const std::vector<real> kNF4Levels{-1,
                                          -0.6961928009986877,
                                          -0.5250730514526367,
                                          -0.39491748809814453,
                                          -0.28444138169288635,
                                          -0.18477343022823334,
                                          -0.09105003625154495,
                                          0,
                                          0.07958029955625534,
                                          0.16093020141124725,
                                          0.24611230194568634,
                                          0.33791524171829224,
                                          0.44070982933044434,
                                          0.5626170039176941,
                                          0.7229568362236023,
                                          1};

// ---- what is stored -----------------------------------------------------------------------------

TEST_CASE("int8: each row on a grid of its own, off by at most half a step") {
    Rng rng(1);
    for (const Shape& shape : kShapes) {
        INFO(to_text(shape));
        Tensor weight = random_tensor(shape, rng, false);
        real* w = weight.mutable_data();
        const int64_t rows = shape[0], cols = shape[1];
        for (int64_t i = 0; i < rows; i++)  // rows of very different sizes
            for (int64_t j = 0; j < cols; j++) w[i * cols + j] *= real(std::pow(10, i % 7 - 3));
        const Tensor restored = quantize(weight, Quantization::kInt8)->dequantized();
        for (int64_t i = 0; i < rows; i++) {
            double largest = 0;
            for (int64_t j = 0; j < cols; j++)
                largest = std::max(largest, std::fabs(double(w[i * cols + j])));
            const double step = largest / 127;
            for (int64_t j = 0; j < cols; j++) {
                const double got = restored.at({i, j});
                CHECK(std::fabs(got - double(w[i * cols + j])) <= step / 2 * (1 + 1e-4));
                CHECK(std::fabs(got / step - std::round(got / step)) < 1e-4);
            }
        }
    }
}

TEST_CASE("fault: int8 of the largest float stays finite") {
    const float largest = std::numeric_limits<float>::max();
    const Tensor weight = tensor({real(largest), real(-largest), 1, 2e38f, 3e38f, 3.3e38f}, {2, 3});
    const Tensor restored = quantize(weight, Quantization::kInt8)->dequantized();
    for (const real w : restored.to_vector()) CHECK(std::isfinite(float(w)));
    CHECK(double(restored.at({0, 0})) == relative(double(largest), 1e-6));
    CHECK(double(restored.at({0, 1})) == relative(-double(largest), 1e-6));
}

TEST_CASE("int8 and NF4: a value half way between two steps rounds away from zero, or down") {
    const auto restored = [](Quantization kind, std::vector<real> row) {
        const int64_t n = int64_t(row.size());
        return quantize(tensor(row, {1, n}), kind)->dequantized().to_vector();
    };
    CHECK(restored(Quantization::kInt8, {127, 2.5, -2.5, 0.5}) ==
          std::vector<real>{127, 3, -3, 1});
    const real half = (0.0795802996f + 0.160930201f) / 2;  // a tie takes the lower level
    CHECK(restored(Quantization::kNF4, {1, half})[1] == real(0.0795802996f));
}

TEST_CASE("fault: norms of a quantised weight that is exchanged are computed anew") {
    Rng rng(11);
    auto linear = std::make_shared<Linear>(random_tensor({7, 5}, rng, false));
    freeze_linear_layers(*linear);
    linear->weight = Weight(quantize(random_tensor({7, 5}, rng, false), Quantization::kInt8));
    LinearWithDoRA layer(linear, {.rank = 2}, rng);
    const Tensor x = random_tensor({3, 5}, rng, false);
    for (const bool training : {true, false}) {
        layer.train(training);
        NoGrad no_grad;
        layer(x);
        linear->weight = Weight(quantize(random_tensor({7, 5}, rng, false), Quantization::kInt8));
        check_close_sums(layer(x), slim::linear(x, layer.merged_weight(), linear->bias), 5);
    }
}

TEST_CASE("int8: whole numbers up to 127 are kept exactly") {
    const Tensor weight = tensor({127, -127, 0, 1, -1, 64, 2, 254, -6}, {3, 3});
    const Tensor restored = quantize(weight, Quantization::kInt8)->dequantized();
    for (int64_t j : {0, 1, 2}) CHECK(restored.at({0, j}) == weight.at({0, j}));
    CHECK(restored.at({1, 2}) == 64);
    CHECK(restored.at({2, 1}) == 254);
    CHECK(restored.at({2, 0}) == 2);
    CHECK(restored.at({2, 2}) == -6);
}

TEST_CASE("NF4: the sixteen levels are kept exactly, at any scale that is a power of two") {
    for (const real scale_of_block : {real(1), real(0.25), real(1024)}) {
        std::vector<real> values;
        for (real level : kNF4Levels) values.push_back(level * scale_of_block);
        const Tensor weight = tensor(values, {2, 8});
        check_close(quantize(weight, Quantization::kNF4)->dequantized(), weight, 1e-8, 0);
    }
}

TEST_CASE("NF4: a block by hand: the nearest level times the largest magnitude") {
    // The scale is 2. 0.1 / 2 is nearer to 0.0796 than to 0; 0.07 / 2 is nearer to 0, and so on.
    const Tensor weight =
        tensor({real(0.1), real(0.07), -2, real(1.1), real(-1.3), real(1.9)}, {2, 3});
    const auto at = [](int code) { return 2 * kNF4Levels[size_t(code)]; };
    const Tensor want = tensor({at(8), at(7), at(0), at(13), at(1), at(15)}, {2, 3});
    check_close(quantize(weight, Quantization::kNF4)->dequantized(), want, 1e-7, 0);
}

TEST_CASE("NF4: every number becomes the level that is nearest, block by block") {
    Rng rng(2);
    for (const Shape& shape : kShapes) {
        INFO(to_text(shape));
        Tensor weight = random_tensor(shape, rng, false);
        real* w = weight.mutable_data();
        for (int64_t i = 0; i < weight.size(); i++)
            if (i / 64 == 1) w[i] *= 100;  // the second block has another scale
        const Tensor restored = quantize(weight, Quantization::kNF4)->dequantized();
        for (int64_t first = 0; first < weight.size(); first += 64) {
            const int64_t last = std::min(first + 64, weight.size());
            double largest = 0;
            for (int64_t i = first; i < last; i++)
                largest = std::max(largest, std::fabs(double(w[i])));
            for (int64_t i = first; i < last; i++) {
                const double got = restored.data()[i], off = std::fabs(got - double(w[i]));
                double best = INFINITY, level_off = INFINITY;
                for (const real level : kNF4Levels) {
                    best = std::min(best, std::fabs(double(level) * largest - double(w[i])));
                    level_off = std::min(level_off, std::fabs(double(level) * largest - got));
                }
                CHECK(off <= best + 1e-6 * largest);
                CHECK(level_off <= 1e-6 * largest);
            }
        }
    }
}

TEST_CASE("quantize: rows and blocks of zeros stay zero, tiny ones do not change their sign") {
    for (const Quantization kind : kKinds) {
        Tensor weight = zeros({3, 64});  // one block of NF4 to a row
        weight.mutable_data()[2 * 64 + 5] = -3;
        const Tensor restored = quantize(weight, kind)->dequantized();
        CHECK(same_bits(restored, weight));
        const Tensor tiny = tensor({real(2.5e-43), real(-1e-43), 0}, {1, 3});  // denormal floats
        const Tensor back = quantize(tiny, kind)->dequantized();
        CHECK(back.at({0, 0}) >= 0);
        CHECK(back.at({0, 1}) <= 0);
        CHECK(back.at({0, 2}) == 0);
    }
}

TEST_CASE("quantize: numbers that are not finite, and what is no matrix, are refused") {
    for (const Quantization kind : kKinds) {
        for (const real bad : {real(NAN), real(INFINITY), real(-INFINITY)}) {
            Tensor weight = ones({2, 3});
            weight.mutable_data()[4] = bad;
            CHECK_ERROR(quantize(weight, kind), "quantize", "element 4", "(2, 3)", "finite");
        }
        if (kDouble)  // finite, but not as the float that its scale would be
            CHECK_ERROR(quantize(tensor({real(1e300)}, {1, 1}), kind), "quantize", "element 0",
                        "finite");
        CHECK_ERROR(quantize(ones({3}), kind), "quantize", "(3)", "matrix");
        CHECK_ERROR(quantize(scalar(1), kind), "quantize", "()", "matrix");
    }
}

TEST_CASE("quantize: bytes: one or half of one per number, and four per scale") {
    CHECK(quantize(ones({5, 7}), Quantization::kInt8)->bytes() == 35 + 5 * 4);
    CHECK(quantize(ones({5, 7}), Quantization::kNF4)->bytes() == 18 + 4);       // 17.5 up
    CHECK(quantize(ones({5, 13}), Quantization::kNF4)->bytes() == 33 + 2 * 4);  // 65 numbers
    CHECK(quantize(ones({128, 256}), Quantization::kNF4)->bytes() == 16384 + 512 * 4);
    CHECK(quantize(ones({128, 256}), Quantization::kInt8)->bytes() == 32768 + 128 * 4);
    const auto q = quantize(ones({5, 7}), Quantization::kNF4);
    CHECK((q->rows() == 5 && q->cols() == 7 && q->kind() == Quantization::kNF4));
}

// ---- products -----------------------------------------------------------------------------------

TEST_CASE("quantize: products are those of the restored weight") {
    Rng rng(3);
    for (const Quantization kind : kKinds)
        for (const Shape& shape : kShapes)
            for (const int64_t n : {1, 5, 0}) {
                INFO(to_text(shape) << " n " << n);
                const auto q = quantize(random_tensor(shape, rng, false), kind);
                const Tensor W = q->dequantized();
                const Tensor x = random_tensor({n, shape[1]}, rng, false);
                const Tensor g = random_tensor({n, shape[0]}, rng, false);
                // beta = 0 overwrites, even what is not a number; beta = 1 adds.
                Tensor y = full(g.shape(), NAN), dx = full(x.shape(), NAN);
                const Weight weight(q);
                weight.times_transposed(view(x), overwrite(y));
                weight.times(view(g), overwrite(dx));
                check_close_sums(y, matmul_nt(x, W), shape[1]);
                check_close_sums(dx, matmul(g, W), shape[0]);
                Tensor more_y = clone(g), more_dx = clone(x);
                weight.times_transposed(view(x), add_to(more_y));
                weight.times(view(g), add_to(more_dx));
                check_close_sums(more_y, matmul_nt(x, W) + g, shape[1]);
                check_close_sums(more_dx, matmul(g, W) + x, shape[0]);
            }
}

TEST_CASE("quantize: a weight without rows or without columns") {
    for (const Quantization kind : kKinds) {
        const auto no_rows = quantize(zeros({0, 3}), kind), no_cols = quantize(zeros({3, 0}), kind);
        CHECK(no_rows->bytes() == 0);
        CHECK(no_rows->dequantized().shape() == Shape{0, 3});
        CHECK(no_cols->dequantized().shape() == Shape{3, 0});
        Tensor x = full({2, 3}, NAN), y = full({2, 3}, NAN);
        Weight(no_rows).times(view(zeros({2, 0})), overwrite(x));
        CHECK(same_bits(x, zeros({2, 3})));
        Weight(no_cols).times_transposed(view(zeros({2, 0})), overwrite(y));
        CHECK(same_bits(y, zeros({2, 3})));
        CHECK(linear(ones({2, 3}), no_rows).shape() == Shape{2, 0});
        const Tensor bias = tensor({1, 2, 3});
        CHECK(linear(zeros({2, 0}), no_cols, bias).to_vector() ==
              std::vector<real>{1, 2, 3, 1, 2, 3});
    }
}

TEST_CASE("linear, quantised: x W^T + b, with gradients of x and b") {
    Rng rng(4);
    for (const Quantization kind : kKinds)
        for (const Shape& s :
             {Shape{2, 5, 7}, Shape{1, 67, 3}, Shape{3, 2, 131}, Shape{1, 1, 1}, Shape{0, 5, 7}}) {
            INFO("batch, in, out: " << to_text(s));
            const auto q = quantize(random_tensor({s[2], s[1]}, rng, false), kind);
            const Tensor x = random_tensor({s[0], s[1]}, rng), bias = random_tensor({s[2]}, rng);
            check_close_sums(linear(x, q, bias).detach(),
                             linear(x, q->dequantized(), bias).detach(), s[1]);
            check_op([&](const std::vector<Tensor>& in) { return linear(in[0], q, in[1]); },
                     {x, bias});
            check_op([&](const std::vector<Tensor>& in) { return linear(in[0], q); }, {x});
        }
}

TEST_CASE("linear, quantised: shapes that do not fit are errors") {
    const auto q = quantize(ones({7, 5}), Quantization::kInt8);
    CHECK_ERROR(linear(ones({2, 4}), q), "linear", "(2, 4)", "(7, 5)");
    CHECK_ERROR(linear(ones({5}), q), "linear", "(5)", "(7, 5)");
    CHECK_ERROR(linear(ones({2, 5}), q, ones({5})), "linear", "bias", "(5)", "(7)");
}

// ---- in layers ----------------------------------------------------------------------------------

static std::shared_ptr<Linear> quantized_layer(int64_t in, int64_t out, Quantization kind,
                                               Rng& rng) {
    const Linear dense(in, out, rng);
    Tensor bias = clone(dense.bias.detach());
    return std::make_shared<Linear>(quantize(dense.weight, kind), bias);
}

TEST_CASE("quantize: the float weight is gone, before, during and after training") {
    Rng rng(5);
    const int64_t in = 500, out = 400, weight_bytes = in * out * int64_t(sizeof(real));
    for (const Quantization kind : kKinds) {
        const int64_t before = memory_use().live_bytes;
        auto linear = quantized_layer(in, out, kind, rng);
        CHECK(memory_use().live_bytes - before == out * int64_t(sizeof(real)));  // the bias
        CHECK(linear->weight.quantized->bytes() < int64_t(in * out * 1.01) + 4 * out);
        CHECK(!linear->weight.defined());
        CHECK(linear->parameters().size() == 1);
        CHECK(linear->in_features() == in);
        CHECK(linear->out_features() == out);

        LinearWithLoRA lora(linear, {.rank = 2, .alpha = 3}, rng);
        const Tensor x = random_tensor({3, in}, rng);
        reset_peak_memory();
        const int64_t resting = memory_use().live_bytes;
        backward(sum(lora(x)));
        CHECK(memory_use().peak_bytes - resting < weight_bytes / 2);
    }
}

// Trains towards a target, and returns the loss at the start and at the end.
template <class Layer>
static std::pair<double, double> trained_loss(Layer& layer, Rng& rng) {
    const Tensor x = random_tensor({16, 11}, rng, false),
                 target = random_tensor({16, 7}, rng, false);
    Adam adam(layer.parameters(), {.lr = 0.05});
    double first = 0, last = 0;
    for (int step = 0; step < 150; step++) {
        adam.zero_grad();
        const Tensor loss = mse_loss(layer(x), target);
        backward(loss);
        adam.step();
        last = loss.item();
        if (step == 0) first = last;
    }
    return {first, last};
}

TEST_CASE("quantize: LoRA and DoRA around a quantised Linear start from it and train") {
    Rng rng(6);
    for (const Quantization kind : kKinds) {
        auto linear = quantized_layer(11, 7, kind, rng);
        const Tensor before = linear->weight.quantized->dequantized();
        const Tensor x = random_tensor({4, 11}, rng, false);
        LinearWithLoRA lora(linear, {.rank = 3, .alpha = 5}, rng);
        check_matches(lora(x), (*linear)(x));
        const auto [first, last] = trained_loss(lora, rng);
        CHECK(last < 0.6 * first);
        for (const Axis axis : kAxes)
            for (const NormGradient gradient : kNormGradients) {
                INFO(axis_name(axis) << " " << gradient_name(gradient));
                LinearWithDoRA dora(
                    linear, {.rank = 3, .alpha = 5, .axis = axis, .norm_gradient = gradient}, rng);
                check_matches(dora(x), (*linear)(x));
                const auto [first, last] = trained_loss(dora, rng);
                CHECK(last < 0.6 * first);
                check_matches((*dora.merged())(x), dora(x));
            }
        CHECK(same_bits(linear->weight.quantized->dequantized(), before));
    }
}

// The same numbers as around a Linear that holds the restored weight in full.
template <class Layer>
static void check_as_around_restored(AdapterConfig options, Shape s) {
    Rng rng(7);
    for (const Quantization kind : kKinds) {
        auto linear = quantized_layer(s[1], s[2], kind, rng);
        auto restored = std::make_shared<Linear>(linear->weight.to_tensor(), linear->bias);
        Layer around_quantized(linear, options, rng), around_restored(restored, options, rng);
        train_by_chance(around_quantized, rng);
        StateDict state = around_quantized.state_dict();
        state["linear.weight"] = restored->weight;
        around_restored.load_state_dict(state);

        const Tensor x = random_tensor({s[0], s[1]}, rng, false),
                     dy = random_tensor({s[0], s[2]}, rng, false);
        const Results got = forward_backward(around_quantized, x, dy);
        const Results want = forward_backward(around_restored, x, dy);
        CHECK(got.size() == want.size());
        for (const auto& one : want) {
            INFO(one.first);
            check_matches(got.at(one.first), one.second, kDouble ? 1e-12 : 1e-4);
        }
        CHECK(same_bits(around_quantized.merged_weight(), around_restored.merged_weight()));
        around_quantized.eval();
        around_restored.eval();
        NoGrad no_grad;
        check_matches(around_quantized(x), around_restored(x), kDouble ? 1e-12 : 1e-4);
    }
}

TEST_CASE("quantize: adapters give what they give around the restored weight, gradients too") {
    for (const Shape& s :  // 64 rows are dequantised at a time: less, a rest of 3, and 8 times
         {Shape{3, 11, 7}, Shape{5, 7, 67}, Shape{2, 600, 512}}) {
        INFO("batch, in, out: " << to_text(s));
        check_as_around_restored<LinearWithLoRA>({.rank = 3, .alpha = 5}, s);
        for (const Axis axis : kAxes)
            for (const NormGradient gradient : kNormGradients) {
                INFO(axis_name(axis) << " " << gradient_name(gradient));
                check_as_around_restored<LinearWithDoRA>(
                    {.rank = 3, .alpha = 5, .axis = axis, .norm_gradient = gradient}, s);
            }
    }
}

}  // namespace slim
