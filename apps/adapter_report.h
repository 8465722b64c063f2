// Texts about adapters in files: what `adapter inspect`, `check` and `diff` print.
#pragma once

#include <string>

#include "nn/peft.h"

namespace slim {

// The configuration; a line per tensor with shape, dtype and norm; a line per adapted module with
// rank, scaling s, the norm of its change s B A, and the range of its magnitudes.
std::string describe_adapter(const LoadedAdapter& adapter);

// What PEFT would do with it, as far as that may surprise, a sentence per line. Throws if a tensor
// holds NaN or infinity.
std::string check_adapter(const LoadedAdapter& adapter);

// A line per key of the configuration and per tensor in which the two differ; "" if in none.
std::string compare_adapters(const LoadedAdapter& a, const LoadedAdapter& b);

}  // namespace slim
