// How errors are made. Every mistake a user can make, a wrong shape, a truncated file, a bad
// option, ends in check() or fail(). They throw an Error, whose text is built from the remaining
// arguments:
//
//     check(k == x.size(1), "matmul: inner sizes differ: ", x.shape(), " times ", w.shape(), ...);
//
// The text says where, what is wrong, what was got and what the rule is; then, where the rule alone
// does not tell, a hint of what to do.
// In the debugger `catch throw` stops at the place that found the mistake. Shape, which most
// messages print, is defined here too.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace slim {

using Shape = std::vector<int64_t>;

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Returns a value as text for an error: %g for a double, (2, 3) for a shape.
std::string to_text(const char* s);
std::string to_text(const std::string& s);
std::string to_text(const Shape& shape);
std::string to_text(double number);
std::string to_text(int number);
std::string to_text(long number);
std::string to_text(unsigned number);
std::string to_text(unsigned long number);

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
    throw Error((to_text(parts) + ...));
}

// The arguments are evaluated even when all is well: pass values that exist anyway.
template <class... Parts>
void check(bool ok, const Parts&... parts) {
    if (!ok) fail(parts...);
}

}  // namespace slim
