// Whole files through the POSIX calls: std::ofstream would hide a full disk until its close, and
// cannot sync. See file.h.
#include "data/file.h"

#include <fcntl.h>     // open, faccessat
#include <sys/stat.h>  // stat
#include <unistd.h>    // read, write, fsync, close, unlink, sysconf

#include <algorithm>  // min
#include <cerrno>
#include <cstdio>   // rename
#include <cstring>  // strerror
#include <deque>
#include <filesystem>

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

// An open file, closed at the end of its scope.
struct Descriptor {
    Descriptor(const std::string& path, int flags, mode_t mode = 0)
        : number(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
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

// One write() may take only a part of what it is given.
bool write_all(const Descriptor& file, const std::vector<std::string_view>& pieces) {
    for (std::string_view rest : pieces)
        while (!rest.empty()) {
            const ssize_t n = ::write(file.number, rest.data(), rest.size());
            if (n < 0 && errno != EINTR) return false;
            if (n > 0) rest.remove_prefix(size_t(n));
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
        const ssize_t n = ::read(file.number, bytes.data() + got, bytes.size() - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail(path, ": cannot be read: ", reason(errno));
        if (n == 0) break;  // somebody has just shortened it
        got += size_t(n);
    }
    bytes.resize(got);
    return bytes;
}

namespace {

// A file that is written to a temporary one beside it, and then takes the old one's place.
class Replacement {
public:
    explicit Replacement(const FileContent& content) : path_(content.path) { prepare(content); }
    ~Replacement() {
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
        if (!kept_.empty()) ::unlink(kept_.c_str());
    }
    Replacement(const Replacement&) = delete;
    Replacement& operator=(const Replacement&) = delete;

    // Gives the old file a second name, by which put_back() finds it, where the file system can.
    void keep_old() {
        if (temporary_.empty() || !exists_) return;
        const std::string name = target_ + ".old" + std::to_string(::getpid());
        ::unlink(name.c_str());
        if (::link(target_.c_str(), name.c_str()) == 0) kept_ = name;
    }

    // The system does this in one step.
    void put_in_place() {
        if (temporary_.empty()) return;  // a device
        if (std::rename(temporary_.c_str(), target_.c_str()) != 0)
            fail(path_, ": cannot be written: ", reason(errno));
        temporary_.clear();
        is_in_place_ = true;
    }

    void put_back() {
        if (!is_in_place_) return;
        if (!exists_) ::unlink(target_.c_str());
        else if (!kept_.empty() && std::rename(kept_.c_str(), target_.c_str()) == 0) kept_.clear();
    }

    // Makes the disk remember the new name. Not every file system can: no error if it does not.
    void sync_folder() const {
        const Descriptor folder(folder_of(target_), O_RDONLY | O_DIRECTORY);
        if (folder.number >= 0) ::fsync(folder.number);
    }

private:
    void prepare(const FileContent& content) {
        struct stat old;
        exists_ = ::stat(path_.c_str(), &old) == 0;
        if (exists_ && S_ISDIR(old.st_mode)) fail(path_, ": cannot be written: ", reason(EISDIR));
        if (exists_ && !S_ISREG(old.st_mode)) {
            Descriptor device(path_, O_WRONLY);
            if (device.number < 0 || !write_all(device, content.pieces) || !device.close())
                fail(path_, ": cannot be written: ", reason(errno));
            return;
        }
        // Replacing a file needs permission for the folder only: ask for the file's anyway.
        if (exists_ && ::faccessat(AT_FDCWD, path_.c_str(), W_OK, AT_EACCESS) != 0)
            fail(path_, ": cannot be written: ", reason(errno));

        // A link stays a link: what it points to is replaced.
        std::error_code error;
        target_ = exists_ ? std::filesystem::canonical(path_, error).string() : path_;
        if (error) fail(path_, ": cannot be written: ", reason(error.value()));

        // Write everything to a temporary file in the same folder, and wait until the disk has it.
        const std::string temporary = target_ + ".tmp" + std::to_string(::getpid());
        ::unlink(temporary.c_str());
        Descriptor file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
        if (file.number < 0) fail(path_, ": cannot be written: ", reason(errno));
        temporary_ = temporary;
        bool ok = write_all(file, content.pieces);
        if (ok && exists_) ok = ::fchmod(file.number, old.st_mode & 07777) == 0;
        ok = ok && ::fsync(file.number) == 0;
        ok = ok && file.close();
        if (!ok) {
            const int why = errno;
            ::unlink(temporary.c_str());  // here: a constructor that throws has no destructor
            fail(path_, ": cannot be written: ", reason(why));
        }
    }

    std::string path_, target_, temporary_, kept_;
    bool exists_ = false, is_in_place_ = false;
};

}  // namespace

void write_files(const std::vector<FileContent>& files) {
    std::deque<Replacement> replacements;  // a deque: they cannot be moved
    for (const FileContent& file : files) replacements.emplace_back(file);
    if (files.size() > 1)
        for (Replacement& r : replacements) r.keep_old();
    try {
        for (Replacement& r : replacements) r.put_in_place();
    } catch (...) {
        for (Replacement& r : replacements) r.put_back();
        throw;
    }
    for (const Replacement& r : replacements) r.sync_folder();
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
        {"PK", "a zip file (PyTorch's .pt files are zip files). hint: unpack or convert it"},
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
