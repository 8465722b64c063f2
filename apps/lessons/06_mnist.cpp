// Lesson 6: reading handwritten digits.
//
// You will learn: the loop of lesson 5 on real data. A picture is a row of 784 numbers; the network
//   gives ten scores ("logits"), one for each digit; cross-entropy measures how far the right one
//   is from winning. What counts is the accuracy on pictures that were not trained on.
//
// Run: make lesson-06    (make gdb-06 stops in slim::cross_entropy)
//   It reads the digits from data/mnist, which make fetches if they are missing.
// Do:  make ex-06
//
// Expected output:
//
//   60000 pictures of 28 x 28 pixels to train on, 10000 to test on
//   the first one is a 5:
//     |                    |
//     |      .oo######o###.|
//     |    #######o##      |
//     |       o#.          |
//     |        o#.         |
//     |         .###.      |
//     |            .##o    |
//     |           oo###    |
//     |       .######.     |
//     |   o######.         |
//     |o####oo             |
//   loss on the first batch: 2.3, and log(10) is 2.3
//   loss on the last 50 batches: 0.25
//   right on the pictures it has never seen: 93.7 %
#include <cmath>
#include <cstdio>

#include "apps/program.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "data/batches.h"
#include "data/mnist.h"
#include "nn/sequential.h"
#include "optim/adam.h"
#include "optim/trainer.h"

using namespace slim;

static int lesson(int, char**) {
    const int64_t kBatch = 64;
    const int64_t kSteps = 300;  // batches to train on: a third of the training set
    const double kLearningRate = 0.002;

    const DataSet train_set = load_mnist("data/mnist", Split::kTrain);
    const DataSet test_set = load_mnist("data/mnist", Split::kTest);
    std::printf("%ld pictures of %ld x %ld pixels to train on, %ld to test on\n",
                long(train_set.count), long(train_set.rows), long(train_set.cols),
                long(test_set.count));

    // One of them, every second line of pixels. To the network it is 784 values from 0 to 1.
    const Batch example = batch_of(train_set, 0, 1);
    std::printf("the first one is a %d:\n", example.labels[0]);
    for (int64_t row = 4; row < 26; row += 2) {
        std::string line;
        for (int64_t col = 4; col < 24; col++)
            line += " .o#"[int(3.99 * example.x.at({0, row * 28 + col}))];
        std::printf("  |%s|\n", line.c_str());
    }

    // 784 pixels -> 128 -> 256 -> 10 scores, with relu in between: lesson 5's network with one
    // layer more, and no sigmoid at the end: cross-entropy takes the scores as they are.
    Rng rng(1);
    MLP model(train_set.features(), 128, 256, 10, rng);
    Adam adam(model.parameters(), {.lr = kLearningRate});

    // A model that knows nothing gives each digit the probability 1/10, and its loss is
    // -log(1/10) = 2.3. Any first loss far from that is a bug.
    Batches batches(train_set, kBatch);
    batches.shuffle(rng);
    double first = 0, recent = 0;  // recent: the mean over the last 50 batches
    Batch batch;
    for (int64_t step = 0; step < kSteps && batches.next(batch); step++) {
        // softmax turns scores z into probabilities, p_k = e^z_k / sum of all e^z. The loss is the
        // mean of -log(p of the right digit c). For one picture
        //     L = -z_c + log(sum of all e^z)      dL/dz_k = p_k - (1 if k = c, else 0)
        // because the derivative of log(sum of all e^z) by z_k is e^z_k / sum = p_k. This is
        // "p - y": what was predicted minus what was right, small once the prediction is good.
        const Tensor logits = model(batch.x);                     // [64, 784] -> [64, 10]
        const Tensor loss = cross_entropy(logits, batch.labels);  // one number
        backward(loss);
        adam.step();
        adam.zero_grad();
        if (step == 0) first = loss.item();
        if (step >= kSteps - 50) recent += loss.item() / 50;
    }
    std::printf("loss on the first batch: %.1f, and log(10) is %.1f\n", first, std::log(10.0));
    std::printf("loss on the last 50 batches: %.2f\n", recent);

    // Guessing would be right in 10 % of the cases.
    std::printf("right on the pictures it has never seen: %.1f %%\n",
                100 * evaluate(model, test_set).accuracy);
    return 0;
}

// Runs the lesson, and prints an error, such as a missing file, as one line.
int main(int argc, char** argv) { return run_program(argc, argv, lesson); }
