// Whole files through the POSIX calls: std::ofstream would hide a full disk until its close, and
// cannot sync. See file.h.
#include "data/file.h"

#include <fcntl.h>     // open, faccessat
#include <sys/file.h>  // flock
#include <sys/stat.h>  // stat
#include <unistd.h>    // read, write, fsync, close, link, unlink, sysconf

#include <algorithm>  // all_of, min
#include <cerrno>
#include <cstdio>   // rename, snprintf
#include <cstring>  // strerror
#include <deque>
#include <filesystem>
#include <map>     // each folder once
#include <random>  // random_device

#include "core/check.h"

namespace slim {

namespace {

// The system's reason for a failure in words that help more than its own.
std::string reason(int error) {
    switch (error) {
        case ENOENT: return "there is no such file or folder";
        case EISDIR: return "it is a folder; a file is needed";
        case EEXIST:
        case ENOTDIR: return "a file is where a folder is needed";
        case EACCES:
        case EPERM: return "no permission. hint: ls -l tells who may";
        case ENOSPC: return "no space left on the device. hint: df -h tells which disks are full";
        default: return std::strerror(error);
    }
}

// Makes a system call, again for as long as a signal interrupts it.
template <class Call>
auto uninterrupted(Call call) {
    auto result = call();
    while (result < 0 && errno == EINTR) result = call();
    return result;
}

// An open file, closed at the end of its scope.
struct Descriptor {
    Descriptor(const std::string& path, int flags, mode_t mode = 0)
        : number(uninterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); })) {}
    ~Descriptor() { close(); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    bool close() {
        const int open_number = number;
        number = -1;
        return open_number < 0 || ::close(open_number) == 0;
    }
    int number;
};

int sync_file(const Descriptor& file) {
    return uninterrupted([&] { return ::fsync(file.number); });
}

// One write() may take only a part of what it is given.
bool write_all(const Descriptor& file, const std::vector<std::string_view>& pieces) {
    for (std::string_view rest : pieces)
        while (!rest.empty()) {
            const ssize_t n = uninterrupted(
                [&] { return ::write(file.number, rest.data(), rest.size()); });
            if (n < 0) return false;
            rest.remove_prefix(size_t(n));
        }
    return true;
}

std::string folder_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

}  // namespace

Bytes read_file(const std::string& path, int64_t max_size) {
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) fail(path, ": cannot be read: ", reason(errno));
    if (S_ISDIR(info.st_mode)) fail(path, ": cannot be read: ", reason(EISDIR));
    check(S_ISREG(info.st_mode), path, ": cannot be read: it is a device or a pipe, not a file");

    const int64_t memory = int64_t(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
    const int64_t limit = max_size < memory ? max_size : memory;
    check(info.st_size <= limit, path, ": too large: ", info.st_size, " bytes; at most ", limit,
          limit == memory ? " fit in memory" : " are allowed here");

    const Descriptor file(path, O_RDONLY);
    if (file.number < 0) fail(path, ": cannot be read: ", reason(errno));
    Bytes bytes(size_t(info.st_size));
    size_t got = 0;
    while (got < bytes.size()) {
        const ssize_t n = uninterrupted(
            [&] { return ::read(file.number, bytes.data() + got, bytes.size() - got); });
        if (n < 0) fail(path, ": cannot be read: ", reason(errno));
        if (n == 0) break;  // another process has just shortened it
        got += size_t(n);
    }
    bytes.resize(got);
    return bytes;
}

namespace {

// ---- replacing files ----------------------------------------------------------------------------
// While a file is replaced, two others lie beside it: path.tmp<16 digits>, the new content, and
// path.old<16 digits>, a second name of the old file. A writer holds a lock on the folder, so
// what lies there when the lock is free was left by a process that was killed.

// A lock on a folder. sync() makes the disk keep the folder's new names. If we may not list the
// folder, we write without lock and sync.
struct FolderLock {
    explicit FolderLock(const std::string& path)  // of a file in it
        : path(path), file(folder_of(path), O_RDONLY | O_DIRECTORY) {
        if (file.number < 0 && errno != EACCES)
            fail(path, ": cannot be written: ", reason(errno));
        held = file.number >= 0 &&
               uninterrupted([&] { return ::flock(file.number, LOCK_EX); }) == 0;
    }
    void sync() const {  // EINVAL: a file system that cannot
        if (file.number >= 0 && sync_file(file) != 0 && errno != EINVAL)
            fail(path, ": cannot be written: ", reason(errno));
    }
    std::string path;
    Descriptor file;  // closing it gives the lock back
    bool held;
};

// The files beside this one of the given kind, ".tmp" or ".old".
std::vector<std::string> files_beside(const std::string& target, const std::string& kind) {
    std::vector<std::string> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_of(target), error)) {
        const std::string name = entry.path().filename();
        const std::string start = std::filesystem::path(target).filename().string() + kind;
        if (name.starts_with(start) && name.size() == start.size() + 16 &&
            name.find_first_not_of("0123456789abcdef", start.size()) == std::string::npos)
            found.push_back(folder_of(target) + name);
    }
    return found;
}

std::string random_digits() {
    std::random_device random;
    char text[17];
    std::snprintf(text, sizeof text, "%08x%08x", unsigned(random()), unsigned(random()));
    return text;
}

// Where the file itself is: a link stays a link, and what it points to is replaced.
std::string target_of(const std::string& path) {
    std::error_code error;
    const bool exists = std::filesystem::exists(path, error);
    return exists ? std::filesystem::canonical(path, error).string() : path;
}

// Tidies up after a process that was killed. Of files that belong together, it may have replaced
// only some: if every one has its .old, all of these are put back.
void tidy_up(const std::vector<std::string>& targets) {
    for (const std::string& first : files_beside(targets[0], ".old")) {
        const std::string end = first.substr(targets[0].size());
        const bool all = std::all_of(targets.begin(), targets.end(), [&](const auto& target) {
            return file_exists(target + end);
        });
        for (const std::string& target : targets) {
            const std::string again = target + ".tmp" + random_digits();  // .old stays for now
            if (targets.size() > 1 && all && ::link((target + end).c_str(), again.c_str()) == 0)
                std::rename(again.c_str(), target.c_str());
        }
    }
    for (const std::string& target : targets)
        for (const char* kind : {".tmp", ".old"})
            for (const std::string& file : files_beside(target, kind)) ::unlink(file.c_str());
}

// The locks of the folders of these files, each once and in one order.
std::deque<FolderLock> lock_folders(const std::vector<std::string>& targets) {
    std::map<std::string, std::string> in_folder;
    for (const std::string& target : targets) in_folder.insert({folder_of(target), target});
    std::deque<FolderLock> locks;
    for (const auto& [folder, target] : in_folder) locks.emplace_back(target);
    return locks;
}

bool all_held(const std::deque<FolderLock>& locks) {
    return std::all_of(locks.begin(), locks.end(), [](const auto& lock) { return lock.held; });
}

// A file that is written to a temporary one beside it, and then takes the old one's place.
class Replacement {
public:
    Replacement(const FileContent& content, const std::string& target, const std::string& digits)
        : path_(content.path),
          target_(target),
          temporary_(target + ".tmp" + digits),
          kept_(target + ".old" + digits) {
        exists_ = ::stat(target.c_str(), &old_) == 0;
        try {
            write_temporary(content);
        } catch (...) {  // no destructor runs after a throw here
            ::unlink(temporary_.c_str());
            throw;
        }
    }
    ~Replacement() {
        ::unlink(temporary_.c_str());
        ::unlink(kept_.c_str());
    }
    Replacement(const Replacement&) = delete;
    Replacement& operator=(const Replacement&) = delete;

    // Gives the old file a second name, by which put_back() finds it, where the file system can.
    void keep_old() {
        if (exists_) has_kept_ = ::link(target_.c_str(), kept_.c_str()) == 0;
    }

    // The system does this in one step.
    void put_in_place() {
        if (std::rename(temporary_.c_str(), target_.c_str()) != 0)
            fail(path_, ": cannot be written: ", reason(errno));
        is_in_place_ = true;
    }

    void put_back() {
        if (!is_in_place_) return;
        if (!exists_) ::unlink(target_.c_str());
        else if (has_kept_) std::rename(kept_.c_str(), target_.c_str());
    }

private:
    void write_temporary(const FileContent& content) {
        // Replacing a file needs permission for the folder only: ask for the file's anyway.
        if (exists_ && ::faccessat(AT_FDCWD, target_.c_str(), W_OK, AT_EACCESS) != 0)
            fail(path_, ": cannot be written: ", reason(errno));
        // Write everything, and wait until the disk has it.
        Descriptor file(temporary_, O_WRONLY | O_CREAT | O_EXCL, 0666);
        bool ok = file.number >= 0 && write_all(file, content.pieces);
        if (ok && exists_) ok = ::fchmod(file.number, old_.st_mode & 07777) == 0;
        ok = ok && sync_file(file) == 0;
        ok = ok && file.close();
        if (!ok) fail(path_, ": cannot be written: ", reason(errno));
    }

    std::string path_, target_, temporary_, kept_;
    struct stat old_;
    bool exists_ = false, has_kept_ = false, is_in_place_ = false;
};

// Whether the path is a device or a pipe, which is written to as it stands; throws for a folder.
bool is_device(const std::string& path) {
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) return false;
    if (S_ISDIR(info.st_mode)) fail(path, ": cannot be written: ", reason(EISDIR));
    return !S_ISREG(info.st_mode);
}

void write_device(const FileContent& content) {
    Descriptor device(content.path, O_WRONLY);
    if (device.number < 0 || !write_all(device, content.pieces) || !device.close())
        fail(content.path, ": cannot be written: ", reason(errno));
}

}  // namespace

void write_files(const std::vector<FileContent>& contents) {
    std::vector<FileContent> files;
    std::vector<std::string> targets;
    for (const FileContent& content : contents) {
        if (is_device(content.path)) {
            write_device(content);
            continue;
        }
        files.push_back(content);
        targets.push_back(target_of(content.path));
    }
    if (files.empty()) return;
    const std::deque<FolderLock> locks = lock_folders(targets);
    if (all_held(locks)) tidy_up(targets);

    // Prepare all, then put all in place. The disk must remember the new names too.
    std::deque<Replacement> replacements;  // a deque: they cannot be moved
    const std::string digits = random_digits();
    for (size_t i = 0; i < files.size(); i++)
        replacements.emplace_back(files[i], targets[i], digits);
    for (Replacement& r : replacements) r.keep_old();
    try {
        for (Replacement& r : replacements) r.put_in_place();
        for (const FolderLock& lock : locks) lock.sync();
    } catch (...) {
        for (Replacement& r : replacements) r.put_back();
        throw;
    }
}

void recover_files(const std::vector<std::string>& paths) {
    std::vector<std::string> targets;
    for (const std::string& path : paths) targets.push_back(target_of(path));
    if (files_beside(targets[0], ".old").empty()) return;
    const std::deque<FolderLock> locks = lock_folders(targets);
    if (all_held(locks)) tidy_up(targets);
}

void write_file(const std::string& path, const std::vector<std::string_view>& pieces) {
    write_files({{path, pieces}});
}

bool file_exists(const std::string& path) {
    struct stat info;
    return ::stat(path.c_str(), &info) == 0;
}

void make_folders(const std::string& path) {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) fail(path, ": cannot be made: ", reason(error.value()));
}

std::string_view as_text(std::span<const uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string looks_like(std::span<const uint8_t> bytes) {
    struct Kind {
        std::string_view start;
        const char* words;
    };
    static const Kind kinds[] = {
        {"\x1f\x8b", "a gzip file. hint: unpack it with gunzip"},
        {"PK\x03\x04", "a zip file (as PyTorch's .pt files are). hint: unpack or convert it"},
        {"<", "a web page, perhaps the error page of a failed download. hint: fetch it again"},
        {"version https://git-lfs", "a pointer to a file kept by git-lfs. hint: git lfs pull"},
        {"\x89PNG", "a PNG picture"},
        {"\xff\xd8\xff", "a JPEG picture"},
        {"{", "a JSON text"},
    };
    const std::string_view text = as_text(bytes);
    const size_t start = std::min(text.find_first_not_of(" \t\r\n"), text.size());
    for (const Kind& kind : kinds)
        if (text.substr(start).starts_with(kind.start))
            return std::string("; it looks like ") + kind.words;
    return bytes.empty() ? "; it is empty. hint: fetch it again" : "";
}

}  // namespace slim
