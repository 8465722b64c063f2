// make install: a project in another folder builds with pkg-config, runs, and cannot mix
// precisions.
#include "core/version.h"
#include "tests/apps/run.h"
#include "tests/testing.h"

namespace slim {

TEST_CASE("install: apps/example builds elsewhere and trains; float does not link with double") {
    const std::string build = std::filesystem::path(built_program("")).parent_path().filename();
    if ((build != "build" && build != "variant-double") || run("pkg-config --version").status !=
        0) {
        MESSAGE("another build, or no pkg-config, so this test did nothing");
        return;
    }
    const ScratchFolder prefix, project;
    const std::string name = kDouble ? "slimgrad-double" : "slimgrad";
    const std::string make = "env -u MAKEFLAGS -u MAKELEVEL make -s ";
    const std::string in_place = make + (kDouble ? "REAL=double " : "") + "PREFIX=" + prefix.path;
    const Finished installed = run(in_place + " install");
    INFO(installed.out << installed.err);
    REQUIRE(installed.status == 0);
    std::filesystem::copy("apps/example", project / "example");
    const std::string there = make + "-C " + project / "example" + " PREFIX=" + prefix.path;
    const Finished done = run(there + " PACKAGE=" + name);
    INFO(done.out << done.err);
    CHECK(done.status == 0);
    check_words(done.out, {std::string("slimgrad ") + kVersion + (kDouble ? ", 64" : ", 32") +
                           " bits",
                           "adapter off, XOR again: 0110"});

    // Code of the other precision.
    const std::string flag = kDouble ? "-USLIM_REAL_DOUBLE" : "-DSLIM_REAL_DOUBLE";
    const Finished mixed = run(there + " clean && " + there + " PACKAGE=" + name +
                               " CXX='g++ -O0' main PKG='f() { PKG_CONFIG_PATH=" + prefix.path +
                               "/lib/pkgconfig pkg-config \"$$@\" && echo " + flag + "; }; f'");
    INFO(mixed.err);
    CHECK(mixed.status != 0);
    check_words(mixed.err, {"undefined reference"});

    CHECK(run(in_place + " uninstall").status == 0);
    CHECK(!file_exists(prefix / "include/slimgrad"));
    CHECK(!file_exists(prefix / "lib/lib" + name + ".a"));
}

}  // namespace slim
