// Whole files in and out of memory. Every file that the library reads or writes goes through here,
// so that a missing file, a folder, a full disk or a crash half way is dealt with in one place.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace slim {

using Bytes = std::vector<uint8_t>;

// All of a regular file. Throws an Error that names the path when there is no such file, when it
// is a folder or a device, when it may not be read or has more than max_size bytes.
Bytes read_file(const std::string& path, int64_t max_size = int64_t(1) << 40);

// Writes the pieces one after the other, so that at any moment, kill -9 and power cuts included,
// the path holds either the old file or the new one, whole. On an error the old file is untouched.
// A device or a pipe (/dev/stdout) cannot be replaced and is written to as it stands. What a killed
// program leaves beside the file, .tmp or .old and 16 digits, is removed by the next write.
void write_file(const std::string& path, const std::vector<std::string_view>& pieces);

// The same for files that belong together. All are prepared first, then put in place one right
// after the other. When one cannot be, the others are put back: all old or all new.
struct FileContent {
    std::string path;
    std::vector<std::string_view> pieces;
};
void write_files(const std::vector<FileContent>& files);

// Undoes a write_files() of these files that was killed while it put them in place. Call it before
// reading files that belong together.
void recover_files(const std::vector<std::string>& paths);

bool file_exists(const std::string& path);   // anything of that name: file, folder, device
void make_folders(const std::string& path);  // mkdir -p; does nothing where it exists

// Guesses from the first bytes what a file is. Returns the end of an error's text: "; it looks like
// a gzip file. hint: unpack it with gunzip", or "" if it cannot tell.
std::string looks_like(std::span<const uint8_t> bytes);

// The same bytes, seen as characters.
std::string_view as_text(std::span<const uint8_t> bytes);

}  // namespace slim
