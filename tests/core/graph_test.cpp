// The picture of a graph: its boxes, ellipses and edges, what is grey, and that it is valid DOT.
#include "core/graph.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>  // system
#include <sstream>

#include "nn/linear.h"
#include "tests/testing.h"

namespace slim {

namespace {

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

// The lines of the picture that have all of these words.
size_t count(const std::string& dot, const std::vector<std::string>& words) {
    size_t n = 0;
    for (const std::string& line : lines_of(dot)) {
        const auto has = [&](const std::string& word) {
            return line.find(word) != std::string::npos;
        };
        n += std::all_of(words.begin(), words.end(), has);
    }
    return n;
}

// The "t3" of the box or ellipse whose label begins with the text.
std::string id_of(const std::string& dot, const std::string& label) {
    for (const std::string& line : lines_of(dot))
        if (line.find("label=\"" + label + "\\n") != std::string::npos)
            return line.substr(4, line.find(' ', 4) - 4);
    FAIL("no label begins with " << label << " in " << dot);
    return "";
}

// Whether Graphviz takes it; true where Graphviz is not installed.
bool graphviz_accepts(const std::string& dot) {
    if (std::system("command -v dot >/dev/null") != 0) return true;
    std::FILE* graphviz = popen("dot -Tsvg >/dev/null 2>&1", "w");
    REQUIRE(graphviz);
    std::fputs(dot.c_str(), graphviz);
    return pclose(graphviz) == 0;
}

}  // namespace

TEST_CASE(
    "to_graphviz: an op is a box, its inputs are ellipses, edges lead from inputs to results") {
    const Tensor x = zeros({5, 3});
    Tensor w = zeros({2, 3}).set_requires_grad(), frozen = zeros({2});
    const Tensor y = relu(linear(x, w, frozen));
    const std::string dot = to_graphviz(y, {{"fc.weight", w}, {"fc.bias", frozen}});
    CHECK(dot.find("digraph") == 0);
    CHECK(count(dot, {"shape=box"}) == 2);
    CHECK(count(dot, {"shape=box", "label=\"linear\\n(5, 2)\""}) == 1);
    CHECK(count(dot, {"shape=box", "label=\"relu\\n(5, 2)\""}) == 1);
    CHECK(count(dot, {"shape=ellipse"}) == 3);
    CHECK(count(dot, {"shape=ellipse", "label=\"fc.weight\\n(2, 3)\""}) == 1);
    CHECK(count(dot, {"shape=ellipse", "label=\"constant\\n(5, 3)\""}) == 1);
    CHECK(count(dot, {" -> "}) == 4);
    const std::string linear = id_of(dot, "linear");
    CHECK(count(dot, {"    " + id_of(dot, "constant") + " -> " + linear}) == 1);
    CHECK(count(dot, {"    " + id_of(dot, "fc.weight") + " -> " + linear}) == 1);
    CHECK(count(dot, {"    " + id_of(dot, "fc.bias") + " -> " + linear}) == 1);
    CHECK(count(dot, {"    " + linear + " -> " + id_of(dot, "relu")}) == 1);
    CHECK(graphviz_accepts(dot));
}

TEST_CASE("to_graphviz: what gets no gradient is grey, and so are its edges") {
    Tensor w = zeros({3}).set_requires_grad(), frozen = zeros({3});
    const std::string dot = to_graphviz(w * frozen, {{"w", w}, {"frozen", frozen}});
    CHECK(count(dot, {"label=\"frozen", "#e4e4e4", "#888888"}) == 1);
    CHECK(count(dot, {"label=\"w", "#e4e4e4"}) == 0);
    CHECK(count(dot, {"#e4e4e4"}) == 1);
    CHECK(count(dot, {id_of(dot, "frozen") + " -> ", "style=dashed"}) == 1);
    CHECK(count(dot, {"style=dashed"}) == 1);
}

TEST_CASE("to_graphviz: a shared value is drawn once, an input used twice has two edges") {
    Tensor x = zeros({2}).set_requires_grad();
    const Tensor a = exp(x);
    const std::string dot = to_graphviz(a * a + tanh(a));
    CHECK(count(dot, {"label=\"exp"}) == 1);
    CHECK(count(dot, {"label=\"parameter\\n(2)\""}) == 1);
    CHECK(count(dot, {"    " + id_of(dot, "exp") + " -> " + id_of(dot, "mul")}) == 2);
    CHECK(count(dot, {"    " + id_of(dot, "exp") + " -> " + id_of(dot, "tanh")}) == 1);
    CHECK(graphviz_accepts(dot));
}

TEST_CASE(
    "to_graphviz: a result can have a name; a leaf alone is a picture; absent inputs are not") {
    Tensor x = zeros({2, 2}).set_requires_grad();
    const Tensor loss = sum(x);
    CHECK(count(to_graphviz(loss, {{"loss", loss}}), {"label=\"loss = sum\\n()\""}) == 1);
    CHECK(count(to_graphviz(x, {{"x", x}}), {"shape=ellipse"}) == 1);
    CHECK(count(to_graphviz(linear(x, x)), {" -> "}) == 2);  // without a bias
    CHECK_ERROR(to_graphviz(Tensor()), "undefined");
}

TEST_CASE("to_graphviz: names may hold anything") {
    Tensor x = zeros({2}).set_requires_grad();
    const std::string dot = to_graphviz(exp(x), {{"a \"quoted\" \\ name\n{|}<é>", x}});
    CHECK(dot.find(R"~(label="a \"quoted\" \\ name\n{|}<é>\n(2)")~") != std::string::npos);
    CHECK(graphviz_accepts(dot));
    CHECK(graphviz_accepts(to_graphviz(exp(x), {{"ends in \\", x}})));
}

TEST_CASE("to_graphviz: a graph that was used up is refused, and drawing leaves it usable") {
    Tensor x = zeros({2}).set_requires_grad();
    const Tensor y = sum(exp(x));
    to_graphviz(y);
    backward(y);
    CHECK(x.grad().at({0}) == 1);
    CHECK_ERROR(to_graphviz(y), "to_graphviz", "already used", "hint");
}

TEST_CASE("to_graphviz: a chain of 20,000 ops needs no stack") {
    Tensor y = zeros({1}).set_requires_grad();
    for (int i = 0; i < 20000; i++) y = add_scalar(y, 1);
    CHECK(count(to_graphviz(y), {"shape=box"}) == 20000);
}

}  // namespace slim
