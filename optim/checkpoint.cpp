// Training checkpoints. See checkpoint.h.
//
// In the file: "model.<name>" for each parameter, "optimizer.<parameter>.<k>" for each tensor of
// the optimiser's state, and integers for the rest. Doubles are kept as their bits.
#include "optim/checkpoint.h"

#include <bit>  // bit_cast

#include "data/safetensors.h"

namespace slim {

namespace {

const std::string kModel = "model.", kOptimizer = "optimizer.";

std::vector<int64_t> pack(const TrainProgress& p) {
    return {p.epoch,
            p.step,
            int64_t(p.position.shuffled),
            std::bit_cast<int64_t>(p.position.order),
            p.position.next,
            p.images,
            p.correct,
            std::bit_cast<int64_t>(p.loss)};
}

TrainProgress unpack(const std::vector<int64_t>& v, const std::string& path) {
    check(v.size() == 8, path, ": the progress has ", v.size(), " numbers instead of 8");
    return {v[0], v[1], {v[2] != 0, std::bit_cast<uint64_t>(v[3]), v[4]},
            v[5], v[6], std::bit_cast<double>(v[7])};
}

std::vector<int64_t> generator_states(const TrainState& run) {
    std::vector<int64_t> states{std::bit_cast<int64_t>(run.rng.state)};
    for (const Rng* rng : run.model.rngs()) states.push_back(std::bit_cast<int64_t>(rng->state));
    return states;
}

// The tensors of the file whose names begin with the prefix, without it.
StateDict with_prefix(const TensorFile& file, const std::string& prefix) {
    StateDict state;
    for (const auto& [name, stored] : file.tensors)
        if (name.starts_with(prefix)) state[name.substr(prefix.size())] = file.tensor(name);
    return state;
}

std::string config_of(const TensorFile& file) {
    const auto at = file.metadata.find("slimgrad_config");
    check(at != file.metadata.end(), file.path, ": this is not a training checkpoint of slimgrad",
          ". hint: --resume takes the .checkpoint file that --save wrote");
    return at->second;
}

}  // namespace

void save_checkpoint(const std::string& path, const TrainState& run, const std::string& config) {
    TensorFile file;
    for (const auto& [name, tensor] : run.model.state_dict())
        file.tensors[kModel + name] = store(tensor);
    for (const auto& [name, tensor] : run.optimizer.state_dict())
        file.tensors[kOptimizer + name] = store(tensor);
    file.tensors["steps"] = store(run.optimizer.steps());
    file.tensors["progress"] = store(pack(run.progress));
    file.tensors["generators"] = store(generator_states(run));
    file.metadata["slimgrad_config"] = config;
    write_safetensors(path, file);
}

std::string checkpoint_config(const std::string& path) { return config_of(read_safetensors(path)); }

void load_checkpoint(const std::string& path, const TrainState& run, const std::string& config) {
    const TensorFile file = read_safetensors(path);
    check(config_of(file) == config, path, ": the checkpoint is of another run: it was made with ",
          config_of(file), ", but this run is ", config, ". hint: use the same options to resume");
    const std::vector<int64_t> generators = file.integers("generators");
    const std::vector<Rng*> rngs = run.model.rngs();
    check(generators.size() == rngs.size() + 1, path, ": the states of ", generators.size(),
          " generators, but the run has ", rngs.size() + 1);
    const TrainProgress progress = unpack(file.integers("progress"), path);
    const std::vector<int64_t> steps = file.integers("steps");
    const StateDict optimizer = with_prefix(file, kOptimizer);
    run.optimizer.check_state(optimizer, steps);

    run.model.load_state_dict(with_prefix(file, kModel));  // the last that can throw
    run.optimizer.load_state(optimizer, steps);
    run.rng.state = std::bit_cast<uint64_t>(generators[0]);
    for (size_t i = 0; i < rngs.size(); i++)
        rngs[i]->state = std::bit_cast<uint64_t>(generators[i + 1]);
    run.progress = progress;
}

}  // namespace slim
