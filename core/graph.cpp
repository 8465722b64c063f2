// The graph as text for Graphviz. See graph.h.
#include "core/graph.h"

#include <map>

#include "core/autograd.h"

namespace slim {

namespace {

using Impl = TensorImpl;  // its address is a tensor's key: handles come and go

// A string of the DOT language: quotes and backslashes get a backslash, a line break becomes \n.
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
    for (const Tensor& tensor : tensors_behind("to_graphviz", y)) {
        const Impl* x = tensor.impl.get();
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
