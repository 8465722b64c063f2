// A library to preload: the FAULT_AT-th call of FAULT_CALL on a file below FAULT_FOLDER fails, with
// a full disk or a broken one. FAULT_MARK is a folder that it makes then, so that the caller knows.
//
// FAULT_CALL is write, fsync, rename, open or close, or one of two that are no failures: "short",
// a write that takes one byte, and "interrupted", a write or fsync that a signal ends.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static char ours[1024];  // whether the descriptor is of a file below FAULT_FOLDER

static int is_below(const char* path) {
    const char* folder = getenv("FAULT_FOLDER");
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

// Whether this call is the one to fail; sets errno then.
static int fails(const char* call, int error) {
    static int count = 0;
    const char *wanted = getenv("FAULT_CALL"), *at = getenv("FAULT_AT");
    if (!wanted || !at || strcmp(call, wanted) != 0 || ++count != atoi(at)) return 0;
    mkdir(getenv("FAULT_MARK"), 0777);
    errno = error;
    return 1;
}

static int is_ours(int fd) { return fd >= 0 && fd < (int)sizeof ours && ours[fd]; }

int open(const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (is_below(path) && fails("open", ENOSPC)) return -1;
    const int fd = NEXT(open)(path, flags, mode);
    if (fd >= 0 && fd < (int)sizeof ours) ours[fd] = is_below(path);
    return fd;
}

ssize_t write(int fd, const void* bytes, size_t size) {
    if (is_ours(fd)) {
        if (fails("write", ENOSPC) || fails("interrupted", EINTR)) return -1;
        if (fails("short", 0)) return NEXT(write)(fd, bytes, size < 1 ? size : 1);
    }
    return NEXT(write)(fd, bytes, size);
}

int fsync(int fd) {
    if (is_ours(fd) && (fails("fsync", EIO) || fails("interrupted", EINTR))) return -1;
    return NEXT(fsync)(fd);
}

// As Linux does: the descriptor is closed, but what was written may be lost.
int close(int fd) {
    const int fault = is_ours(fd) && fails("close", EIO);
    if (fd >= 0 && fd < (int)sizeof ours) ours[fd] = 0;
    const int result = NEXT(close)(fd);
    if (fault) errno = EIO;
    return fault ? -1 : result;
}

int rename(const char* from, const char* to) {
    return is_below(to) && fails("rename", EIO) ? -1 : NEXT(rename)(from, to);
}
