// Runs the programs that are built beside the tests, as somebody at a terminal would.
#pragma once

#include <sys/wait.h>  // WEXITSTATUS

#include <cstdlib>
#include <filesystem>
#include <string>

#include "tests/data/scratch.h"

namespace slim {

// A program of the build that the tests are of: the same switches, the same folder.
inline std::string built_program(const std::string& name) {
    return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

struct Finished {
    int status;  // of exit
    std::string out, err;
};

// A command for the shell.
inline Finished run(const std::string& command) {
    const ScratchFolder folder;
    const std::string out = folder / "out", err = folder / "err";
    const int status = std::system(("{ " + command + "\n} >" + out + " 2>" + err).c_str());
    return {WEXITSTATUS(status), text_of(out), text_of(err)};
}

}  // namespace slim
