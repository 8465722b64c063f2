// The two savers as a program, for run.sh: save_parameters() and save_adapter().
//
//     savers model|adapter save FOLDER VALUE    all that is saved has this value
//     savers model|adapter load FOLDER          prints the value, after checking that all have it
//     savers model|adapter kill FOLDER TIMES    kills a saving process at random moments
//
// Ends with status 1 and one sentence if that cannot be done.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>  // sort
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "nn/peft/peft.h"
#include "nn/sequential.h"
#include "nn/state_file.h"

using namespace slim;

namespace {

std::shared_ptr<Sequential> make_model() {
    Rng rng(1);
    return std::make_shared<Sequential>(std::vector<ModulePtr>{
        std::make_shared<Linear>(64, 96, rng), std::make_shared<Linear>(96, 10, rng)});
}

// One of the two savers. The rank is the value: the adapter's two files must agree about it.
struct Saver {
    bool adapter;
    std::string folder;

    void save(int value) const {
        const auto model = make_model();
        Rng rng(2);
        if (adapter) {
            const AdapterSet set = attach(*model, {.rank = value, .alpha = double(value)}, rng);
            for (const auto& [name, parameter] : model->named_parameters())
                if (parameter.requires_grad()) fill(parameter, value);
            save_adapter(folder, set);
        } else {
            for (const auto& [name, parameter] : model->named_parameters()) fill(parameter, value);
            save_parameters(*model, folder + "/model.safetensors");
        }
    }

    int load() const {
        const auto model = make_model();
        Rng rng(2);
        AdapterSet set(*model);
        int64_t rank = 0;
        if (adapter) {
            const LoadedAdapter loaded = load_adapter(folder);
            rank = loaded.config.rank;
            set = attach_adapter(*model, loaded, rng);
        } else {
            load_parameters(*model, folder + "/model.safetensors");
        }
        real value = 0;
        for (const auto& [name, parameter] : model->named_parameters()) {
            if (adapter && !parameter.requires_grad()) continue;
            if (value == 0) value = parameter.data()[0];
            for (real v : parameter.to_vector()) check(v == value, name, " is mixed");
        }
        check(!adapter || real(rank) == value, "the config is not of these tensors");
        return int(value);
    }

    std::vector<std::string> names() const {
        std::vector<std::string> result;
        for (const auto& entry : std::filesystem::directory_iterator(folder))
            result.push_back(entry.path().filename());
        std::sort(result.begin(), result.end());
        return result;
    }

    // After each kill the old state or the new one loads, and the next save leaves no other file.
    void kill_often(int times) const {
        save(1);
        const std::vector<std::string> before = names();
        Rng rng{uint64_t(getpid())};
        int changed = 0, was = 1;
        for (int i = 0; i < times; i++) {
            const pid_t child = fork();
            check(child >= 0, "fork failed");
            if (child == 0) {
                alarm(60);  // should the parent fail
                try {
                    for (int value = 2;; value = 5 - value) save(value);
                } catch (const std::exception& e) {
                    std::fprintf(stderr, "%s\n", e.what());
                    _exit(1);
                }
            }
            usleep(useconds_t(rng.below(20'000)));
            kill(child, SIGKILL);
            waitpid(child, nullptr, 0);
            const int value = load();
            changed += value != was;
            save(was = 1 + value % 3);
            check(names() == before, "kill ", i, ": a file is left behind");
        }
        std::printf("%d kills, %d of them after a save\n", times, changed);
    }

    static void fill(Tensor tensor, int value) {
        real* values = tensor.mutable_data();
        for (int64_t i = 0; i < tensor.size(); i++) values[i] = real(value);
    }
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) return 2;
    const std::string what = argv[1], action = argv[2];
    const Saver saver{what == "adapter", argv[3]};
    try {
        if (action == "load") std::printf("%d\n", saver.load());
        else if (action == "save") saver.save(std::atoi(argv[4]));
        else saver.kill_often(std::atoi(argv[4]));
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
}
