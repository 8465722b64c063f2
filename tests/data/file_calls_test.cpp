// Files while system calls are interrupted, do less than they were asked, or fail. The functions
// below stand in for the C library's in this program. (`make faults` tries every call in turn.)
#include <dlfcn.h>     // dlsym
#include <fcntl.h>     // open
#include <sys/file.h>  // flock
#include <unistd.h>    // read, write, fsync, close

#include <cerrno>
#include <cstdarg>

#include "data/file.h"
#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace {

struct Calls {
    int interrupted = 0;      // so many calls more end with EINTR
    size_t most = SIZE_MAX;   // bytes that one read or write takes
    int fsyncs = 0, fails_at = 0;  // the fsync of this number fails
    bool close_fails = false;
    int flags_of_temporary = 0;  // with which the last ".tmp" file was opened
};
thread_local Calls calls;

bool interrupt() {
    if (calls.interrupted <= 0) return false;
    calls.interrupted--;
    errno = EINTR;
    return true;
}

template <class F>
F* original(const char* name) {
    return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

// While it lives, calls behave as said; then as ever.
struct Misbehave {
    explicit Misbehave(Calls how) { calls = how; }
    ~Misbehave() { calls = {}; }
};

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    const int mode = flags & O_CREAT ? va_arg(list, int) : 0;
    va_end(list);
    if (std::string(path).find(".tmp") != std::string::npos) calls.flags_of_temporary = flags;
    return interrupt() ? -1 : original<int(const char*, int, ...)>("open")(path, flags, mode);
}

ssize_t read(int file, void* to, size_t size) {
    if (interrupt()) return -1;
    return original<ssize_t(int, void*, size_t)>("read")(file, to, std::min(size, calls.most));
}

ssize_t write(int file, const void* from, size_t size) {
    if (interrupt()) return -1;
    return original<ssize_t(int, const void*, size_t)>("write")(file, from,
                                                                std::min(size, calls.most));
}

int fsync(int file) {
    if (interrupt()) return -1;
    if (++calls.fsyncs != calls.fails_at) return original<int(int)>("fsync")(file);
    errno = EIO;
    return -1;
}

int flock(int file, int operation) {
    return interrupt() ? -1 : original<int(int, int)>("flock")(file, operation);
}

int close(int file) {
    const int result = original<int(int)>("close")(file);
    if (!calls.close_fails) return result;
    errno = EIO;
    return -1;
}

}  // extern "C"

namespace slim {

static std::string content(const std::string& path) {
    const Bytes bytes = read_file(path);
    return std::string(as_text(bytes));
}

TEST_CASE("fault: interrupted calls are made again") {
    const ScratchFolder scratch;
    for (int n = 0; n < 12; n++) {
        const std::string path = scratch / "file";
        const Misbehave calls({.interrupted = n});
        write_file(path, {"the content ", std::to_string(n)});
        CHECK(content(path) == "the content " + std::to_string(n));
    }
    const std::string path = scratch / "read";
    write_file(path, {"text"});
    const Misbehave calls({.interrupted = 5});
    CHECK(content(path) == "text");
}

TEST_CASE("fault: reads and writes of three bytes at a time make whole files") {
    const ScratchFolder scratch;
    const Misbehave calls({.most = 3});
    write_file(scratch / "file", {"0123456789", "abcdefg"});
    CHECK(content(scratch / "file") == "0123456789abcdefg");
}

TEST_CASE("fault: a temporary file never replaces a file that is already there") {
    const ScratchFolder scratch;
    const Misbehave misbehave({});
    write_file(scratch / "file", {"text"});
    CHECK((calls.flags_of_temporary & O_EXCL) != 0);
    CHECK((calls.flags_of_temporary & O_CREAT) != 0);
}

TEST_CASE("fault: a file and its folder are synced, and an error of either is one of the write") {
    const ScratchFolder scratch;
    const std::string path = scratch / "file";
    write_file(path, {"old"});
    {
        const Misbehave misbehave({});
        write_file(path, {"old"});
        CHECK(calls.fsyncs == 2);
    }
    for (const int nth : {1, 2}) {
        const Misbehave misbehave({.fails_at = nth});
        CHECK_ERROR(write_file(path, {"new"}), "cannot be written", "file");
        CHECK(content(path) == "old");
    }
    const Misbehave misbehave({.close_fails = true});
    CHECK_ERROR(write_file(path, {"new"}), "cannot be written");
    CHECK(content(path) == "old");
}

}  // namespace slim
