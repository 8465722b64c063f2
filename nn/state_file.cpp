// Parameters in files. See state_file.h.
#include "nn/state_file.h"

#include "data/safetensors.h"
#include "nn/linear.h"

namespace slim {

void save_parameters(Module& module, const std::string& path) {
    for (const NamedModule& m : module.named_modules()) {
        const auto* linear = dynamic_cast<const Linear*>(m.module);
        check(!linear || !linear->weight.quantized, path, ": not written: the weight of \"", m.name,
              "\" is quantised and cannot be saved. hint: save the model before quantising it");
    }
    TensorFile file;
    file.metadata = {{"format", "pt"}};
    for (const auto& [name, tensor] : module.state_dict()) file.tensors[name] = store(tensor);
    write_safetensors(path, file);
}

std::vector<int64_t> perceptron_widths(const std::string& path) {
    const TensorFile file = read_safetensors(path);
    std::vector<int64_t> widths;
    for (int64_t layer = 0;; layer += 2) {
        const auto at = file.tensors.find("layers." + to_text(layer) + ".weight");
        if (at == file.tensors.end()) break;
        const Shape& shape = at->second.shape;  // [out, in]
        check(shape.size() == 2 && (widths.empty() || widths.back() == shape[1]), path, ": ",
              at->first, " has the shape ", shape, ", which does not fit the layer before it");
        if (widths.empty()) widths.push_back(shape[1]);
        widths.push_back(shape[0]);
    }
    check(!widths.empty(), path, ": not a perceptron: there is no layers.0.weight",
          ". hint: use a file that mnist --save wrote");
    return widths;
}

void load_parameters(Module& module, const std::string& path) {
    const TensorFile file = read_safetensors(path);
    StateDict state;
    for (const auto& [name, stored] : file.tensors) state[name] = file.tensor(name);
    try {
        module.load_state_dict(state);
    } catch (const Error& e) {
        fail(path, ": ", e.what());
    }
}

}  // namespace slim
