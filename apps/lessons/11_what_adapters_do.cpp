// Lesson 11: what adapters do to a weight.
//
// You will learn: to look into a trained weight. LoRA's change has as many singular values as its
//   rank, DoRA's m adds small ones, full tuning's has all. And an analysis after the DoRA paper
//   (3.2): do rows that turn more change their norm more? The paper takes means over a matrix, for
//   each layer and checkpoint; they correlate with full -0.62, LoRA +0.83, DoRA -0.31. Here, over
//   the rows of one layer, all are positive. The last has 10 rows, and so depends on the seed most.
//
// Run: make lesson-11    (make gdb-11 stops in singular_values)
//   It reads the digits from data/mnist, which make fetches if they are missing.
// Do:  make ex-11
//
// Expected output:
//
//   singular values of ((3, 0), (0, 2)): 3.00 2.00
//
//         singular values of layers.0's change       correlation by layer
//   full   4.64  4.40  3.84  3.67  3.51  3.35  3.32  +0.34  +0.56  +0.88
//   lora   5.14  3.37  2.36  1.56  0.00  0.00  0.00  +0.88  +0.80  +0.93
//   dora   4.80  2.78  2.43  1.54  0.52  0.48  0.44  +0.33  +0.25  +0.17
#include <cmath>
#include <cstdio>

#include "apps/program.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "data/batches.h"
#include "data/mnist.h"
#include "nn/adapters/adapt.h"
#include "nn/sequential.h"
#include "optim/adam.h"

using namespace slim;

// The largest singular values of D, by power iteration: u <- D^T D u, scaled to norm 1, turns to
// the direction that D stretches most, by |D u|. Then D loses that direction: on to the next.
static std::vector<double> singular_values(Tensor D, int count) {
    std::vector<double> values;
    Rng rng(1);
    for (int k = 0; k < count; k++) {
        Tensor u = normal({1, D.size(1)}, 0, 1, rng);
        for (int i = 0; i < 50; i++) {
            u = matmul(matmul_nt(u, D), D);
            u = u / std::fmax(norm(u, 1).item(), 1e-30);
        }
        const Tensor stretched = matmul_nt(u, D);  // (D u)^T
        values.push_back(norm(stretched, 1).item());
        D = D - matmul_tn(stretched, u);
    }
    return values;
}

// For each row j of a weight, before and after:
//     magnitude change  | |W'_j| - |W_j| |        direction change  1 - cos(angle of W_j and W'_j)
static std::pair<Tensor, Tensor> row_changes(const Tensor& W, const Tensor& changed) {
    const Tensor before = norm(W, 1), after = norm(changed, 1), grown = after - before;
    return {sqrt(grown * grown), 1 - sum(W * changed, 1) / (before * after)};
}

// From -1 to 1: do large values of u and v come together?
static double correlation(Tensor u, Tensor v) {
    u = u - mean(u).item(), v = v - mean(v).item();
    return sum(u * v).item() / std::sqrt(sum(u * u).item() * sum(v * v).item());
}

static void train(Module& model, const DataSet& set, int epochs, double lr) {
    Rng rng(2);
    Adam adam(model.parameters(), {.lr = lr});
    Batches batches(set, 64);
    for (int epoch = 0; epoch < epochs; epoch++) {
        batches.shuffle(rng);
        for (Batch batch; batches.next(batch);) {
            backward(cross_entropy(model(batch.x), batch.labels));
            adam.step();
            adam.zero_grad();
        }
    }
}

static int lesson(int argc, char** argv) {
    const std::vector<double> known = singular_values(tensor({3, 0, 0, 2}, {2, 2}), 2);
    std::printf("singular values of ((3, 0), (0, 2)): %.2f %.2f\n\n", known[0], known[1]);
    FILE* file = argc > 1 ? std::fopen(argv[1], "w") : nullptr;  // for apps/pictures.cpp
    const DataSet train_set = load_mnist("data/mnist", Split::kTrain);
    Rng rng(1);
    MLP base(train_set.features(), 128, 256, 10, rng);
    train(base, train_set, 1, 0.002);
    std::printf("      singular values of layers.0's change       correlation by layer\n");
    for (const char* method : {"full", "lora", "dora"}) {
        const bool is_full = method[0] == 'f';
        MLP model(train_set.features(), 128, 256, 10, rng);
        model.load_state_dict(base.state_dict());
        AdapterSet adapters(model);
        if (!is_full)
            adapters.add("new", {.method = method[0] == 'l' ? Method::kLoRA : Method::kDoRA,
                                 .rank = 4, .alpha = 8}, rng);
        train(model, train_set, 2, 0.002);
        if (!is_full) adapters.merge_and_unload();  // leaves plain Linear layers
        NoGrad no_grad;
        StateDict before = base.state_dict(), after = model.state_dict();
        std::printf("%s ", method);
        const Tensor change = after["layers.0.weight"] - before["layers.0.weight"];
        int number = 0;
        for (double value : singular_values(change, 7)) {
            std::printf(" %5.2f", value);
            if (file) std::fprintf(file, "value %s %d %g\n", method, ++number, value);
        }
        for (const char* layer : {"layers.0.weight", "layers.2.weight", "layers.4.weight"}) {
            const auto [magnitude, direction] = row_changes(before[layer], after[layer]);
            std::printf(" %+6.2f", correlation(magnitude, direction));
            for (int64_t j = 0; file && layer[7] == '0' && j < magnitude.size(); j++)
                std::fprintf(file, "row %s %g %g\n", method, direction.at({j}), magnitude.at({j}));
        }
        std::printf("\n");
    }
    if (file) std::fclose(file);
    return 0;
}

int main(int argc, char** argv) { return run_program(argc, argv, lesson); }
