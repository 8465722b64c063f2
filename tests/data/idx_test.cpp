// data/idx.h: the IDX format, whole and damaged.
#include "data/idx.h"

#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace slim {

using namespace std::literals;

namespace {

// Two images of 2 x 3 pixels.
const Bytes kGood = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3,
                     1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255};

std::string error_for(std::string_view text) {
    return error_of([&] { parse_idx(bytes_of(text), "file.idx"); });
}

}  // namespace

TEST_CASE("idx: shape and values") {
    const IdxFile file = parse_idx(kGood, "good");
    CHECK(file.shape == Shape{2, 2, 3});
    CHECK(file.values == Bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255});

    const IdxFile labels = parse_idx(bytes_of("\0\0\x08\x01\0\0\0\x02\x07\x09"sv), "labels");
    CHECK(labels.shape == Shape{2});
    CHECK(labels.values == Bytes{7, 9});

    const IdxFile empty = parse_idx(bytes_of("\0\0\x08\x02\0\0\0\0\0\0\0\x02"sv), "empty");
    CHECK(empty.shape == Shape{0, 2});
    CHECK(empty.values.empty());

    // The four bytes of a dimension are big-endian.
    std::string wide = "\0\0\x08\x02\0\x01\x02\x03\0\0\0\x01"s;
    wide.resize(12 + 0x010203, 'x');
    CHECK(parse_idx(bytes_of(wide), "wide").shape == Shape{0x010203, 1});
}

TEST_CASE("idx: read from a file") {
    ScratchFolder folder;
    write_file(folder / "file", {as_text(kGood)});
    CHECK(read_idx(folder / "file").shape == Shape{2, 2, 3});
    CHECK_ERROR(read_idx(folder / "nothing"), folder / "nothing", "no such file");
    CHECK_ERROR(read_idx(folder.path), folder.path, "is a folder");
}

TEST_CASE("idx: every truncation is an error that names the file") {
    for (size_t n = 0; n < kGood.size(); n++) {
        INFO("cut off after " << n << " bytes");
        CHECK_ERROR(parse_idx(Bytes(kGood.begin(), kGood.begin() + long(n)), "file.idx"),
                    "file.idx: ",
                    n < 4    ? "not an IDX file"
                    : n < 16 ? "truncated: " + std::to_string(n) + " bytes; the header"
                             : "truncated: " + std::to_string(n - 16) + " bytes of values");
    }
    CHECK_ERROR(parse_idx(Bytes(kGood.begin(), kGood.end() - 3), "f"), "9 bytes", "(2, 2, 3)",
                "needs 12", "hint");
    Bytes longer = kGood;
    longer.push_back(0);
    CHECK_ERROR(parse_idx(longer, "f"), "too long", "13 bytes", "(2, 2, 3)", "needs 12");
}

TEST_CASE("idx: every flipped bit is an error in the header and a value after it") {
    for (size_t bit = 0; bit < 8 * kGood.size(); bit++) {
        INFO("bit " << bit);
        Bytes bytes = kGood;
        bytes[bit / 8] ^= uint8_t(1 << bit % 8);
        if (bit / 8 < 16) CHECK_ERROR(parse_idx(bytes, "f"), "f: ");
        else CHECK(parse_idx(bytes, "f").values[bit / 8 - 16] == bytes[bit / 8]);
    }
}

TEST_CASE("idx: other files are recognised") {
    check_words(error_for("\x1f\x8b\x08garbage"), {"file.idx: not an IDX file", "gzip", "gunzip"});
    check_words(error_for("PK\x03\x04garbage"), {"file.idx: not an IDX file", "zip"});
    check_words(error_for("<html>404 Not Found"), {"file.idx: not an IDX file", "web page"});
    check_words(error_for(""), {"file.idx: not an IDX file", "0 bytes", "empty"});
    check_words(error_for("hello"), {"file.idx: not an IDX file", "5 bytes"});
    check_words(error_for("\0\0\x0c\x01\0\0\0\x01\0\0\0\0"sv), {"type 12", "types 8", "13"});
    check_words(error_for("\0\0\x08\0\x01"sv), {"0 dimensions"});
}

TEST_CASE("idx: 32-bit floats, big-endian") {
    const auto parse = [](std::string_view text) {
        return parse_idx(Bytes(text.begin(), text.end()), "file.idx");
    };
    const std::string_view two = "\0\0\x0d\x02\0\0\0\x01\0\0\0\x02\x3f\x80\0\0\xc0\x20\0\0"sv;
    CHECK(parse(two).shape == Shape{1, 2});
    CHECK(parse(two).floats == std::vector<float>{1, -2.5f});
    CHECK(parse(two).values.empty());
    CHECK_ERROR(parse(two.substr(0, 19)), "truncated: 7 bytes", "needs 8");
    CHECK_ERROR(parse("\0\0\x0d\x01\0\0\0\x01\x7f\xc0\0\0"sv), "value 0 is not finite");
    CHECK_ERROR(parse("\0\0\x0d\x02\x01\0\0\0\x02\0\0\0\x3f\x80\0\0\xc0\x20\0\0"sv),
                "little-endian");
}

TEST_CASE("idx: dimensions whose product overflows, or is huge") {
    std::string text = "\0\0\x08\x03"s + std::string(12, '\xff');
    check_words(error_for(text), {"(4294967295, 4294967295, 4294967295)", "count"});
    // 2^16 * 2^16 * 2^16 * 2^16 = 2^64, which would be 0 in 64 bits: an empty file would do.
    text = "\0\0\x08\x04"s;
    for (int i = 0; i < 4; i++) text += "\0\x01\0\0"s;
    check_words(error_for(text), {"(65536, 65536, 65536, 65536)", "count"});
    text = "\0\0\x08\x01\xff\xff\xff\xff_"s;
    check_words(error_for(text), {"truncated", "needs 4294967295"});
    text = "\0\0\x08\xff"s + std::string(1020, '\0');  // 255 dimensions of 0
    CHECK(parse_idx(bytes_of(text), "f").shape == Shape(255, 0));
}

TEST_CASE("fault: idx: a little-endian header is recognised") {
    const std::string text = "\0\0\x08\x02\x02\0\0\0\x03\0\0\0abcdef"s;
    check_words(error_for(text), {"little-endian", "big-endian", "hint"});
}

}  // namespace slim
