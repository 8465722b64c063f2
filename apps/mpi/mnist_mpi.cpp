// Data-parallel training on MNIST, over MPI. Each process, a "rank", holds the model and computes
// the gradients of its share of every batch. Only the gradients of what is trained travel: one
// MPI_Allreduce of one flat buffer per step, after which all ranks make the same step of Adam.
//
// run:  mpirun -n 2 build/mnist_mpi --method lora
#include <mpi.h>
#include <unistd.h>  // sleep

#include <algorithm>  // copy_n
#include <chrono>
#include <cmath>  // isfinite
#include <cstdio>
#include <cstdlib>  // atexit

#include "apps/program.h"
#include "core/autograd.h"
#include "core/gemm.h"
#include "core/ops.h"
#include "data/json.h"
#include "nn/adapters/adapt.h"
#include "nn/sequential.h"
#include "nn/state_file.h"
#include "optim/adam.h"
#include "optim/checkpoint.h"
#include "optim/trainer.h"

using namespace slim;

namespace {

using Clock = std::chrono::steady_clock;
const MPI_Datatype kReal = sizeof(real) == 8 ? MPI_DOUBLE : MPI_FLOAT;

struct Settings {
    std::string data = "data/mnist", method = "full", base, save, resume;
    int64_t epochs = 1, steps = 0, batch = 64, seed = 1;
    double lr = 0.001;
};

std::shared_ptr<MLP> make_model(const std::string& method, const std::string& base, Rng& rng) {
    auto model = std::make_shared<MLP>(784, 128, 256, 10, rng);
    if (!base.empty()) load_parameters(*model, base);
    const Method adapter = method == "lora" ? Method::kLoRA : Method::kDoRA;
    if (method != "full")
        attach(*model, tutorial_preset(4, 8, adapter), rng);
    return model;
}

// Adds up the gradients of all ranks. One whose share of the batch was empty gives zeros.
void sum_over_ranks(const std::vector<Tensor>& parameters, std::vector<real>& flat) {
    flat.clear();
    for (Tensor p : parameters) {
        if (!p.requires_grad()) continue;  // frozen
        const real* grad = p.mutable_grad();
        flat.insert(flat.end(), grad, grad + p.size());
    }
    MPI_Allreduce(MPI_IN_PLACE, flat.data(), int(flat.size()), kReal, MPI_SUM, MPI_COMM_WORLD);
    const real* sum = flat.data();
    for (Tensor p : parameters) {
        if (!p.requires_grad()) continue;
        std::copy_n(sum, p.size(), p.mutable_grad());
        sum += p.size();
    }
}

// Throws on rank 0 unless all ranks would do the same: otherwise they would wait for each other
// forever, or train different models. The other ranks go on to the next broadcast, and end there.
void compare_ranks(const Settings& s, const std::string& data, const TrainProgress& p, int rank,
                   int ranks) {
    const std::vector<std::pair<std::string, std::string>> options{
        {"--method", s.method},
        {"--epochs", to_text(s.epochs)},
        {"--steps", to_text(s.steps)},
        {"--batch-size", to_text(s.batch)},
        {"--lr", Json(s.lr).dump(-1)},  // all digits
        {"--resume at step", to_text(p.step)},
        {"--data", data},
        {"bytes of a number", to_text(sizeof(real))}};
    constexpr size_t kWidth = 200;  // of one value
    std::string mine, all;
    for (const auto& [name, value] : options) {
        mine += value.substr(0, kWidth);
        mine.resize((mine.size() + kWidth - 1) / kWidth * kWidth, ' ');
    }
    all.resize(mine.size() * size_t(ranks));
    MPI_Gather(mine.data(), int(mine.size()), MPI_CHAR, all.data(), int(mine.size()), MPI_CHAR, 0,
               MPI_COMM_WORLD);
    if (rank > 0) return;
    for (int other = 1; other < ranks; other++)
        for (size_t i = 0; i < options.size(); i++) {
            const std::string theirs = all.substr(size_t(other) * mine.size() + i * kWidth, kWidth);
            check(theirs == mine.substr(i * kWidth, kWidth), options[i].first, ": rank ", other,
                  " has ", theirs.substr(0, theirs.find_last_not_of(' ') + 1), ", rank 0 has ",
                  options[i].second, ". hint: give all ranks the same options");
        }
}

void train(const Settings& s, int rank, int ranks) {
    Rng rng{uint64_t(s.seed)};  // the same on all ranks, and so is the order of the images
    const auto model = make_model(s.method, rank == 0 ? s.base : "", rng);
    Adam adam(model->parameters(), {.lr = s.lr});
    const DataSet images = load_mnist(s.data, Split::kTrain);
    const DataSet test = load_mnist(s.data, Split::kTest);
    Batches batches(images, s.batch, {rank, ranks});
    batches.shuffle(rng);
    TrainProgress p;
    const std::string data = describe_data(images, s.batch, true);
    // The base comes from rank 0 below, or from the checkpoint.
    const TrainState run{*model, adam, rng, p, data, rank > 0 || s.base.empty()};
    // What a checkpoint must agree with to be resumed. The number of ranks may differ.
    const Json config = Json::Object{{"method", s.method}, {"seed", s.seed}, {"batch", s.batch},
                                     {"lr", s.lr}};
    if (!s.resume.empty()) {
        load_checkpoint(s.resume, run, config.dump(-1));
        batches.resume(p.position);
    }
    compare_ranks(s, data, p, rank, ranks);
    for (Tensor parameter : model->parameters())
        MPI_Bcast(parameter.mutable_data(), int(parameter.size()), kReal, 0, MPI_COMM_WORLD);

    const int64_t last = s.steps ? s.steps : s.epochs * batches.batches_per_epoch();
    std::vector<real> flat;
    double seconds = 0;
    for (int64_t timed = 1; p.step < last; timed++) {
        const Clock::time_point start = Clock::now();
        if (p.position.next == images.count) batches.shuffle(rng);
        const int64_t before = batches.state().next;
        Batch share;
        batches.next(share);
        p.position = batches.state();
        p.step++;
        adam.zero_grad();
        if (!share.labels.empty()) {
            const Tensor loss = cross_entropy((*model)(share.x), share.labels);
            check(std::isfinite(loss.item()), "the loss is ", double(loss.item()), " in step ",
                  p.step, "; training cannot go on from there. hint: try a smaller --lr");
            // The mean over the share becomes its part of the mean over the whole batch.
            backward(scale(loss, double(share.labels.size()) / double(p.position.next - before)));
        }
        sum_over_ranks(adam.parameters(), flat);
        adam.step();
        seconds += std::chrono::duration<double>(Clock::now() - start).count();

        const bool epoch_ends = p.position.next == images.count;
        p.epoch += epoch_ends;
        if (rank > 0 || !(epoch_ends || p.step == last)) continue;
        if (!s.save.empty())
            save_checkpoint(s.save + "/" + s.method + ".checkpoint", run, config.dump(-1));
        std::printf("step %ld  test accuracy %.2f %%  %.3f ms and %zu bytes per step\n",
                    long(p.step), 100 * evaluate(*model, test).accuracy,
                    1000 * seconds / double(timed), flat.size() * sizeof(real));
        std::fflush(stdout);
    }
    const std::string where = where_not_finite(*model);
    check(where.empty(), "after step ", p.step, ", ", where, ". hint: try a smaller --lr");
    if (rank == 0 && !s.save.empty())
        save_parameters(*model, s.save + "/" + s.method + ".safetensors");
}

void start(Settings& s, int argc, char** argv, int rank, int ranks) {
    check(rank == 0 || std::freopen("/dev/null", "w", stdout), "/dev/null: cannot be opened");
    Options options("Trains an MLP on MNIST in several processes: mpirun -n 2 build/mnist_mpi");
    options.add("data", s.data, "folder with the four MNIST files, for every rank", "DIR");
    options.add_choice("method", s.method, "what to train", "full|lora|dora");
    options.add("epochs", s.epochs, "epochs to train", 1, 10000);
    options.add("steps", s.steps, "steps to train instead, unless 0", 0, 1e9);
    options.add("batch-size", s.batch, "images per step, of all ranks together", 1, 60000);
    options.add("lr", s.lr, "learning rate of Adam", 0, 1e3);
    options.add("seed", s.seed, "seed of the random numbers, as rank 0 has it", 0, 1e15);
    options.add("base", s.base, "start from these parameters, read by rank 0", "FILE");
    options.add("save", s.save, "rank 0 writes here: a checkpoint per epoch, parameters", "DIR");
    options.add("resume", s.resume, "go on from this checkpoint, read by every rank", "FILE");
    options.parse_strict(argc, argv);

    MPI_Bcast(&s.seed, 1, MPI_INT64_T, 0, MPI_COMM_WORLD);
    if (rank == 0 && !s.save.empty()) make_folders(s.save);
    std::printf("slimgrad mnist_mpi: OpenBLAS core %s, ranks %d, seed %ld\n", blas_core_name(),
                ranks, long(s.seed));
    for (const char* method : {"full", "lora", "dora"}) {
        Rng rng(1);
        const int64_t sent = count_parameters(*make_model(method, "", rng)).trainable;
        std::printf("%s: %zu bytes of gradients per step\n", method, size_t(sent) * sizeof(real));
    }
}

int mnist_mpi(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    std::atexit([] { MPI_Finalize(); });  // after --help, too
    int rank = 0, ranks = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    try {
        Settings settings;
        start(settings, argc, argv, rank, ranks);
        train(settings, rank, ranks);
        return 0;
    } catch (const std::exception& e) {
        if (rank > 0) sleep(1);  // an error of all ranks is printed by rank 0, which ends all
        std::fflush(stdout);
        std::fprintf(stderr, "%s: rank %d: %s\n", argv[0], rank, e.what());
        MPI_Abort(MPI_COMM_WORLD, 1);
        return 1;
    }
}

}  // namespace

int main(int argc, char** argv) { return run_program(argc, argv, mnist_mpi); }
