// The trace. See trace.h.
#include "core/trace.h"

#include <chrono>
#include <cmath>    // sqrt
#include <cstdlib>  // getenv
#include <cstring>  // strcmp
#include <string>

#include "core/autograd.h"
#include "core/row_gradient.h"

namespace slim {

namespace {

using Clock = std::chrono::steady_clock;

bool asked_for() {
    const char* value = std::getenv("SLIM_TRACE");
    return value && *value && std::strcmp(value, "0") != 0;
}

std::FILE* trace_out = asked_for() ? stderr : nullptr;
thread_local Clock::time_point last_line = Clock::now();

double ms_since_last_line() {
    return std::chrono::duration<double, std::milli>(Clock::now() - last_line).count();
}

// One call of fprintf for each line, so that lines of two threads do not mix.
void print_line(const char* direction, const Node& node, const Tensor& y, double ms,
                const std::string& rest) {
    std::string shapes;
    for (const Tensor& input : node.inputs)
        if (input.defined()) shapes += to_text(input.shape()) + " ";
    shapes += "-> " + to_text(y.shape());
    std::fprintf(trace_out, "%-8s  %-18s  %-46s %9.3f ms%s\n", direction, node.op, shapes.c_str(),
                 ms, rest.c_str());
    last_line = Clock::now();  // neither the norms nor the printing count
}

// grad_values() and not grad(): looking must not turn a gradient of a few rows into a dense one.
std::string gradient_norm(Tensor x) {
    double squares = 0;
    for (real g : grad_values(x)) squares += double(g) * double(g);
    return " " + to_text(std::sqrt(squares));
}

}  // namespace

void set_trace(std::FILE* out) {
    trace_out = out;
    last_line = Clock::now();
}

bool tracing() { return trace_out != nullptr; }

void trace_forward(const Node& node, const Tensor& y, bool kept) {
    print_line("forward", node, y, ms_since_last_line(), kept ? "" : "  no gradient");
}

void trace_backward(const Node& node, const Tensor& y) {
    const double ms = ms_since_last_line();
    std::string norms = "  |dy|" + gradient_norm(y) + "  |dx|";
    for (size_t i = 0; i < node.inputs.size(); i++)
        if (node.inputs[i].defined())
            norms += node.needs_grad(i) ? gradient_norm(node.inputs[i]) : " -";
    print_line("backward", node, y, ms, norms);
}

}  // namespace slim
