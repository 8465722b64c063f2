// A folder for one test case, gone at its end; and being nobody, because root may do everything.
#pragma once

#include <unistd.h>

#include <algorithm>  // sort
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "core/check.h"
#include "data/file.h"

namespace slim {

struct ScratchFolder {
    ScratchFolder() {
        std::string name = std::filesystem::temp_directory_path() / "slim_test_XXXXXX";
        check(mkdtemp(name.data()) != nullptr, "cannot make ", name);
        path = name;
    }
    ~ScratchFolder() { std::filesystem::remove_all(path); }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;

    std::string operator/(const std::string& name) const { return path + "/" + name; }
    std::vector<std::string> names() const {
        std::vector<std::string> found;
        for (const auto& entry : std::filesystem::directory_iterator(path))
            found.push_back(entry.path().filename());
        std::sort(found.begin(), found.end());
        return found;
    }

    std::string path;
};

// While it lives, the process has no more rights than any other user.
struct AsNobody {
    AsNobody() { is_root = geteuid() == 0 && seteuid(65534) == 0; }
    ~AsNobody() {
        if (is_root && seteuid(0) != 0) std::abort();
    }
    bool is_root;
};

inline std::string text_of(const std::string& path) {
    return std::string(as_text(read_file(path)));
}

inline Bytes bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

}  // namespace slim
