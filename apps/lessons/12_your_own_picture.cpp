// Lesson 12: your own handwriting.
//
// You will learn: how a drawing becomes what the network was trained on (light ink on black, 28 x
//   28, the centre of the ink in the middle), and that this matters as much as the network.
//
// Run: make lesson-12    (make gdb-12 stops in slim::digit_from_image)
//   It reads the digits from data/mnist. Change the drawing below, or give it a picture from a
//   paint program:  build/lessons/12_your_own_picture my_seven.png
// Do:  make ex-12
//
// Expected output:
//
//   as the network sees it:
//     |         .#######o          |
//     |        .##.....##o         |
//     |        .oo     .##.        |
//     |                 o##        |
//     |                 ###        |
//     |                ###         |
//     |              ##o           |
//     |            ##.             |
//     |         .##                |
//     |        o###########        |
//     |                            |
//   it reads a 2, with probability 0.99
//
//   of 1000 test pictures it reads
//     as they are       956
//     dark on white     76
//     six pixels aside  109
#include <cstdio>
#include <vector>

#include "apps/program.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "data/batches.h"
#include "data/digit.h"
#include "data/mnist.h"
#include "nn/sequential.h"
#include "optim/adam.h"

using namespace slim;

static const std::string kDrawing[] = {
    "                ",
    "   #######      ",
    "  ##     ##     ",
    "          ##    ",
    "          ##    ",
    "         ##     ",
    "       ##       ",
    "     ##         ",
    "   ##           ",
    "  ##########    ",
    "                ",
};

// As a picture, dark ink on white paper. A character is tall: it becomes 8 x 4 pixels.
static GreyImage picture_of_drawing() {
    GreyImage picture{8 * int64_t(std::size(kDrawing)), 4 * int64_t(kDrawing[0].size()), {}};
    for (int64_t row = 0; row < picture.rows; row++)
        for (int64_t col = 0; col < picture.cols; col++)
            picture.pixels.push_back(kDrawing[row / 8].at(size_t(col) / 4) == '#' ? 0 : 255);
    return picture;
}

static int lesson(int argc, char** argv) {
    const int64_t kBatch = 64, kSteps = 600, kTested = 1000;
    // Lesson 6 once more, in short.
    const DataSet train_set = load_mnist("data/mnist", Split::kTrain);
    const Batch test = batch_of(load_mnist("data/mnist", Split::kTest), 0, kTested);
    Rng rng(1);
    MLP model(train_set.features(), 128, 256, 10, rng);
    Adam adam(model.parameters(), {.lr = 0.002});
    Batches batches(train_set, kBatch);
    batches.shuffle(rng);
    Batch batch;
    for (int64_t step = 0; step < kSteps && batches.next(batch); step++) {
        backward(cross_entropy(model(batch.x), batch.labels));
        adam.step();
        adam.zero_grad();
    }
    NoGrad no_grad;

    // MNIST's digits were cut out, scaled to 20 x 20 and put into 28 x 28 with their centre of mass
    // in the middle. digit_from_image() does the same, and makes light ink on black of the drawing.
    const GreyImage picture = argc > 1 ? read_image(argv[1]) : picture_of_drawing();
    const Bytes digit = digit_from_image(picture, argc > 1 ? argv[1] : "the drawing");
    const Tensor x = batch_of({digit, {0}, 1, 28, 28}, 0, 1).x;
    std::printf("as the network sees it:\n");
    for (int64_t row = 4; row < 26; row += 2) {
        std::printf("  |");
        for (int64_t col = 0; col < 28; col++)
            std::printf("%c", " .o#"[int(3.99 * x.at({0, row * 28 + col}))]);
        std::printf("|\n");
    }
    const Tensor p = softmax(model(x));  // [1, 10], ten probabilities
    const int best = argmax_rows(p)[0];
    std::printf("it reads a %d, with probability %.2f\n\n", best, double(p.at({0, best})));

    // And unprepared? Here are test pictures as they are, dark on white, and six pixels off the
    // middle. The network cannot say "I have not learned this". (Guessing gets 100 of 1,000.)
    Tensor shifted = zeros(test.x.shape());
    for (int64_t i = 0; i < shifted.size(); i++)
        if (i % 28 >= 6) shifted.mutable_data()[i] = test.x.data()[i - 6];
    std::printf("of 1000 test pictures it reads\n");
    const auto print_right = [&](const char* name, const Tensor& pictures) {
        const std::vector<int> answers = argmax_rows(model(pictures));
        int right = 0;
        for (size_t i = 0; i < answers.size(); i++) right += answers[i] == test.labels[i];
        std::printf("  %s  %d\n", name, right);
    };
    print_right("as they are     ", test.x);
    print_right("dark on white   ", add_scalar(-test.x, 1));
    print_right("six pixels aside", shifted);
    return 0;
}

int main(int argc, char** argv) { return run_program(argc, argv, lesson); }
