// Draws what the engine records: the graph of a small network, one layer with LoRA and one with
// DoRA, each written as it is defined. (In training LoRA's layer is one op and DoRA's three: see
// nn/adapters/dora.cpp.) The README's picture is its output.
//
// run:  build/graph | dot -Tsvg > apps/lessons/lora_dora_graph.svg
#include <cstdio>

#include "apps/program.h"
#include "core/graph.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/adapters/dora.h"

using namespace slim;

static int graph(int argc, char** argv) {
    Options options("Writes the graph of a LoRA and a DoRA layer, for Graphviz.");
    options.parse_strict(argc, argv);

    Rng rng(1);
    const auto frozen = [&](int64_t in, int64_t out) {
        auto linear = std::make_shared<Linear>(in, out, rng);
        linear->set_requires_grad(false);
        return linear;
    };
    const AdapterConfig adapter{.rank = 4, .alpha = 8};
    LinearWithLoRA first(frozen(784, 128), adapter, rng);
    LinearWithDoRAMerged second(frozen(128, 10), adapter, rng);

    // x asks for a gradient, as inside a model. Otherwise x W^T with a frozen W would need none,
    // and would be missing from the picture.
    Tensor x = zeros({64, 784}).set_requires_grad();
    const Tensor h = first.linear->forward(x) + first.lora.forward(x);
    const Tensor loss = cross_entropy(second(h), std::vector<int>(64));

    std::vector<std::pair<std::string, Tensor>> names{{"x", x}};
    for (const NamedParameter& p : first.named_parameters())
        names.push_back({"0." + p.name, p.tensor});
    for (const NamedParameter& p : second.named_parameters())
        names.push_back({"1." + p.name, p.tensor});
    std::printf("%s", to_graphviz(loss, names).c_str());
    return 0;
}

int main(int argc, char** argv) { return run_program(argc, argv, graph); }
