// Training checkpoints. See checkpoint.h.
//
// In the file: "model.<name>" for each parameter, "optimizer.<i>.<k>" for tensor k of the state of
// the optimiser's parameter i, and integers for the rest. Doubles are kept as their bits. The
// metadata holds texts that say what run this is.
#include "optim/checkpoint.h"

#include <algorithm>  // find, min
#include <bit>  // bit_cast
#include <cmath>  // isfinite
#include <cstring>  // memcmp, memcpy

#include "data/safetensors.h"
#include "nn/adapters/adapter.h"
#include "nn/linear.h"

namespace slim {

namespace {

const std::string kModel = "model.", kOptimizer = "optimizer.";

std::vector<int64_t> pack(const TrainProgress& p) {
    return {p.epoch,
            p.step,
            int64_t(p.position.shuffled),
            std::bit_cast<int64_t>(p.position.order),
            p.position.next,
            p.items,
            p.correct,
            std::bit_cast<int64_t>(p.loss),
            std::bit_cast<int64_t>(p.seconds)};
}

TrainProgress unpack(const std::vector<int64_t>& v, const std::string& path) {
    check(v.size() == 9, path, ": the progress has ", v.size(), " values instead of 9");
    const TrainProgress p{v[0], v[1], {v[2] != 0, std::bit_cast<uint64_t>(v[3]), v[4]},
                          v[5], v[6], std::bit_cast<double>(v[7]), std::bit_cast<double>(v[8])};
    const bool possible = p.epoch >= 0 && p.step >= 0 && (v[2] == 0 || v[2] == 1) &&
                          p.position.next >= 0 && p.correct >= 0 && p.correct <= p.items &&
                          (p.items == 0 || p.items == p.position.next) &&
                          std::isfinite(p.loss) && p.loss >= 0 && std::isfinite(p.seconds) &&
                          p.seconds >= 0;
    check(possible, path, ": damaged: no run can be at epoch ", p.epoch, ", step ", p.step,
          ", item ", p.position.next, " with ", p.correct, " of ", p.items, " items right");
    return p;
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
          ". hint: resume from a .checkpoint file, which training writes");
    return at->second;
}

// Returns the settings of `config` that `other` lacks. Commas separate settings.
std::string difference(const std::string& config, const std::string& other) {
    const auto settings = [](const std::string& text) {
        std::vector<std::string> parts(1);
        for (const char c : text)
            if (c == ',') parts.emplace_back();
            else if (c != '{' && c != '}' && c != '"') parts.back() += c;
        return parts;
    };
    const std::vector<std::string> others = settings(other);
    std::string text;
    for (const std::string& part : settings(config))
        if (std::find(others.begin(), others.end(), part) == others.end())
            text += (text.empty() ? "" : ", ") + part;
    return text.empty() ? "nothing else" : text;
}

uint64_t hash(const void* data, size_t bytes, uint64_t h) {
    const auto* p = static_cast<const uint8_t*>(data);
    while (bytes > 0) {
        uint64_t word = 0;
        const size_t n = std::min(bytes, sizeof word);
        std::memcpy(&word, p, n);
        h = (h ^ word) * 0x9E3779B97F4A7C15u;
        h ^= h >> 32;
        p += n;
        bytes -= n;
    }
    return h;
}

uint64_t hash(const Tensor& x, uint64_t h) {
    return hash(x.data(), size_t(x.size()) * sizeof(real), h);
}

// Of the weights that are in no state dict, because they are quantised.
uint64_t hash_quantized(Module& model, uint64_t h) {
    for (const NamedModule& m : model.named_modules())
        if (auto* linear = dynamic_cast<Linear*>(m.module); linear && linear->weight.quantized)
            h = hash(linear->weight.quantized->dequantized(), h);
    return h;
}

// The optimiser's parameters by name, one per line: "layers.0.weight: Adam(lr=0.001, ...)".
std::string describe(const Optimizer& optimizer, Module& model) {
    std::map<const TensorImpl*, std::string> names;
    for (const NamedParameter& p : model.named_parameters()) names[p.tensor.impl.get()] = p.name;
    const std::vector<Tensor> parameters = optimizer.parameters();
    const std::vector<std::string> descriptions = optimizer.descriptions();
    std::string text;
    for (size_t i = 0; i < parameters.size(); i++) {
        const auto at = names.find(parameters[i].impl.get());
        check(at != names.end(), "checkpoint: parameter ", i, " of the optimiser, of shape ",
              parameters[i].shape(), ", is not the model's, so it cannot be saved",
              ". hint: make it a member of the model");
        text += at->second + ": " + descriptions[i] + "\n";
    }
    return text;
}

// The adapters in the model, one per line: "layers.0: default".
std::string describe_adapters(Module& model) {
    std::string text;
    for (const NamedModule& m : model.named_modules())
        if (auto* adapter = dynamic_cast<Adapter*>(m.module))
            text += m.name + ": " + adapter->set_name + "\n";
    return text;
}

// What two runs must have in common for one to go on where the other stopped, by name.
std::map<std::string, std::string> identity(const TrainState& run) {
    std::map<std::string, std::string> texts{
        {"model", to_string(run.model)},
        {"adapter", describe_adapters(run.model)},
        {"optimizer", describe(run.optimizer, run.model)},
        {"quantised weights", std::to_string(hash_quantized(run.model, 0))}};
    if (!run.data.empty()) texts["data"] = run.data;
    return texts;
}

// The first lines in which two texts differ.
std::pair<std::string, std::string> first_difference(std::string a, std::string b) {
    while (true) {
        const std::string x = a.substr(0, a.find('\n')), y = b.substr(0, b.find('\n'));
        if (x != y || x.size() == a.size() || y.size() == b.size()) return {x, y};
        a.erase(0, x.size() + 1);
        b.erase(0, y.size() + 1);
    }
}

void check_identity(const TensorFile& file, const TrainState& run) {
    for (const auto& [name, text] : identity(run)) {
        const auto at = file.metadata.find("slimgrad_" + name);
        if (name == "data" && at == file.metadata.end()) continue;  // was not compared then either
        check(at != file.metadata.end(), file.path, ": does not say what ", name,
              " it was made with. hint: train anew");
        const auto [theirs, ours] = first_difference(at->second, text);
        check(theirs == ours, file.path, ": the checkpoint was made with another ", name, ": ",
              theirs, ", but this run has ", ours);
    }
}

// The base must be the one that the checkpoint's adapters were trained on.
void check_frozen(const StateDict& state, const TrainState& run, const std::string& path) {
    for (const NamedParameter& p : run.model.named_parameters()) {
        const auto at = state.find(p.name);
        if (p.tensor.requires_grad() || at == state.end()) continue;
        const bool same = at->second.shape() == p.tensor.shape() &&
                          std::memcmp(at->second.data(), p.tensor.data(),
                                      size_t(p.tensor.size()) * sizeof(real)) == 0;
        check(same, path, ": the checkpoint was made on another base: the frozen parameter ",
              p.name, " differs. hint: load the base that it was made on");
    }
}

}  // namespace

std::string describe_data(const DataSet& images, int64_t batch_size, bool shuffle) {
    uint64_t bits = hash(images.pixels.data(), images.pixels.size(), 0);
    bits = hash(images.values.data(), images.values.size() * sizeof(float), bits);
    bits = hash(images.labels.data(), images.labels.size(), bits);
    return to_text(images.count) + " items of " + to_text(images.rows) + " x " +
           to_text(images.cols) + " (fingerprint " + std::to_string(bits) + "), " +
           to_text(batch_size) + " per step, " + (shuffle ? "shuffled" : "in order");
}

std::string fingerprint(Module& model) {
    uint64_t h = hash_quantized(model, 0);
    for (const auto& [name, tensor] : model.state_dict())
        h = hash(tensor, hash(name.data(), name.size(), h));
    return std::to_string(h);
}

void save_checkpoint(const std::string& path, const TrainState& run, const std::string& config) {
    TensorFile file;
    for (const auto& [name, tensor] : run.model.state_dict())
        file.tensors[kModel + name] = store(tensor);
    for (const auto& [name, tensor] : run.optimizer.state_dict())
        file.tensors[kOptimizer + name] = store(tensor);
    file.tensors["steps"] = store(run.optimizer.steps());
    file.tensors["progress"] = store(pack(run.progress));
    file.tensors["generators"] = store(generator_states(run));
    file.tensors["lr_factor"] = store({std::bit_cast<int64_t>(run.optimizer.lr_factor)});
    file.metadata["slimgrad_config"] = config;
    for (const auto& [name, text] : identity(run)) file.metadata["slimgrad_" + name] = text;
    write_safetensors(path, file);
}

std::string checkpoint_config(const std::string& path) { return config_of(read_safetensors(path)); }

void load_checkpoint(const std::string& path, const TrainState& run, const std::string& config) {
    const TensorFile file = read_safetensors(path);
    check(config_of(file) == config, path, ": the checkpoint is of another run: it was made with ",
          difference(config_of(file), config), ", but this run has ",
          difference(config, config_of(file)), ". hint: use the same options to resume");
    const std::vector<int64_t> generators = file.integers("generators");
    const std::vector<Rng*> rngs = run.model.rngs();
    check(generators.size() == rngs.size() + 1, path, ": the states of ", generators.size(),
          " generators, but the run has ", rngs.size() + 1);
    const TrainProgress progress = unpack(file.integers("progress"), path);
    const std::vector<int64_t> steps = file.integers("steps");
    const std::vector<int64_t> lr_factor = file.integers("lr_factor");
    check(lr_factor.size() == 1, path, ": lr_factor has ", lr_factor.size(), " values; expected 1");
    const double factor = std::bit_cast<double>(lr_factor[0]);
    check(std::isfinite(factor) && factor >= 0, path, ": damaged: lr_factor = ", factor);
    check_identity(file, run);
    const StateDict optimizer = with_prefix(file, kOptimizer), model = with_prefix(file, kModel);
    run.optimizer.check_state(optimizer, steps);
    if (!run.frozen_from_checkpoint) check_frozen(model, run, path);

    run.model.load_state_dict(model);  // the last that can throw
    run.optimizer.load_state(optimizer, steps);
    run.optimizer.lr_factor = factor;
    run.rng.state = std::bit_cast<uint64_t>(generators[0]);
    for (size_t i = 0; i < rngs.size(); i++)
        rngs[i]->state = std::bit_cast<uint64_t>(generators[i + 1]);
    run.progress = progress;
}

}  // namespace slim
