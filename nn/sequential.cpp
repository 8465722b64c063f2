// Sequential and MLP. See sequential.h.
#include "nn/sequential.h"

#include "nn/activation.h"
#include "nn/linear.h"

namespace slim {

std::vector<Member> Sequential::members() {
    std::vector<Member> list;
    for (size_t i = 0; i < layers.size(); i++) list.push_back({std::to_string(i), layers[i]});
    return list;
}

ModulePtr& Sequential::operator[](size_t i) {
    check(i < layers.size(), "Sequential: layer ", i, " of ", layers.size(),
          "; layers count from 0");
    return layers[i];
}

Tensor Sequential::forward(const Tensor& x) {
    Tensor y = x;
    for (const ModulePtr& layer : layers) y = layer->forward(y);
    return y;
}

MultilayerPerceptron::MultilayerPerceptron(const std::vector<int64_t>& widths, Rng& rng)
    : layers({}) {
    check(widths.size() >= 2, "MultilayerPerceptron: ", widths.size(),
          " widths; at least those of its inputs and outputs are needed");
    for (size_t i = 0; i + 1 < widths.size(); i++) {
        if (i > 0) layers.layers.push_back(std::make_shared<ReLU>());
        layers.layers.push_back(std::make_shared<Linear>(widths[i], widths[i + 1], rng));
    }
}

MultilayerPerceptron::MultilayerPerceptron(int64_t inputs, int64_t hidden_1, int64_t hidden_2,
                                           int64_t classes, Rng& rng)
    : MultilayerPerceptron({inputs, hidden_1, hidden_2, classes}, rng) {}

}  // namespace slim
