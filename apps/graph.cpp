// Draws what the engine records: the graph of a small network, one layer with LoRA and one with
// DoRA. The README's picture is its output.
//
// run:  build/graph | dot -Tsvg > apps/lessons/lora_dora_graph.svg
#include <cstdio>

#include "apps/program.h"
#include "core/graph.h"
#include "core/ops.h"
#include "nn/adapt.h"
#include "nn/sequential.h"

using namespace slim;

static int graph(int argc, char** argv) {
    Options options("Writes the graph of a LoRA and a DoRA layer, for Graphviz.");
    options.parse(argc, argv);

    Rng rng(1);
    auto plain = [&](int64_t in, int64_t out) {
        return std::make_shared<Linear>(in, out, rng);
    };
    const AdapterOptions adapter{.rank = 4, .alpha = 8};
    Sequential model({std::make_shared<LinearWithLoRA>(plain(784, 128), adapter, rng),
                      std::make_shared<LinearWithDoRA>(plain(128, 10), adapter, rng)});
    freeze_linear_layers(model);

    // x asks for a gradient so that the picture is that of a layer inside a model: for the first
    // layer, what the frozen weight does to x needs none, and no op of it is recorded.
    Tensor x = zeros({64, 784}).set_requires_grad();
    std::vector<std::pair<std::string, Tensor>> names{{"x", x}};
    for (const NamedParameter& p : model.named_parameters()) names.push_back({p.name, p.tensor});
    const Tensor loss = cross_entropy(model(x), std::vector<int>(64));
    std::printf("%s", to_graphviz(loss, names).c_str());
    return 0;
}

int main(int argc, char** argv) { return run_program(argc, argv, graph); }
