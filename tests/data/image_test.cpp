// data/image.h: which files are pictures, and what is read from them.
#include "data/image.h"

#include <unistd.h>  // truncate

#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace slim {

namespace {

const std::string kPictures = "tests/pictures/";

// ---- making pictures ----------------------------------------------------------------------------

std::string big_endian(int64_t number, int bytes) {
    std::string text;
    while (bytes-- > 0) text += char(number >> (8 * bytes));
    return text;
}

std::string chunk(const std::string& kind, const std::string& data) {
    return big_endian(int64_t(data.size()), 4) + kind + data + "crc?";  // which nobody checks
}

enum Colour { kGrey = 0, kRGB = 2, kGreyAlpha = 4, kRGBA = 6 };

Bytes png_of_zlib(int64_t rows, int64_t cols, int depth, Colour colour, const std::string& zlib) {
    const std::string head = big_endian(cols, 4) + big_endian(rows, 4) +
                             std::string{char(depth), char(colour), 0, 0, 0};
    return bytes_of("\x89PNG\r\n\x1a\n" + chunk("IHDR", head) + chunk("IDAT", zlib) +
                    chunk("IEND", ""));
}

// A PNG of samples [rows, cols * channels] of depth / 8 bytes, not packed: one stored zlib block.
Bytes png(int64_t rows, int64_t cols, int depth, Colour colour, const std::string& samples) {
    std::string lines;
    const size_t width = samples.size() / size_t(rows);
    for (size_t r = 0; r < size_t(rows); r++) lines += '\0' + samples.substr(r * width, width);
    const int64_t n = int64_t(lines.size());
    REQUIRE(n < 65536);
    const std::string sizes{char(n), char(n >> 8), char(~n), char(~n >> 8)};
    return png_of_zlib(rows, cols, depth, colour, "\x78\x01\x01" + sizes + lines + "adle");
}

}  // namespace

// ---- reading ------------------------------------------------------------------------------------

TEST_CASE("image: the channels of a PNG become one brightness, over white paper") {
    const auto pixels = [](const Bytes& bytes) { return parse_image(bytes, "p").pixels; };
    using namespace std::string_literals;
    CHECK(pixels(png(2, 2, 8, kGrey, "\x00\x50\xa0\xff"s)) == Bytes{0, 0x50, 0xa0, 0xff});
    CHECK(pixels(png(1, 2, 16, kGrey, "\x12\x34\xff\xff"s)) == Bytes{0x12, 0xff});

    // Opaque, half transparent, transparent: black fades into white paper, white into black.
    CHECK(pixels(png(1, 3, 8, kGreyAlpha, "\x00\xff\x00\x80\x00\x00"s)) == Bytes{0, 127, 255});
    CHECK(pixels(png(1, 3, 8, kGreyAlpha, "\xff\xff\xff\x80\xff\x00"s)) == Bytes{255, 128, 0});
    CHECK(pixels(png(1, 2, 8, kRGBA, "\x00\x00\x00\xff\x00\x00\x00\x00"s)) == Bytes{0, 255});

    // Green looks brighter than red, and red than blue.
    const Bytes rgb = pixels(png(1, 3, 8, kRGB, "\xff\x00\x00\x00\xff\x00\x00\x00\xff"s));
    REQUIRE(rgb.size() == 3);
    CHECK(rgb[1] > rgb[0]);
    CHECK(rgb[0] > rgb[2]);
}

TEST_CASE("image: rows and columns of PNG and JPEG files") {
    const GreyImage large = read_image(kPictures + "7_large_canvas.png");
    CHECK(large.rows == 1200);
    CHECK(large.cols == 1600);
    CHECK(large.pixels.size() == 1200 * 1600);
    const GreyImage jpeg = read_image(kPictures + "9_slanted.jpg");
    CHECK(jpeg.rows == 360);
    CHECK(jpeg.cols == 320);
    CHECK(jpeg.pixels[0] > 240);
    CHECK(*std::min_element(jpeg.pixels.begin(), jpeg.pixels.end()) < 100);
    const GreyImage alpha = read_image(kPictures + "4_alpha.png");
    CHECK(alpha.pixels[0] == 255);
    CHECK(*std::min_element(alpha.pixels.begin(), alpha.pixels.end()) == 20);
}

TEST_CASE("image: what is not a picture gets a sentence") {
    ScratchFolder folder;
    CHECK_ERROR(read_image(folder / "nothing.png"), folder / "nothing.png", "no such file");
    CHECK_ERROR(read_image(folder.path), folder.path, "is a folder");
    const std::string bad = kPictures + "bad/";
    CHECK_ERROR(read_image(bad + "text.png"), bad + "text.png", "not a PNG or JPEG", "like a text");
    CHECK_ERROR(read_image(bad + "empty.png"), bad + "empty.png", "not a PNG or JPEG", "is empty");
    CHECK_ERROR(read_image(bad + "huge.png"), bad + "huge.png", "too large", "10000 x 10000 pixels",
                "at most 4096 x 4096", "hint: scale it down");
    CHECK_ERROR(read_image(bad + "truncated.png"), bad + "truncated.png", "PNG file is damaged");

    write_file(folder / "large", {"\x89PNG\r\n\x1a\n"});
    REQUIRE(truncate((folder / "large").c_str(), (64 << 20) + 1) == 0);
    CHECK_ERROR(read_image(folder / "large"), folder / "large", "too large", "67108865 bytes");
}

TEST_CASE("image: other kinds of files are called by their names") {
    const std::pair<std::string, const char*> kinds[] = {
        {"GIF89a.......", "a GIF. hint: export it as PNG"},
        {"BM..........", "a BMP"},
        {"RIFF....WEBPVP8 ", "a WebP"},
        {std::string("II*\0", 4) + "....", "a TIFF"},
        {std::string(4, '\0') + "ftypheic", "a HEIC"},
        {"%PDF-1.7", "a PDF"},
        {"<svg xmlns=", "an SVG"},
        {"<!DOCTYPE html>", "a web page"},
        {"\x1f\x8b\x08", "a gzip file"},
    };
    for (const auto& kind : kinds)
        CHECK_ERROR(parse_image(bytes_of(kind.first), "file"), "file: not a PNG or JPEG picture",
                    kind.second);
    const std::string unknown = error_of([] { parse_image({1, 2, 3}, "file"); });
    CHECK(unknown == "file: not a PNG or JPEG picture");
}

TEST_CASE("image: the bounds on width and height") {
    using namespace std::string_literals;
    CHECK(parse_image(png(1, 4096, 8, kGrey, std::string(4096, 'x')), "p").cols == 4096);
    CHECK(parse_image(png(4096, 1, 8, kGrey, std::string(4096, 'x')), "p").rows == 4096);
    CHECK_ERROR(parse_image(png(1, 4097, 8, kGrey, std::string(4097, 'x')), "p"),
                "4097 x 1 pixels");
    CHECK_ERROR(parse_image(png(4097, 1, 8, kGrey, std::string(4097, 'x')), "p"),
                "1 x 4097 pixels");
    // The frame segment of a JPEG: 8 bits, 5000 rows, 200 columns, after padding and a comment.
    const std::string jpeg =
        "\xff\xd8\xff\xfe\x00\x04hi\xff\xff\xff\xc0\x00\x0b\x08\x13\x88\x00\xc8"s;
    CHECK_ERROR(parse_image(bytes_of(jpeg), "p"), "too large", "200 x 5000 pixels");
}

TEST_CASE("image: a file cut off at any byte is refused") {
    const Bytes small = png(3, 2, 8, kRGBA, "abcdefghijklmnopqrstuvwx");
    REQUIRE(parse_image(small, "whole").rows == 3);
    for (size_t size = 0; size + 4 < small.size(); size++) {  // the last 4 bytes are a checksum
        INFO(size << " bytes of " << small.size());
        CHECK_ERROR(parse_image({small.begin(), small.begin() + int64_t(size)}, "cut"), "cut: ");
    }
    // Text that the decoder quotes from a broken file must not reach the terminal as it is.
    Bytes quoted = small;
    const std::string_view text = as_text(quoted);
    quoted[text.find("IDAT") + 1] = 0x1b;
    CHECK(error_of([&] { parse_image(quoted, "quoted"); }).find("\x1b") == std::string::npos);

    const Bytes jpeg = read_file(kPictures + "5_jpeg.jpg");
    for (size_t size = 0; size < jpeg.size(); size += size < 700 ? 1 : 31) {
        INFO(size << " bytes of " << jpeg.size());
        CHECK_ERROR(parse_image({jpeg.begin(), jpeg.begin() + int64_t(size)}, "cut"), "cut: ");
    }
    CHECK_ERROR(parse_image({jpeg.begin(), jpeg.begin() + 2000}, "cut"), "its end is missing");
    Bytes more = jpeg;  // telephones append films to their pictures
    more.insert(more.end(), 1000, 0xff);
    CHECK(parse_image(more, "more").pixels == parse_image(jpeg, "jpeg").pixels);
}

TEST_CASE("image: a file with a wrong bit is refused or read, and nothing worse") {
    // That reading stays inside its memory is seen with SAN=1.
    const auto try_flip = [](Bytes bytes, size_t bit) {
        bytes[bit / 8] ^= uint8_t(1 << (bit % 8));
        try {
            const GreyImage image = parse_image(bytes, "flipped");
            CHECK(int64_t(image.pixels.size()) == image.rows * image.cols);
            return true;
        } catch (const Error& e) {
            CHECK(std::string(e.what()).starts_with("flipped: "));
            return false;
        }
    };
    int64_t read = 0, refused = 0;
    const Bytes small = png(3, 2, 8, kRGBA, "abcdefghijklmnopqrstuvwx");
    for (size_t bit = 0; bit < 8 * small.size(); bit++) ++(try_flip(small, bit) ? read : refused);
    CHECK(read > 100);  // in the pixels and the checksums
    CHECK(refused > 100);
    const Bytes jpeg = read_file(kPictures + "5_jpeg.jpg");
    for (size_t bit = 0; bit < 8 * jpeg.size(); bit += 61) try_flip(jpeg, bit);
}

TEST_CASE("image: a small file cannot unpack to gigabytes") {
    // Deflate's fixed code: one black byte, then "repeat the last byte 258 times", 13 bits each,
    // for 150 MB in all. The picture is said to have 1 x 1 pixels.
    std::string zlib = "\x78\x01";
    uint32_t held = 0;
    int bits = 0;
    const auto put = [&](uint32_t value, int count) {
        held |= value << bits;
        for (bits += count; bits >= 8; bits -= 8, held >>= 8) zlib += char(held);
    };
    put(0b011, 3);          // the last block, fixed code
    put(0b00001100, 8);     // the byte 0
    for (int i = 0; i < 600'000; i++) put(0b00000'10100011, 13);  // length 258, distance 1
    zlib += std::string(16, '\0');
    CHECK(zlib.size() < 1'000'000);
    CHECK_ERROR(parse_image(png_of_zlib(1, 1, 8, kGrey, zlib), "bomb"), "bomb: ", "outofmem");
}

// What stb_image would go beyond its buffers for, or believe.
TEST_CASE("fault: a JPEG with uneven sampling or too long a table of codes is refused") {
    const Bytes jpeg = read_file(kPictures + "5_jpeg.jpg");
    const auto find = [&](uint8_t kind) {
        for (size_t at = 2; at + 1 < jpeg.size(); at++)
            if (jpeg[at] == 0xff && jpeg[at + 1] == kind) return at;
        return size_t(0);
    };
    Bytes uneven = jpeg;
    const size_t frame = find(0xc0);
    REQUIRE(frame > 0);
    uneven[frame + 9] = 3;  // components, of 1, 2 and 3 samples across
    uneven[frame + 11] = 0x11, uneven[frame + 14] = 0x21, uneven[frame + 17] = 0x31;
    CHECK_ERROR(parse_image(uneven, "p"), "p: ", "uneven sampling");
    uneven[frame + 11] = 0x01;  // and of none
    CHECK_ERROR(parse_image(uneven, "p"), "p: ", "uneven sampling");

    Bytes long_table = jpeg;
    const size_t table = find(0xc4);
    REQUIRE(table > 0);
    long_table[table + 5] = 200, long_table[table + 6] = 56;  // codes of 1 and of 2 bits
    CHECK_ERROR(parse_image(long_table, "p"), "p: ", "too long a table");
}

}  // namespace slim
