// Texts about adapters in files: what `adapter inspect`, `check` and `diff` print.
#pragma once

#include <string>

#include "nn/peft/peft.h"

namespace slim {

// The configuration; a line per tensor with shape, dtype and norm; a line per adapted module with
// rank, scaling s, the norm of its change s B A, and the range of its magnitudes.
std::string describe_adapter(const LoadedAdapter& adapter);

// Returns what may surprise about PEFT with this adapter, a sentence per line. Throws if a tensor
// holds NaN or infinity.
std::string check_adapter(const LoadedAdapter& adapter);

// Returns a line per configuration key and per tensor that differ; "" if none does.
std::string compare_adapters(const LoadedAdapter& a, const LoadedAdapter& b);

}  // namespace slim
