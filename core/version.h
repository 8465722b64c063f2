// The version, for `--version`, the pkg-config file and programs that use the library.
#pragma once

namespace slim {

constexpr const char* kVersion = "1.0.0";

}  // namespace slim
