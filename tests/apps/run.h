// Runs the programs that are built beside the tests, as somebody at a terminal would.
#pragma once

#include <fcntl.h>     // open
#include <sys/wait.h>  // WEXITSTATUS
#include <unistd.h>    // dup2

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/data/scratch.h"

namespace slim {

// A program of the build that the tests are of: the same switches, the same folder.
inline std::string built_program(const std::string& name) {
    std::error_code no_proc;
    const auto tests = std::filesystem::read_symlink("/proc/self/exe", no_proc);
    return no_proc ? "build/" + name : (tests.parent_path() / name).string();
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

// A program inside of this process, so that the coverage counts it. Errors end as in a program.
inline Finished call(int (*program)(int, char**), std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "program");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);

    const ScratchFolder folder;
    std::fflush(stdout);
    const int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
    const auto redirect = [](int to, const std::string& path) {
        const int file = open(path.c_str(), O_CREAT | O_WRONLY, 0600);
        dup2(file, to);
        close(file);
    };
    redirect(STDOUT_FILENO, folder / "out");
    redirect(STDERR_FILENO, folder / "err");
    int status = 1;
    try {
        status = program(int(arguments.size()), argv.data());
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s\n", e.what());
    }
    std::fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
    return {status, text_of(folder / "out"), text_of(folder / "err")};
}

}  // namespace slim
