// data/file.h: reading and writing whole files, and what can go wrong with either.
#include "data/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>

#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace slim {

namespace fs = std::filesystem;

TEST_CASE("a file comes back as it was written") {
    ScratchFolder folder;
    const std::string path = folder / "file";
    using namespace std::string_view_literals;
    write_file(path, {"one\0"sv, "", "two\xff"});
    CHECK(as_text(read_file(path)) == "one\0two\xff"sv);
    write_file(path, {"shorter"});
    CHECK(as_text(read_file(path)) == "shorter");
    write_file(path, {});
    CHECK(read_file(path).empty());
    CHECK(folder.names() == std::vector<std::string>{"file"});

    const std::string large(3'000'000, 'x');
    write_file(path, {large});
    CHECK(as_text(read_file(path)) == large);
    CHECK(as_text(read_file(path, 3'000'000)) == large);
    CHECK_ERROR(read_file(path, 2'999'999), path, "too large", "3000000", "2999999");
}

TEST_CASE("what cannot be read is refused with its name and a reason") {
    ScratchFolder folder;
    CHECK_ERROR(read_file(folder / "nothing"), folder / "nothing", "no such file");
    CHECK_ERROR(read_file(folder / "no/such/folder"), "no such file or folder");
    CHECK_ERROR(read_file(folder.path), folder.path, "is a folder");
    CHECK_ERROR(read_file("/dev/zero"), "/dev/zero", "device");
    REQUIRE(mkfifo((folder / "pipe").c_str(), 0666) == 0);
    CHECK_ERROR(read_file(folder / "pipe"), "pipe");  // and does not wait for a writer

    // A file that claims to be larger than memory: the size is asked before anything is allocated.
    write_file(folder / "huge", {""});
    REQUIRE(truncate((folder / "huge").c_str(), off_t(1) << 43) == 0);
    CHECK_ERROR(read_file(folder / "huge"), "too large", "fit in memory");
}

TEST_CASE("files that may not be touched") {
    ScratchFolder folder;
    fs::permissions(folder.path, fs::perms(0755));
    write_file(folder / "secret", {"secret"});
    fs::permissions(folder / "secret", fs::perms(0));
    write_file(folder / "read_only", {"old"});
    fs::permissions(folder / "read_only", fs::perms(0444));
    fs::create_directory(folder / "closed");
    fs::permissions(folder / "closed", fs::perms(0555));
    fs::create_directory(folder / "open");
    fs::permissions(folder / "open", fs::perms(0777));
    {
        AsNobody nobody;
        CHECK_ERROR(read_file(folder / "secret"), folder / "secret", "no permission");
        CHECK_ERROR(write_file(folder / "secret", {"new"}), "no permission");
        CHECK_ERROR(write_file(folder / "closed/file", {"new"}), "closed/file", "no permission");
        CHECK_ERROR(make_folders(folder / "closed/a/b"), "closed/a/b", "no permission");

        // A folder that is ours does not make a write-protected file in it ours.
        write_file(folder / "open/kept", {"old"});
        fs::permissions(folder / "open/kept", fs::perms(0444));
        CHECK_ERROR(write_file(folder / "open/kept", {"new"}), "open/kept", "no permission");
        CHECK(as_text(read_file(folder / "open/kept")) == "old");
    }
    CHECK(as_text(read_file(folder / "read_only")) == "old");
    CHECK(as_text(read_file(folder / "secret")) == "secret");
}

TEST_CASE("what cannot be written is refused, and leaves nothing behind") {
    ScratchFolder folder;
    CHECK_ERROR(write_file(folder / "no/file", {"x"}), folder / "no/file", "no such file");
    CHECK_ERROR(write_file(folder.path, {"x"}), folder.path, "is a folder");
    CHECK_ERROR(write_file("/dev/full", {"x"}), "/dev/full", "no space left");
    CHECK_ERROR(write_file(folder / std::string(300, 'n'), {"x"}), "nnn", "too long");
    CHECK(folder.names().empty());
    write_file("/dev/null", {"x"});
    CHECK(!fs::is_regular_file("/dev/null"));  // written to, not replaced
}

// A limit on the size of files makes write() fail half way, as a full disk would.
TEST_CASE("a write that fails half way leaves the old file") {
    ScratchFolder folder;
    const std::string path = folder / "file";
    write_file(path, {"old"});

    rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    rlimit small = before;
    small.rlim_cur = 100'000;
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    const std::string text = error_of([&] { write_file(path, {std::string(300'000, 'x')}); });
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);

    check_words(text, {path, "cannot be written", "large"});
    CHECK(as_text(read_file(path)) == "old");
    CHECK(folder.names() == std::vector<std::string>{"file"});
}

TEST_CASE("a link stays a link, permissions stay, and a dead temporary file is no obstacle") {
    ScratchFolder folder;
    write_file(folder / "file", {"old"});
    fs::permissions(folder / "file", fs::perms(0640));
    fs::create_symlink("file", folder / "link");
    write_file(folder / "file.tmp0123456789abcdef", {"left by a crash"});
    write_file(folder / "file.old2", {"a copy of the user's"});
    write_file(folder / "link", {"new"});
    CHECK(fs::is_symlink(folder / "link"));
    CHECK(as_text(read_file(folder / "file")) == "new");
    CHECK(fs::status(folder / "file").permissions() == fs::perms(0640));
    CHECK(folder.names() == std::vector<std::string>{"file", "file.old2", "link"});

    // A path without a folder in it means the current one.
    const fs::path here = fs::current_path();
    fs::current_path(folder.path);
    write_file("bare", {"new"});
    fs::current_path(here);
    CHECK(as_text(read_file(folder / "bare")) == "new");
}

TEST_CASE("fault: files that belong together are all replaced, or none is") {
    const ScratchFolder folder;
    write_files({{folder / "a", {"1"}}, {folder / "b", {"2", "3"}}});
    CHECK(text_of(folder / "a") == "1");
    CHECK(text_of(folder / "b") == "23");
    // The second cannot be prepared.
    CHECK_ERROR(write_files({{folder / "a", {"new"}}, {folder / "none/b", {"new"}}}), "none/b");
    CHECK(text_of(folder / "a") == "1");
    // The second cannot be put in place: its temporary file has gone with the first.
    CHECK_ERROR(write_files({{folder / "a", {"new"}}, {folder / "a", {"newer"}}}), folder / "a");
    CHECK(text_of(folder / "a") == "1");
    CHECK_ERROR(write_files({{folder / "c", {"new"}}, {folder / "c", {"newer"}}}), folder / "c");
    CHECK(folder.names().size() == 2);  // nothing is left behind
}

// A child process saves two different contents in turn until it is killed, which is soon.
TEST_CASE("kill -9 at any moment leaves the old file or the new one, whole") {
    ScratchFolder folder;
    const std::string path = folder / "file";
    const std::string contents[] = {std::string(400'000, 'a'), std::string(700'000, 'b')};
    const auto start = std::chrono::steady_clock::now();
    const auto seconds = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    write_file(path, {contents[0]});
    const int64_t longest = 12'000 + int64_t(4e6 * seconds());  // microseconds: a disk can be slow

    // For at least 0.7 s, and on a busy machine until both have been seen.
    int seen[2] = {0, 0};
    Rng rng(1);
    while (seconds() < 0.7 || (seconds() < 30 && (seen[0] == 0 || seen[1] == 0))) {
        const pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            alarm(10);  // should the parent fail
            try {
                for (int i = 0;; i++) write_file(path, {contents[i % 2]});
            } catch (...) {
                _exit(1);
            }
        }
        usleep(useconds_t(rng.below(longest)));
        REQUIRE(kill(child, SIGKILL) == 0);
        REQUIRE(waitpid(child, nullptr, 0) == child);

        const Bytes found = read_file(path);
        REQUIRE((as_text(found) == contents[0] || as_text(found) == contents[1]));
        seen[as_text(found) == contents[1]]++;
    }
    CHECK(seen[0] > 0);
    CHECK(seen[1] > 0);
}

// The state between two renames: both old files have a second name, and one is replaced already.
TEST_CASE("fault: two files that a killed program replaced by half are put back") {
    ScratchFolder folder;
    const std::string digits = "0123456789abcdef";
    for (const bool by_reading : {true, false}) {
        write_file(folder / "a", {"new"});
        write_file(folder / "b", {"old"});
        for (const char* name : {"a", "b"})
            write_file(folder / (std::string(name) + ".old" + digits), {"old"});
        write_file(folder / ("b.tmp" + digits), {"new"});
        if (by_reading) {
            recover_files({folder / "a", folder / "b"});
        } else {  // by a write that fails
            CHECK_ERROR(write_files({{folder / "a", {"x"}}, {folder / "no/b", {"x"}}}), "no/b");
            CHECK_ERROR(write_files({{folder / "a", {"x"}}, {folder.path, {"x"}}}), "folder");
            recover_files({folder / "a", folder / "b"});
        }
        CHECK(as_text(read_file(folder / "a")) == "old");
        CHECK(as_text(read_file(folder / "b")) == "old");
        CHECK(folder.names() == std::vector<std::string>{"a", "b"});
    }
    // A file that is written alone is replaced in one step: its old one is only what was left over.
    write_file(folder / "a", {"new"});
    write_file(folder / ("a.old" + digits), {"old"});
    recover_files({folder / "a"});
    CHECK(as_text(read_file(folder / "a")) == "new");
    // If only one of the two has an .old file, nothing is put back: the program was killed before
    // it had made both, or while it removed them.
    write_file(folder / "a", {"new"});
    write_file(folder / ("b.old" + digits), {"old"});
    write_files({{folder / "a", {"newer"}}, {folder / "b", {"newer"}}});
    CHECK(folder.names() == std::vector<std::string>{"a", "b"});
    CHECK(as_text(read_file(folder / "a")) == "newer");
}

TEST_CASE("make_folders") {
    ScratchFolder folder;
    make_folders(folder / "a/b/c");
    make_folders(folder / "a/b/c");
    make_folders(folder / "a//d/");
    CHECK(fs::is_directory(folder / "a/b/c"));
    CHECK(fs::is_directory(folder / "a/d"));
    write_file(folder / "file", {"x"});
    CHECK_ERROR(make_folders(folder / "file/sub"), "file/sub", "a file is where a folder");
    CHECK_ERROR(make_folders(folder / "file"), "file", "a file is where a folder");
    CHECK_ERROR(make_folders(""), "cannot be made");
    CHECK(file_exists(folder / "a"));
    CHECK(file_exists(folder / "file"));
    CHECK(!file_exists(folder / "nothing"));
}

TEST_CASE("looks_like names the usual wrong files") {
    const auto words = [](std::string_view text) { return looks_like(bytes_of(text)); };
    check_words(words("\x1f\x8b\x08"), {"gzip", "gunzip"});
    check_words(words("PK\x03\x04"), {"zip", ".pt"});
    check_words(words("\n <!DOCTYPE html>"), {"web page"});
    check_words(words("version https://git-lfs.github.com/spec/v1"), {"git-lfs"});
    check_words(words("\x89PNG\r\n"), {"PNG"});
    check_words(words("\xff\xd8\xff\xe0"), {"JPEG"});
    check_words(words("{\"r\": 8}"), {"JSON"});
    check_words(words(""), {"empty"});
    CHECK(words("something else") == "");
}

}  // namespace slim
