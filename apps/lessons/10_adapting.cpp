// Lesson 10: adapting to something new.
//
// You will learn: a network that reads digits in the middle of the picture fails when they are
//   moved aside. LoRA and DoRA repair it with a fifth of its values, beside a base that stays as it
//   is. Tuning all values repairs it too, and costs what the network could do before.
//
// Run: make lesson-10    (make gdb-10 stops in slim::attach)
//   It reads the digits from data/mnist, which make fetches if they are missing.
// Do:  make ex-10
//
// Expected output:
//
//   of the test pictures, in %        trained values   as they are   moved aside
//   base                                      136074          95.4           5.5
//   LoRA of rank 16, 300 steps                 24992           5.7          90.9
//     switched off                                 0          95.4           5.5
//   DoRA of rank 16, 300 steps                 25386           7.2          90.9
//     switched off                                 0          95.4           5.5
//   full tuning, 300 steps                    136074          17.7          94.4
#include <cstdio>

#include "apps/program.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "data/batches.h"
#include "data/mnist.h"
#include "nn/adapters/adapt.h"
#include "nn/sequential.h"
#include "optim/adam.h"
#include "optim/trainer.h"

using namespace slim;

static void train(Module& model, const DataSet& set, int steps, double lr) {
    Rng rng(2);
    Adam adam(model.parameters(), {.lr = lr});
    Batches batches(set, 64);
    batches.shuffle(rng);
    Batch batch;
    for (int step = 0; step < steps && batches.next(batch); step++) {
        backward(cross_entropy(model(batch.x), batch.labels));
        adam.step();
        adam.zero_grad();
    }
}

static int lesson(int, char**) {
    const char* kMove = "translate:4";
    const DataSet train_set = load_mnist("data/mnist", Split::kTrain);
    const DataSet test_set = load_mnist("data/mnist", Split::kTest);
    // The same digits four pixels further right and down.
    const DataSet moved_train = shifted(train_set, kMove), moved_test = shifted(test_set, kMove);

    // The base: 600 steps on digits as they are.
    Rng rng(1);
    MLP base(train_set.features(), 128, 256, 10, rng);
    train(base, train_set, 600, 0.002);
    std::printf("of the test pictures, in %%        trained values   as they are   moved aside\n");
    const auto print = [&](const char* name, Module& model) {
        std::printf("%-30s %17ld %13.1f %13.1f\n", name, long(count_parameters(model).trainable),
                    100 * evaluate(model, test_set).accuracy,
                    100 * evaluate(model, moved_test).accuracy);
    };
    print("base", base);

    // A pixel's weights in layer 0 now belong to another pixel. The exact change, (moved W) - W,
    // has full rank. But nearby pixels of a digit are alike, so a change of rank 16 already has
    // most of the effect on digits.
    for (Method method : {Method::kLoRA, Method::kDoRA}) {
        MLP model(train_set.features(), 128, 256, 10, rng);
        model.load_state_dict(base.state_dict());
        AdapterSet adapters = attach(model, {.method = method, .rank = 16, .alpha = 32}, rng);
        train(model, moved_train, 300, 0.005);
        print(method == Method::kLoRA ? "LoRA of rank 16, 300 steps" : "DoRA of rank 16, 300 steps",
              model);
        // The adapter is for moved digits alone. Off, the base is what it was: nothing is lost.
        adapters.disable();
        print("  switched off", model);
    }

    // All values, on a copy, for comparison. Here nothing can be switched off.
    MLP full(train_set.features(), 128, 256, 10, rng);
    full.load_state_dict(base.state_dict());
    train(full, moved_train, 300, 0.002);
    print("full tuning, 300 steps", full);
    return 0;
}

int main(int argc, char** argv) { return run_program(argc, argv, lesson); }
