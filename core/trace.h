// A line for every op when it is computed, and one when its gradient is:
//
//     forward   relu          (64, 128) -> (64, 128)    0.011 ms
//     backward  relu          (64, 128) -> (64, 128)    0.008 ms  |dy| 0.0183  |dx| 0.0121
//
// Off unless SLIM_TRACE is set in the environment (and not to 0), or a program calls set_trace().
// record() and backward() in autograd.cpp print the lines, so every op is traced, also new ones.
#pragma once

#include <cstdio>

#include "core/tensor.h"

namespace slim {

// Where the lines of all threads go; null turns tracing off. At the start: stderr with
// SLIM_TRACE=1, else null.
void set_trace(std::FILE* out);
bool tracing();

// Each line shows the time since the thread's previous line, without tracing itself: the times add
// up to the whole. An op's line is printed when the op is done. So its time includes the work since
// the op before it, such as the optimiser's step.
//
// `kept` tells whether the op left its node on y; where it did not, the line says "no gradient".
void trace_forward(const Node& node, const Tensor& y, bool kept);

// |dy| is the norm of dL/dy, which the op was given. |dx| are the norms of its inputs' gradients,
// with what other users of an input have added so far; - for an input that needs none.
void trace_backward(const Node& node, const Tensor& y);

}  // namespace slim
