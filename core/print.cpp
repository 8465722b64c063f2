// Printing a tensor the way PyTorch does, so that outputs can be compared by eye.
#include <algorithm>  // max, min
#include <cmath>      // ceil, fabs, isfinite
#include <cstdio>     // snprintf
#include <ostream>

#include "core/autograd.h"
#include "core/tensor.h"

namespace slim {

namespace {

constexpr int64_t kElideAbove = 1000;  // a tensor with more elements is shortened ...
constexpr int64_t kEdge = 3;           // ... to this many at either end of an axis
constexpr int64_t kLineWidth = 80;

// How the numbers of one tensor look: all of them share one format and one width.
struct NumberFormat {
    bool integers = true;     // 1., 2., 30.
    bool scientific = false;  // 1.0000e-05
    int width = 1;            // of the widest finite nonzero element; PyTorch starts at 1

    std::string text(real value) const {
        char out[64];
        if (!std::isfinite(value))  // a NaN may have a sign, which means nothing
            std::snprintf(out, sizeof out, "%g", std::isnan(value) ? NAN : double(value));
        else
            std::snprintf(out, sizeof out, scientific ? "%.4e" : integers ? "%.0f." : "%.4f",
                          double(value));
        std::string padded = out;
        if (int(padded.size()) < width) padded.insert(0, size_t(width) - padded.size(), ' ');
        return padded;
    }
};

struct Printer {
    const Tensor& x;
    bool elide;
    NumberFormat format;
    std::string out;

    // Calls f(i) for the indices of an axis of n that are shown, and f(-1) for the gap.
    template <class F>
    void shown(int64_t n, F f) const {
        for (int64_t i = 0; i < n; i++) {
            if (elide && n > 2 * kEdge && i == kEdge) {
                f(-1);
                i = n - kEdge;
            }
            f(i);
        }
    }

    template <class F>
    void shown_values(int64_t axis, int64_t offset, F f) const {
        if (axis == x.dim()) return f(x.data()[offset]);
        shown(x.size(axis), [&](int64_t i) {
            if (i >= 0) shown_values(axis + 1, offset * x.size(axis) + i, f);
        });
    }

    // PyTorch chooses by the values that are neither 0 nor infinite nor NaN.
    static bool counts(real v) { return std::isfinite(v) && v != 0; }

    void choose_format() {
        double largest = 0, smallest = INFINITY;
        shown_values(0, 0, [&](real v) {
            if (!counts(v)) return;
            largest = std::max(largest, std::fabs(double(v)));
            smallest = std::min(smallest, std::fabs(double(v)));
            if (v != std::ceil(v)) format.integers = false;
        });
        bool wide = largest > 0 && (largest / smallest > 1000 || largest > 1e8);
        format.scientific = wide || (!format.integers && smallest < 1e-4);
        int width = format.width;
        shown_values(0, 0, [&](real v) {
            if (counts(v)) width = std::max(width, int(format.text(v).size()));
        });
        format.width = width;
    }

    void print_row(int64_t offset, int64_t n, int64_t indent) {
        // As PyTorch has it, the bracket before a row's first number does not count as indentation.
        const int64_t per_line =
            std::max(int64_t(1), (kLineWidth - indent + 1) / (format.width + 2));
        int64_t printed = 0;
        shown(n, [&](int64_t i) {
            if (printed > 0) out += printed % per_line == 0 ? ",\n" : ", ";
            if (printed > 0 && printed % per_line == 0) out.append(size_t(indent), ' ');
            out += i < 0 ? " ..." : format.text(x.data()[offset * n + i]);
            printed++;
        });
    }

    void print_axis(int64_t axis, int64_t offset, int64_t indent) {
        out += '[';
        const int64_t n = x.size(axis);
        if (axis + 1 == x.dim()) {
            print_row(offset, n, indent + 1);
        } else {
            bool first = true;
            shown(n, [&](int64_t i) {
                if (!first) {
                    out += ',';
                    out.append(size_t(x.dim() - 1 - axis), '\n');
                    out.append(size_t(indent + 1), ' ');
                }
                first = false;
                if (i < 0) out += "...";
                else print_axis(axis + 1, offset * n + i, indent + 1);
            });
        }
        out += ']';
    }
};

}  // namespace

std::string to_string(const Tensor& x) {
    if (!x.defined()) return "tensor(undefined)";
    Printer printer{x, x.size() > kElideAbove, {}, "tensor("};
    if (x.size() == 0) {
        printer.out += x.dim() == 1 ? "[]" : "[], size=" + to_text(x.shape());
    } else {
        printer.choose_format();
        if (x.dim() == 0) printer.out += printer.format.text(x.data()[0]);
        else printer.print_axis(0, 0, int64_t(printer.out.size()));
    }
    std::string ending;
    if (x.impl->node) ending = std::string("grad_fn=<") + x.impl->node->op + ">";
    else if (x.requires_grad()) ending = "requires_grad=True";
    if (!ending.empty()) {
        const size_t last_line = printer.out.size() - (printer.out.rfind('\n') + 1);
        const bool fits = last_line + ending.size() + 4 <= size_t(kLineWidth);
        printer.out += (fits ? ", " : ",\n       ") + ending;
    }
    return printer.out + ")";
}

std::ostream& operator<<(std::ostream& out, const Tensor& x) { return out << to_string(x); }

}  // namespace slim
