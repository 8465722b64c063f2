// The graph behind a tensor as a picture: text for Graphviz, to be printed by a program and drawn
// with `dot`. build/graph prints that of a network of two layers, one with LoRA, one with DoRA:
//
//     build/graph | dot -Tsvg > graph.svg
//
// Boxes are ops with the shape of their result, ellipses are the tensors that they start from. What
// gets no gradient (frozen parameters, data) is grey and its edges are dashed. backward() follows
// the solid edges in reverse.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace slim {

// Names for the tensors, such as Module::named_parameters() knows. An ellipse without a name is a
// "parameter" if it requires a gradient, else a "constant". Ops on constants alone leave no node:
// their results are constants too. Throws when a backward pass has used the graph up.
std::string to_graphviz(const Tensor& y,
                        const std::vector<std::pair<std::string, Tensor>>& names = {});

}  // namespace slim
