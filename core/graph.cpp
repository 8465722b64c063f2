// The graph as text for Graphviz. See graph.h.
#include "core/graph.h"

#include <algorithm>  // sort
#include <map>
#include <unordered_set>

#include "core/autograd.h"

namespace slim {

namespace {

using Impl = TensorImpl;  // what a tensor is told apart by: its handles come and go

// A string of the DOT language: in it, only quotes and backslashes mean something.
std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (char c : text) {
        if (c == '\n') {
            result += "\\n";
            continue;
        }
        if (c == '"' || c == '\\') result += '\\';
        result += c;
    }
    return result + "\"";
}

// y and everything that it was computed from, in the order in which it was made; leaves come first.
std::vector<const Impl*> tensors_behind(const Tensor& y) {
    std::vector<const Impl*> found, pending{y.impl.get()};
    std::unordered_set<const Impl*> seen;
    while (!pending.empty()) {
        const Impl* x = pending.back();
        pending.pop_back();
        check(!x->graph_used, "to_graphviz: the graph behind a tensor of shape ", x->shape,
              " was already used by a backward pass, which frees it. hint: draw it before");
        if (!seen.insert(x).second) continue;
        found.push_back(x);
        if (!x->node) continue;
        for (size_t i = x->node->inputs.size(); i-- > 0;)  // so that the first is found first
            if (const Tensor& input = x->node->inputs[i]; input.defined())
                pending.push_back(input.impl.get());
    }
    std::stable_sort(found.begin(), found.end(), [](const Impl* a, const Impl* b) {
        return (a->node ? a->node->number : 0) < (b->node ? b->node->number : 0);
    });
    return found;
}

}  // namespace

std::string to_graphviz(const Tensor& y, const std::vector<std::pair<std::string, Tensor>>& names) {
    y.size();  // throws if y is undefined
    std::map<const Impl*, std::string> name_of;
    for (const auto& [name, tensor] : names)
        if (tensor.defined()) name_of[tensor.impl.get()] = name;

    std::string dot =
        "digraph slimgrad {\n"
        "    bgcolor=white\n"
        "    node [fontname=\"Helvetica\", fontsize=12, height=0.4, style=filled, "
        "fillcolor=white]\n"
        "    edge [color=\"#333333\", arrowsize=0.7]\n";

    std::map<const Impl*, std::string> id;  // t0, t1, ...: nodes of the picture
    std::string edges;
    for (const Impl* x : tensors_behind(y)) {
        id[x] = "t" + std::to_string(id.size());
        std::string label = x->node ? x->node->op : x->requires_grad ? "parameter" : "constant";
        if (name_of.count(x)) label = name_of[x] + (x->node ? " = " + label : "");
        const char* look = x->node            ? "shape=box, fillcolor=\"#dceaf7\""
                           : x->requires_grad ? "shape=ellipse, fillcolor=\"#fde7c7\""
                                              : "shape=ellipse, fillcolor=\"#e4e4e4\", "
                                                "color=\"#888888\", fontcolor=\"#555555\"";
        dot += "    " + id[x] + " [" + look + ", label=" +
               quoted(label + "\n" + to_text(x->shape)) + "]\n";
        if (!x->node) continue;
        for (const Tensor& input : x->node->inputs)
            if (input.defined())
                edges += "    " + id[input.impl.get()] + " -> " + id[x] +
                         (input.requires_grad() ? "\n" : " [style=dashed, color=\"#888888\"]\n");
    }
    return dot + edges + "}\n";
}

}  // namespace slim
