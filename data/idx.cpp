// The IDX reader: nothing in the file is believed before it is checked. See idx.h.
#include "data/idx.h"

#include <bit>    // bit_cast
#include <cmath>  // isfinite

namespace slim {

IdxFile read_idx(const std::string& path) { return parse_idx(read_file(path), path); }

// The product of the dimensions, read as little-endian; -1 if it overflows.
static int64_t little_endian_size(const Bytes& bytes, size_t dims) {
    int64_t size = 1;
    for (size_t at = 4; at < 4 + 4 * dims; at += 4) {
        const int64_t n = int64_t(bytes[at + 3]) << 24 | bytes[at + 2] << 16 |
                          bytes[at + 1] << 8 | bytes[at];
        if (__builtin_mul_overflow(size, n, &size)) return -1;
    }
    return size;
}

IdxFile parse_idx(Bytes bytes, const std::string& name) {
    // Bytes 0 to 3: zero, zero, the type of the values, the number of dimensions.
    const bool magic = bytes.size() >= 4 && bytes[0] == 0 && bytes[1] == 0;
    if (!magic)
        fail(name, ": not an IDX file: it has ", bytes.size(), " bytes and does not begin with ",
             "two zero bytes, type and dimensions", looks_like(bytes));
    const bool is_float = bytes[2] == 0x0d;
    check(bytes[2] == 0x08 || is_float, name, ": not readable: the values are of IDX type ",
          int(bytes[2]), "; types 8, unsigned bytes, and 13, 32-bit floats, are read");
    const size_t dims = bytes[3], header = 4 + 4 * dims;
    check(dims > 0, name, ": not readable: it has 0 dimensions; there must be at least 1");
    check(bytes.size() >= header, name, ": truncated: ", bytes.size(), " bytes; the header for ",
          dims, " dimensions alone has ", header, ". hint: fetch the file again");

    // Each dimension, big-endian. The product must be the number of bytes left.
    Shape shape;
    for (size_t at = 4; at < header; at += 4)
        shape.push_back(int64_t(bytes[at]) << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 |
                        bytes[at + 3]);
    int64_t size = is_float ? 4 : 1;
    for (int64_t n : shape)
        check(!__builtin_mul_overflow(size, n, &size), name, ": not readable: the shape ", shape,
              " has more values than 63 bits can count");
    const int64_t got = int64_t(bytes.size() - header);
    if (got != size && little_endian_size(bytes, dims) * (is_float ? 4 : 1) == got)
        fail(name, ": not readable: its dimensions are little-endian, and IDX is big-endian",
             ". hint: write them with the highest byte first, in numpy as dtype '>u4'");
    check(got == size, name, got < size ? ": truncated: " : ": too long: ", got,
          " bytes of values; the shape ", shape, " needs ", size, ". hint: fetch the file again");

    // Cutting the header off moves the rest down in place, which costs no second copy.
    bytes.erase(bytes.begin(), bytes.begin() + int64_t(header));
    if (!is_float) return {shape, std::move(bytes), {}};
    IdxFile file{shape, {}, {}};
    for (size_t at = 0; at < bytes.size(); at += 4) {
        const uint32_t bits = uint32_t(bytes[at]) << 24 | uint32_t(bytes[at + 1]) << 16 |
                              uint32_t(bytes[at + 2]) << 8 | bytes[at + 3];
        file.floats.push_back(std::bit_cast<float>(bits));
        check(std::isfinite(file.floats.back()), name, ": value ", at / 4,
              " is not finite; each must be");
    }
    return file;
}

}  // namespace slim
