// data/safetensors.h: the same bytes as the reference library, and every damaged file refused.
#include "data/safetensors.h"

#include <cstring>

#ifdef __F16C__
#include <immintrin.h>  // the processor's own conversion of half floats
#endif

#include <limits>

#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace slim {

namespace {

// What Python writes with numpy and json for these seven tensors: sorted by type, then by name, the
// header padded to a multiple of 8.
const std::string kHeader =
    R"({"__metadata__":{"format":"pt"},)"
    R"("step":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
    R"("wide":{"dtype":"F64","shape":[1],"data_offsets":[8,16]},)"
    R"("b":{"dtype":"F32","shape":[3],"data_offsets":[16,28]},)"
    R"("none":{"dtype":"F32","shape":[0,4],"data_offsets":[28,28]},)"
    R"("w":{"dtype":"F32","shape":[2,3],"data_offsets":[28,52]},)"
    R"("half":{"dtype":"F16","shape":[4],"data_offsets":[52,60]},)"
    R"("q":{"dtype":"U8","shape":[3],"data_offsets":[60,63]}}    )";
const uint8_t kData[] = {
    0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,              // step: -5
    0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f,              // wide: 0.1
    0,    0,    0xe0, 0x40, 0, 0, 0,    0x41, 0, 0, 0x10, 0x41,  // b: 7, 8, 9
    0,    0,    0x80, 0x3f, 0, 0, 0,    0xc0, 0, 0, 0,    0x3f,  // w: 1, -2, 0.5
    0x6f, 0x12, 0x83, 0x3a, 0, 0, 0x50, 0x40, 0, 0, 0,    0,     //    0.001, 3.25, 0
    0x00, 0x3c, 0x00, 0xc1, 0xff, 0x7b, 0x01, 0x00,              // half: 1, -2.5, 65504, 2^-24
    0x00, 0x80, 0xff,                                            // q: 0, 128, 255
};

// A file of this header and data, whatever they say.
Bytes file_of(const std::string& header, std::span<const uint8_t> data = {}) {
    std::string text(8, '\0');
    for (size_t i = 0; i < 8; i++) text[i] = char(header.size() >> 8 * i);
    text += header;
    text += as_text(data);
    return bytes_of(text);
}

Bytes python_file() { return file_of(kHeader, kData); }

// The error for a file with these entries, and so many bytes of data.
std::string error_for(const std::string& entries, size_t data_size) {
    const Bytes data(data_size);
    return error_of([&] { parse_safetensors(file_of("{" + entries + "}", data), "f"); });
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
    return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
           ",\"data_offsets\":" + offsets + "}";
}

TensorFile with(const std::string& dtype, const Shape& shape, const Bytes& bytes) {
    return {{{"x", {dtype, shape, bytes}}}, {}, "f"};
}

real from_16_bits(const std::string& dtype, int bits) {
    return with(dtype, {}, {uint8_t(bits), uint8_t(bits >> 8)}).tensor("x").item();
}

}  // namespace

TEST_CASE("fault: safetensors: every dtype of the reference library is kept as it is") {
    TensorFile file;
    for (const char* dtype : {"BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ",
                              "F8_E5M2FNUZ"})
        file.tensors[dtype] = {dtype, {1, 3}, {1, 2, 3}};
    file.tensors["F4"] = {"F4", {3, 2}, {1, 2, 3}};
    file.tensors["C64"] = {"C64", {1}, {1, 2, 3, 4, 5, 6, 7, 8}};
    const ScratchFolder folder;
    write_safetensors(folder / "x", file);
    const TensorFile read = read_safetensors(folder / "x");
    for (const auto& [name, stored] : file.tensors) {
        CHECK(read.stored(name).shape == stored.shape);
        CHECK(read.stored(name).bytes == stored.bytes);
    }
    check_words(error_for(entry("a", "F4", "[3]", "[0,1]"), 1), {"F4", "(3)", "even number"});
}

TEST_CASE("safetensors: reads what Python wrote") {
    const TensorFile file = parse_safetensors(python_file(), "python");
    CHECK(file.tensors.size() == 7);
    CHECK(file.metadata == std::map<std::string, std::string>{{"format", "pt"}});
    CHECK(same_bits(file.tensor("w"), tensor({1, -2, 0.5, real(0.001f), 3.25, 0}, {2, 3})));
    CHECK(same_bits(file.tensor("b"), tensor({7, 8, 9})));
    CHECK(same_bits(file.tensor("half"), tensor({1, -2.5, 65504, real(0x1p-24)})));
    CHECK(same_bits(file.tensor("wide"), tensor({real(0.1)})));
    CHECK(file.tensor("none").shape() == Shape{0, 4});
    CHECK(file.integers("step") == std::vector<int64_t>{-5});
    CHECK(file.stored("step").shape == Shape{});
    CHECK(file.stored("q").dtype == "U8");
    CHECK(file.stored("q").bytes == Bytes{0, 128, 255});

    CHECK_ERROR(file.tensor("nothing"), "python", "no tensor named nothing");
    CHECK_ERROR(file.tensor("q"), "python: tensor q", "U8", "F32");
    CHECK_ERROR(file.integers("w"), "python: tensor w", "F32", "must be I64");
}

TEST_CASE("safetensors: writes the bytes that Python writes") {
    ScratchFolder folder;
    TensorFile file;
    file.metadata["format"] = "pt";
    file.tensors["w"] = store(tensor({1, -2, 0.5, real(0.001f), 3.25, 0}, {2, 3}), "F32");
    file.tensors["b"] = store(tensor({7, 8, 9}), "F32");
    file.tensors["none"] = store(zeros({0, 4}), "F32");
    file.tensors["wide"] = {"F64", {1}, {0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f}};
    file.tensors["step"] = store({-5});
    file.tensors["step"].shape = {};
    file.tensors["half"] = {"F16", {4}, {0x00, 0x3c, 0x00, 0xc1, 0xff, 0x7b, 0x01, 0x00}};
    file.tensors["q"] = {"U8", {3}, {0, 128, 255}};
    write_safetensors(folder / "f", file);
    const Bytes written = read_file(folder / "f");
    CHECK(as_text(written).substr(8, kHeader.size()) == kHeader);
    CHECK(written == python_file());

    // Padding: 2 bytes to 8; 55 to 56; and a length that is a multiple of 8 already.
    write_safetensors(folder / "f", {});
    CHECK(read_file(folder / "f") == file_of("{}      "));
    for (int n = 1; n <= 8; n++) {
        TensorFile named;
        named.tensors[std::string(size_t(n), 'n')] = store(ones({2}));
        write_safetensors(folder / "f", named);
        CHECK(read_file(folder / "f").size() % 8 == 0);
        CHECK(read_safetensors(folder / "f").tensor(std::string(size_t(n), 'n')).size() == 2);
    }
}

TEST_CASE("safetensors: what is written comes back to the bit") {
    ScratchFolder folder;
    Rng rng(2);
    TensorFile file;
    file.metadata = {{"format", "pt"}, {"note", "\"quoted\"\n\té"}, {"", ""}};
    for (const Shape& shape : {Shape{}, Shape{1}, Shape{0}, Shape{7, 3}, Shape{2, 0, 5}, Shape{11}})
        file.tensors[to_text(shape)] = store(normal(shape, 0, 1, rng));
    file.tensors["odd \"name\"\\é"] = store(std::vector<int64_t>{INT64_MIN, 0, INT64_MAX});
    file.tensors["no integers"] = store(std::vector<int64_t>{});
    const real inf = std::numeric_limits<real>::infinity();
    const real tiny = std::numeric_limits<real>::denorm_min();
    file.tensors["special"] = store(tensor({inf, -inf, real(-0.0), tiny, real(NAN)}));
    write_safetensors(folder / "f", file);

    const TensorFile back = read_safetensors(folder / "f");
    CHECK(back.path == folder / "f");
    CHECK(back.metadata == file.metadata);
    REQUIRE(back.tensors.size() == file.tensors.size());
    for (const auto& [name, stored] : file.tensors) {
        CHECK(back.stored(name).dtype == stored.dtype);
        CHECK(back.stored(name).shape == stored.shape);
        CHECK(back.stored(name).bytes == stored.bytes);
    }
    CHECK(back.stored("special").dtype == (kDouble ? "F64" : "F32"));
    const std::vector<real> special = back.tensor("special").to_vector();
    CHECK(special[0] == inf);
    CHECK(special[1] == -inf);
    CHECK(std::signbit(special[2]));
    CHECK(special[3] == tiny);
    CHECK(std::isnan(special[4]));
    CHECK(back.integers("odd \"name\"\\é") == std::vector<int64_t>{INT64_MIN, 0, INT64_MAX});
    CHECK(back.integers("no integers").empty());
}

TEST_CASE("safetensors: both builds read both widths") {
    const Tensor x = tensor({1, real(0.1), real(1e-30), -3});
    const auto back = [](const StoredTensor& stored) {
        return with(stored.dtype, stored.shape, stored.bytes).tensor("x");
    };
    CHECK(same_bits(back(store(x, "F64")), x));
    CHECK(store(x, "F32").bytes.size() == 16);
    CHECK(store(x, "F64").bytes.size() == 32);
    for (int64_t i = 0; i < 4; i++)
        CHECK(float(back(store(x, "F32")).at({i})) == float(x.at({i})));
    CHECK_ERROR(store(x, "I8"), "store", "I8", "F64, F32, F16 or BF16");
}

TEST_CASE("safetensors: half and bfloat16 numbers") {
    CHECK(from_16_bits("F16", 0x0000) == 0);
    CHECK(std::signbit(from_16_bits("F16", 0x8000)));
    CHECK(from_16_bits("F16", 0x3555) == real(0x1.554p-2));      // about 1/3
    CHECK(from_16_bits("F16", 0x03ff) == real(0x1.ff8p-15));     // the largest subnormal
    CHECK(from_16_bits("F16", 0x0400) == real(0x1p-14));         // the smallest normal
    CHECK(from_16_bits("F16", 0xfbff) == -65504);
    CHECK(from_16_bits("F16", 0x7c00) == std::numeric_limits<real>::infinity());
    CHECK(from_16_bits("F16", 0xfc00) == -std::numeric_limits<real>::infinity());
    CHECK(std::isnan(from_16_bits("F16", 0x7e00)));
    CHECK(from_16_bits("BF16", 0x3f80) == 1);
    CHECK(from_16_bits("BF16", 0xc049) == real(-3.140625));
    CHECK(from_16_bits("BF16", 0x7f7f) == real(0x1.fep127));
    CHECK(from_16_bits("BF16", 0xff80) == -std::numeric_limits<real>::infinity());
    CHECK(std::isnan(from_16_bits("BF16", 0x7fc0)));
#ifdef __F16C__
    for (int bits = 0; bits < 65536; bits++) {
        const real ours = from_16_bits("F16", bits), cpus = real(_cvtsh_ss(uint16_t(bits)));
        if (ours != cpus && !(std::isnan(ours) && std::isnan(cpus))) FAIL_CHECK("bits " << bits);
    }
#endif
}

TEST_CASE("safetensors: unusual but legal files") {
    CHECK(parse_safetensors(file_of("{}"), "f").tensors.empty());
    CHECK(parse_safetensors(file_of("{}\r \t\n"), "f").tensors.empty());
    CHECK(parse_safetensors(file_of("{\"__metadata__\":{}}"), "f").metadata.empty());

    // Numbers that do not begin at a multiple of their size; entries in any order; spaces.
    const std::string entries =
        entry("z", "F32", "[ 1 ]", "[ 1 , 5 ]") + " ,\n" + entry("a", "U8", "[1]", "[0,1]");
    const uint8_t data[] = {9, 0, 0, 0x80, 0x3f};
    const TensorFile file = parse_safetensors(file_of("{" + entries + "}", data), "f");
    CHECK(file.tensor("z").at({0}) == 1);
    CHECK(file.stored("a").bytes == Bytes{9});

    // Empty tensors may share a place, with each other and with the beginning of a full one.
    const TensorFile empties = parse_safetensors(
        file_of("{" + entry("a", "F32", "[0]", "[0,0]") + "," + entry("b", "F32", "[1]", "[0,4]") +
                    "," + entry("c", "F64", "[2,0]", "[0,0]") + "," +
                    entry("d", "F64", "[0]", "[4,4]") + "}",
                Bytes(4)),
        "f");
    CHECK(empties.tensors.size() == 4);
}

TEST_CASE("safetensors: headers that are refused") {
    const auto error = [](const Bytes& bytes) {
        return error_of([&] { parse_safetensors(bytes, "f"); });
    };
    check_words(error({}), {"f: not a safetensors file", "0 bytes", "empty"});
    check_words(error(bytes_of("1234567")), {"f: not a safetensors file", "7 bytes"});
    check_words(error(bytes_of("PK\x03\x04-------------")), {"f: not a safetensors", "zip", ".pt"});
    check_words(error(bytes_of("<html>Not Found</html>")), {"f: not a safetensors", "web page"});
    Bytes huge = file_of("{}");
    huge[3] = 0x06;
    check_words(error(huge), {"header length of 100663298", "at most 100000000"});
    huge[7] = 0xff;
    check_words(error(huge), {"f: not a safetensors file", "at most 100000000"});
    huge = file_of("{}");
    huge[0] = 3;
    check_words(error(huge), {"f: truncated", "header of 3", "2 bytes follow"});

    check_words(error(file_of("")), {"f", "does not begin with {"});
    check_words(error(file_of(" {}")), {"f", "does not begin with {"});
    check_words(error(file_of("[]")), {"f", "does not begin with {"});
    check_words(error(file_of("{")), {"f: header: not JSON"});
    check_words(error(file_of("{} {}")), {"f: header: not JSON"});
    check_words(error(file_of("{\"\xff\":1}")), {"f: header: not JSON", "UTF-8"});
    check_words(error(file_of("{\"a\":" + std::string(40, '['))), {"f: header", "deeper than 32"});
    const std::string a = entry("a", "U8", "[0]", "[0,0]");
    check_words(error_for(a + "," + a, 0), {"f: header", "\"a\"", "twice"});
    check_words(error_for("\"__metadata__\":{\"k\":\"v\"},\"__metadata__\":{}", 0), {"twice"});
    check_words(error_for("\"__metadata__\":{\"k\":1}", 0), {"f: __metadata__: k", "text"});
    check_words(error_for("\"__metadata__\":[]", 0), {"f: __metadata__", "object"});
}

TEST_CASE("safetensors: entries that are refused") {
    const auto one = [](const std::string& dtype, const std::string& shape,
                        const std::string& offsets, size_t data_size) {
        return error_for(entry("a", dtype, shape, offsets), data_size);
    };
    check_words(error_for("\"a\":1", 0), {"f: tensor a", "object"});
    check_words(error_for("\"a\":{\"shape\":[0],\"data_offsets\":[0,0]}", 0), {"a", "\"dtype\""});
    check_words(error_for("\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}", 0), {"\"shape\""});
    check_words(error_for("\"a\":{\"dtype\":\"U8\",\"shape\":[0]}", 0), {"\"data_offsets\""});
    check_words(one("F33", "[1]", "[0,4]", 4), {"f: tensor a: unknown dtype \"F33\"", "F32"});
    check_words(one("f32", "[1]", "[0,4]", 4), {"unknown dtype \"f32\""});
    check_words(one("F32", "1", "[0,4]", 4), {"f: tensor a: shape", "a list"});
    check_words(one("F32", "[1.0]", "[0,4]", 4), {"f: tensor a: shape", "whole number"});
    check_words(one("F32", "[-1]", "[0,4]", 4), {"impossible shape (-1)"});
    check_words(one("F32", "[\"1\"]", "[0,4]", 4), {"whole number"});
    check_words(one("F32", "[1]", "[0]", 4), {"1 data_offsets"});
    check_words(one("F32", "[1]", "[0,4,8]", 8), {"3 data_offsets"});
    check_words(one("F32", "[1]", "[0,4.0]", 4), {"data_offsets", "whole number"});
    check_words(one("F32", "[1]", "[-4,0]", 4), {"data_offsets -4 to 0"});
    check_words(one("F32", "[0]", "[4,0]", 4), {"data_offsets 4 to 0 of 4 bytes"});
    check_words(one("F32", "[2]", "[0,8]", 7), {"data_offsets 0 to 8 of 7 bytes", "cut off"});
    check_words(one("F32", "[1]", "[0,18446744073709551615]", 4), {"whole number"});
    check_words(one("F32", "[3]", "[0,8]", 8), {"are 8 bytes", "F32 of shape (3) has 12"});
    check_words(one("F32", "[1]", "[0,8]", 8), {"are 8 bytes", "F32 of shape (1) has 4"});

    // Products that overflow; the second would be 0 in 64 bits, and 0 bytes would do.
    check_words(one("F32", "[4611686018427387904,2]", "[0,0]", 0), {"impossible shape"});
    check_words(one("U8", "[4294967296,4294967296]", "[0,0]", 0), {"impossible shape"});
    check_words(one("F64", "[2305843009213693952]", "[0,0]", 0), {"impossible shape"});
}

TEST_CASE("safetensors: gaps and overlaps are refused") {
    const auto two = [](const std::string& first, const std::string& second, size_t data_size) {
        return error_for(entry("a", "U8", "[4]", first) + "," + entry("b", "U8", "[4]", second),
                         data_size);
    };
    check_words(two("[0,4]", "[5,9]", 9), {"f: tensor b begins at byte 5", "end at 4", "gaps"});
    check_words(two("[0,4]", "[3,7]", 7), {"f: tensor b begins at byte 3", "end at 4", "overlap"});
    check_words(two("[0,4]", "[0,4]", 4), {"begins at byte 0", "overlap"});
    check_words(two("[5,9]", "[1,5]", 9), {"f: tensor b begins at byte 1", "end at 0", "gaps"});
    check_words(two("[0,4]", "[4,8]", 9), {"end at byte 8 of 9", "gaps"});
    check_words(error_for("", 1), {"end at byte 0 of 1"});
    check_words(error_for(entry("a", "U8", "[0]", "[2,2]"), 2), {"begins at byte 2", "gaps"});
}

TEST_CASE("safetensors: every truncation is refused") {
    const Bytes whole = python_file();
    for (size_t n = 0; n < whole.size(); n++) {
        INFO("cut off after " << n << " bytes");
        CHECK_ERROR(parse_safetensors({whole.data(), n}, "file"), "file: ");
    }
    Bytes longer = whole;
    longer.push_back(0);
    CHECK_ERROR(parse_safetensors(longer, "file"), "file: ", "gaps");
}

TEST_CASE("safetensors: every flipped bit is refused or harmless") {
    const Bytes whole = python_file();
    size_t refused = 0;
    for (size_t bit = 0; bit < 8 * whole.size(); bit++) {
        INFO("bit " << bit);
        Bytes bytes = whole;
        bytes[bit / 8] ^= uint8_t(1 << bit % 8);
        const bool in_data = bit / 8 >= 8 + kHeader.size();
        try {
            const TensorFile file = parse_safetensors(bytes, "file");
            // Names, texts, types of the same size and zero-sized shapes can change unseen, but
            // each tensor has the bytes that its shape needs.
            for (const auto& [name, stored] : file.tensors) {
                if (stored.dtype[0] == 'F' || stored.dtype[0] == 'B') file.tensor(name);
                CHECK(stored.bytes.size() <= sizeof kData);
            }
            CHECK(file.tensors.size() == 7);
        } catch (const Error& e) {
            refused++;
            CHECK(!in_data);
            CHECK(std::string(e.what()).starts_with("file"));
        }
    }
    CHECK(refused > 8 * kHeader.size() * 2 / 3);
}

TEST_CASE("safetensors: what cannot be written") {
    ScratchFolder folder;
    TensorFile file;
    file.tensors["x"] = store(ones({3}));
    CHECK_ERROR(write_safetensors("/dev/full", file), "/dev/full", "no space left");
    CHECK_ERROR(write_safetensors(folder.path, file), "is a folder");
    CHECK_ERROR(write_safetensors(folder / "no/f", file), "no such file or folder");
    write_safetensors(folder / "f", file);

    // A file that would not be readable again is not written; the old one stays.
    file.tensors["x"].bytes.pop_back();
    CHECK_ERROR(write_safetensors(folder / "f", file), "tensor x", "(3)");
    CHECK_ERROR(file.tensor("x"), "tensor x", "(3)");
    file.tensors["x"] = {"F31", {1}, Bytes(4)};
    CHECK_ERROR(write_safetensors(folder / "f", file), "tensor x", "unknown dtype");
    file.tensors = {{"__metadata__", store(ones({1}))}};
    CHECK_ERROR(write_safetensors(folder / "f", file), "__metadata__");
    file.tensors = {{"\xff", store(ones({1}))}};
    CHECK_ERROR(write_safetensors(folder / "f", file), "UTF-8");
    CHECK(read_safetensors(folder / "f").tensor("x").size() == 3);
    CHECK(folder.names() == std::vector<std::string>{"f"});
}

TEST_CASE("fault: 16-bit numbers are written as they were read, and rounded to the nearest") {
    const auto read = [](const std::string& dtype, uint16_t bits) {
        TensorFile file;
        file.tensors["x"] = {dtype, {1}, {uint8_t(bits & 255), uint8_t(bits >> 8)}};
        return file.tensor("x");
    };
    const auto bits_of = [](const StoredTensor& t) { return t.bytes[0] | t.bytes[1] << 8; };
    int64_t wrong = 0;
    for (const std::string dtype : {"F16", "BF16"})
        for (int bits = 0; bits < 65536; bits++) {
            const bool flushed = dtype == "BF16" && (bits & 0x7f80) == 0;  // denormal floats
            if (flushed) continue;
            const Tensor x = read(dtype, uint16_t(bits));
            if (std::isnan(x.data()[0]))
                wrong += !std::isnan(read(dtype, uint16_t(bits_of(store(x, dtype)))).data()[0]);
            else
                wrong += bits_of(store(x, dtype)) != bits;
            // Half way to the next larger number of the same sign: the even one.
            if ((bits & 0x7fff) >= (dtype == "F16" ? 0x7bff : 0x7f7f)) continue;
            const Tensor middle = scale(x, 0.5) + scale(read(dtype, uint16_t(bits + 1)), 0.5);
            const int even = bits % 2 == 0 ? bits : bits + 1;
            wrong += bits_of(store(middle, dtype)) != even;
        }
    CHECK(wrong == 0);
    CHECK_ERROR(store(full({2}, 65505), "F16"), "element 0 is 65505", "F16", "65504");
    if (kDouble)
        CHECK_ERROR(store(full({2}, real(1e300)), "F32"), "element 0 is 1e+300", "F32");
    CHECK(store(full({1}, INFINITY), "F32").bytes == Bytes{0, 0, 0x80, 0x7f});
}

TEST_CASE("fault: a header of any length is padded to a multiple of 8, and to no more") {
    ScratchFolder folder;
    for (size_t length = 1; length <= 17; length++) {
        TensorFile file;
        file.tensors[std::string(length, 'n')] = store(ones({2}), "F32");
        write_safetensors(folder / "x", file);
        const std::string text = text_of(folder / "x");
        uint64_t header;
        std::memcpy(&header, text.data(), 8);
        const std::string json = text.substr(8, header);
        CHECK(header % 8 == 0);
        CHECK(json.size() - (json.rfind('}') + 1) < 8);
        CHECK(text.size() == 8 + header + 8);
    }
}

}  // namespace slim
