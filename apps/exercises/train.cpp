// What the exercises on MNIST share. See train.h.
#include "apps/exercises/train.h"

#include <cmath>
#include <cstdio>

#include "core/ops.h"
#include "data/batches.h"
#include "data/mnist.h"
#include "nn/adapters/adapt.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "optim/trainer.h"

namespace slim {

static double accuracy(Module& model, const Batch& test) {
    NoGrad no_grad;
    const std::vector<int> answers = argmax_rows(model(test.x));
    double right = 0;
    for (size_t i = 0; i < answers.size(); i++) right += answers[i] == test.labels[i];
    return 100 * right / double(answers.size());
}

// Returns the accuracy in percent after 150 steps.
static double accuracy_with(const DataSet& images, const Batch& test, LossFunction loss, bool adam,
                            double lr) {
    Rng rng(1);
    MLP model(images.features(), 64, 64, 10, rng);
    std::unique_ptr<Optimizer> optimizer;
    if (adam) optimizer = std::make_unique<Adam>(model.parameters(), AdamOptions{.lr = lr});
    else optimizer = std::make_unique<SGD>(model.parameters(), SGDOptions{.lr = lr});
    Batches batches(images, 64);
    batches.shuffle(rng);
    Batch batch;
    for (int step = 0; step < 150 && batches.next(batch); step++) {
        const Tensor logits = model(batch.x);
        Tensor d = zeros(logits.shape());
        if (!std::isfinite(loss(logits.detach(), batch.labels, d))) return NAN;
        backward(logits, d);
        optimizer->step();
        optimizer->zero_grad();
    }
    return accuracy(model, test);
}

void print_learning_rates(const std::string& folder, LossFunction loss) {
    const DataSet images = load_mnist(folder, Split::kTrain);
    const Batch test = batch_of(load_mnist(folder, Split::kTest), 0, 2000);
    std::printf("right of 2000 test pictures after 150 steps, in %%\n"
                "  learning rate   SGD   Adam\n");
    for (double lr : {0.0001, 0.001, 0.01, 0.1, 1.0})
        std::printf("  %13g %5.1f  %5.1f\n", lr, accuracy_with(images, test, loss, false, lr),
                    accuracy_with(images, test, loss, true, lr));
    std::printf("Adam divides by the gradient's own size: a step moves each weight by about the "
                "rate,\nwhatever unit the loss has. SGD's steps grow with the gradient.\n");
}

// [count, size] with rows of norm 1, each at right angles to those before it: Gram and Schmidt.
static Tensor orthogonal_rows(int64_t count, int64_t size, Rng& rng) {
    Tensor rows = normal({count, size}, 0, 1, rng);
    for (int64_t i = 0; i < count; i++) {
        real* row = rows.mutable_data() + i * size;
        for (int64_t k = 0; k <= i; k++) {
            const real* other = rows.data() + k * size;
            double dot = 0;
            for (int64_t j = 0; j < size; j++) dot += row[j] * other[j];
            for (int64_t j = 0; j < size; j++)
                row[j] = real(k < i ? row[j] - dot * other[j] : row[j] / std::sqrt(dot));
        }
    }
    return rows;
}

void print_ranks(LayerMaker make) {
    const int64_t in = 8, out = 6, singular = 4;
    Rng rng(2);
    const Tensor W = normal({out, in}, 0, 1, rng), b = zeros({out});
    const Tensor U = orthogonal_rows(singular, out, rng), V = orthogonal_rows(singular, in, rng);
    const Tensor change = matmul_tn(U, mul_col(V, tensor({8, 4, 2, 1})));
    Tensor x = zeros({in, in});  // so that the loss is the sum of (change - s B A)^2, per output
    for (int64_t i = 0; i < in; i++) x.mutable_data()[i * in + i] = real(std::sqrt(double(in)));
    const Tensor target = linear(x, W + change, b);

    std::printf("a change of W with singular values 8, 4, 2, 1:\n"
                "  rank   loss after training   squares left out / outputs\n");
    double left_out = 64 + 16 + 4 + 1;
    for (int64_t rank = 1; rank <= singular; rank++) {
        left_out -= std::pow(4, double(singular - rank));
        const Trainable layer = make(W, b, rank, rng);
        Adam adam(layer.parameters, {.lr = 0.05});
        double last = 0;
        for (int step = 0; step < 1500; step++) {
            adam.lr_factor = step < 750 ? 1 : 0.1;
            const Tensor loss = mse_loss(layer.forward(x), target);
            last = loss.item();
            backward(loss);
            adam.step();
            adam.zero_grad();
        }
        std::printf("  %4d %21.2f %27.2f\n", int(rank), last, left_out / out);
        check(std::fabs(last - left_out / out) < 0.05, "rank ", long(rank), ": expected a loss of ",
              left_out / out, ", got ", last, rank > 1 && std::fabs(last - 3.5) < 0.05
                  ? ". Are the rows of A random and different?" : "");
    }
}

// ---- digits that are moved ----------------------------------------------------------------------

static void train(Module& model, const DataSet& images, int steps, double lr) {
    Rng rng(2);
    Adam adam(model.parameters(), {.lr = lr});
    Batches batches(images, 64);
    batches.shuffle(rng);
    Batch batch;
    for (int step = 0; step < steps && batches.next(batch); step++) {
        backward(cross_entropy(model(batch.x), batch.labels));
        adam.step();
        adam.zero_grad();
    }
}

Repair repair_moved_digits(const std::string& folder, const Plan& plan) {
    const DataSet images = load_mnist(folder, Split::kTrain);
    const DataSet tests = load_mnist(folder, Split::kTest);
    Rng rng(1);
    MLP model(images.features(), 128, 256, 10, rng), trial(images.features(), 128, 256, 10, rng);
    AdapterSet trial_adapters = attach(trial, plan.adapter, rng);  // a wrong plan fails before work
    Repair repair{count_parameters(trial).trainable};
    if (repair.values >= 7000) return repair;

    train(model, images, 600, 0.002);
    const double before = evaluate(model, tests).loss;
    AdapterSet adapters = attach(model, plan.adapter, rng);
    train(model, shifted(images, "translate:4"), 300, plan.lr);
    repair.percent = 100 * evaluate(model, shifted(tests, "translate:4")).accuracy;
    adapters.disable();
    repair.base_is_equal = evaluate(model, tests).loss == before;
    return repair;
}

void print_centred(const std::string& folder, Tensor (*centred)(const Tensor& x)) {
    const DataSet images = load_mnist(folder, Split::kTrain);
    const DataSet tests = load_mnist(folder, Split::kTest);
    Rng rng(1);
    MLP model(images.features(), 128, 256, 10, rng);
    train(model, images, 300, 0.002);
    double as_they_are = 0, in_the_middle = 0;
    const int64_t count = 500;
    for (int64_t i = 0; i < count; i++) {
        const DataSet digit = take_rows(tests, {i});
        const std::string pixels = std::to_string(rng.below(9) - 4);
        Batch one = batch_of(shifted(digit, "translate:" + pixels), 0, 1);
        as_they_are += accuracy(model, one) / double(count);
        one.x = reshape(centred(reshape(one.x, {28, 28})), {1, 784});
        in_the_middle += accuracy(model, one) / double(count);
    }
    std::printf("digits moved by up to four pixels: %.1f %% right, centred: %.1f %%\n", as_they_are,
                in_the_middle);
    check(in_the_middle > 85, "centred digits: expected over 85 %, got ", in_the_middle, " %");
}

}  // namespace slim
