// data/image.h: which files are pictures, and bringing digits into MNIST's form.
#include "data/image.h"

#include <unistd.h>  // truncate

#include <algorithm>
#include <cstdlib>

#include "data/mnist.h"
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

GreyImage paper(int64_t rows, int64_t cols, int brightness = 255) {
    return {rows, cols, Bytes(size_t(rows * cols), uint8_t(brightness))};
}

void fill(GreyImage& image, int64_t top, int64_t left, int64_t rows, int64_t cols,
          int brightness = 0) {
    for (int64_t r = top; r < top + rows; r++)
        for (int64_t c = left; c < left + cols; c++)
            image.pixels[size_t(r * image.cols + c)] = uint8_t(brightness);
}

// Something like a 7, with a box of 120 x 200 at (top, left), in strokes of 30.
GreyImage seven(int64_t top = 30, int64_t left = 50, int ink = 0, int ground = 255) {
    GreyImage image = paper(300, 260, ground);
    fill(image, top, left, 30, 120, ink);
    for (int64_t r = 0; r < 170; r++)
        fill(image, top + 30 + r, left + 90 - r / 3, 1, 30, ink);
    return image;
}

// The picture with every pixel as a square of k x k.
GreyImage enlarged(const GreyImage& image, int64_t k) {
    GreyImage large = paper(image.rows * k, image.cols * k);
    for (int64_t r = 0; r < large.rows; r++)
        for (int64_t c = 0; c < large.cols; c++)
            large.pixels[size_t(r * large.cols + c)] =
                image.pixels[size_t(r / k * image.cols + c / k)];
    return large;
}

// ---- looking at digits --------------------------------------------------------------------------

Bytes digit_of(const GreyImage& image) { return digit_from_image(image, "picture"); }

struct Look {
    double mass = 0, x = 0, y = 0;  // of the ink; pixel centres are at + 0.5
    int64_t left = kDigitSide, right = 0, top = kDigitSide, bottom = 0;
    int darkest = 0;
};

Look look_at(const Bytes& digit) {
    REQUIRE(int64_t(digit.size()) == kDigitSide * kDigitSide);
    Look look;
    for (int64_t r = 0; r < kDigitSide; r++)
        for (int64_t c = 0; c < kDigitSide; c++) {
            const int ink = digit[size_t(r * kDigitSide + c)];
            if (ink == 0) continue;
            look.mass += ink;
            look.x += ink * (double(c) + 0.5);
            look.y += ink * (double(r) + 0.5);
            look.left = std::min(look.left, c);
            look.right = std::max(look.right, c + 1);
            look.top = std::min(look.top, r);
            look.bottom = std::max(look.bottom, r + 1);
            look.darkest = std::max(look.darkest, ink);
        }
    look.x /= look.mass;
    look.y /= look.mass;
    return look;
}

int largest_difference(const Bytes& a, const Bytes& b) {
    REQUIRE(a.size() == b.size());
    int largest = 0;
    for (size_t i = 0; i < a.size(); i++) largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest;
}

}  // namespace

// ---- reading ------------------------------------------------------------------------------------

TEST_CASE("image: the channels of a PNG become one brightness, over white paper") {
    const auto pixels = [](const Bytes& bytes) { return parse_image(bytes, "p").pixels; };
    using namespace std::string_literals;
    CHECK(pixels(png(2, 2, 8, kGrey, "\x00\x50\xa0\xff"s)) == Bytes{0, 0x50, 0xa0, 0xff});
    CHECK(pixels(png(1, 2, 16, kGrey, "\x12\x34\xff\xff"s)) == Bytes{0x12, 0xff});

    // Opaque, half transparent, transparent: black fades into the paper, white is not to be seen.
    CHECK(pixels(png(1, 3, 8, kGreyAlpha, "\x00\xff\x00\x80\x00\x00"s)) == Bytes{0, 127, 255});
    CHECK(pixels(png(1, 3, 8, kGreyAlpha, "\xff\xff\xff\x80\xff\x00"s)) == Bytes{255, 255, 255});
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

// ---- into MNIST's form --------------------------------------------------------------------------

TEST_CASE("digit: a square fills the box of 20 x 20, around the middle of pixel 14") {
    GreyImage image = paper(100, 90);
    fill(image, 10, 35, 40, 40);
    const Bytes digit = digit_of(image);
    for (int64_t r = 0; r < kDigitSide; r++)
        for (int64_t c = 0; c < kDigitSide; c++) {
            // From 4.5 to 24.5: the outermost pixels are half covered.
            const auto cover = [](int64_t i) {
                return i < 4 || i > 24 ? 0.0 : i == 4 || i == 24 ? 0.5 : 1.0;
            };
            INFO("row " << r << ", column " << c);
            CHECK(std::fabs(digit[size_t(r * kDigitSide + c)] - 255 * cover(r) * cover(c)) <= 0.5);
        }
}

TEST_CASE("digit: the longer side is 20, proportions are kept, the centre of mass is at 14.5") {
    const Look look = look_at(digit_of(seven()));  // 120 x 200
    CHECK(std::fabs(look.x - 14.5) < 0.02);
    CHECK(std::fabs(look.y - 14.5) < 0.02);
    CHECK(look.bottom - look.top <= 21);  // 20, on 21 pixels
    CHECK(look.bottom - look.top >= 20);
    CHECK(look.right - look.left <= 13);
    CHECK(look.right - look.left >= 12);
    CHECK(look.darkest == 255);
    // Scaling by 1/10 makes 1 / 100 of the ink.
    CHECK(look.mass / 255 == doctest::Approx((30 * 120 + 170 * 30) / 100.0).epsilon(0.01));
}

TEST_CASE(
    "digit: it does not matter where it was drawn, how large, or which of the two was bright") {
    const Bytes digit = digit_of(seven());
    CHECK(largest_difference(digit_of(seven(0, 0)), digit) <= 1);
    CHECK(largest_difference(digit_of(seven(100, 140)), digit) <= 1);
    CHECK(largest_difference(digit_of(enlarged(seven(), 3)), digit) <= 1);
    CHECK(digit_of(seven(30, 50, 255, 0)) == digit);    // white on black
    CHECK(digit_of(seven(30, 50, 60, 200)) == digit);   // pencil on grey paper
    CHECK(digit_of(seven(30, 50, 130, 100)) == digit);  // hardly to be seen
}

TEST_CASE("digit: paper grain and specks of dust are not ink") {
    Rng rng(1);
    const GreyImage clean = seven(30, 50, 60, 200);
    GreyImage scan = clean;
    for (uint8_t& pixel : scan.pixels) pixel = uint8_t(double(pixel) + rng.uniform(-15, 15));
    for (int i = 0; i < 20; i++) fill(scan, rng.below(298), rng.below(40), 2, 2, 0);
    CHECK(largest_difference(digit_of(scan), digit_of(clean)) < 20);

    GreyImage two_strokes = seven();  // a piece of its own, and no dust
    fill(two_strokes, 140, 60, 40, 40);
    CHECK(look_at(digit_of(two_strokes)).mass > look_at(digit_of(seven())).mass * 1.1);
}

TEST_CASE("digit: a thin frame around the picture is not taken for the paper") {
    GreyImage framed = enlarged(paper(40, 40), 10);
    fill(framed, 0, 0, 1, 400);
    fill(framed, 399, 0, 1, 400);
    fill(framed, 0, 0, 400, 1);
    fill(framed, 0, 399, 400, 1);
    fill(framed, 100, 100, 200, 200);
    const Bytes digit = digit_of(framed);
    CHECK(digit[size_t(14 * kDigitSide + 14)] == 255);  // the square is ink, the paper is not
}

TEST_CASE("digit: a stroke that scaling would lose is thickened to 2 pixels") {
    GreyImage image = paper(1000, 1000);
    fill(image, 100, 500, 800, 4);  // 0.1 pixels wide in the end
    fill(image, 100, 200, 4, 600);
    const Bytes digit = digit_of(image);
    const Look look = look_at(digit);
    CHECK(look.darkest == 255);
    double across = 0;  // ink in a row that crosses one stroke
    for (int64_t c = 0; c < kDigitSide; c++) across += digit[size_t(20 * kDigitSide + c)];
    CHECK(across / 255 == doctest::Approx(2).epsilon(0.02));
}

TEST_CASE("digit: thickening sets in without a jump") {
    Bytes before;
    for (int64_t width = 20; width < 40; width++) {  // 1.25 to 2.5 pixels
        GreyImage image = paper(400, 200);
        fill(image, 40, 80, 320, width);
        const Bytes digit = digit_of(image);
        INFO("a stroke of " << width);
        if (!before.empty()) CHECK(largest_difference(digit, before) < 40);
        before = digit;
    }
}

TEST_CASE("digit: lopsided ink stays inside the 28 x 28") {
    GreyImage image = paper(1000, 400);
    fill(image, 50, 190, 880, 8);
    fill(image, 860, 80, 120, 240);  // most of the mass is at the lower end
    const Look look = look_at(digit_of(image));
    CHECK(look.top == 0);
    CHECK(look.bottom >= 20);
    CHECK(look.bottom <= 21);
    CHECK(look.y > 14.52);  // to be at 14.5 it would have to begin above the first row
}

TEST_CASE("digit: an empty picture gets a sentence") {
    for (int brightness : {0, 128, 255})
        CHECK_ERROR(digit_of(paper(50, 40, brightness)), "picture: no digit found", "hint: draw");
    CHECK_ERROR(digit_of(paper(1, 1)), "no digit found");
    GreyImage faint = paper(50, 50, 200);
    fill(faint, 20, 20, 10, 10, 190);
    CHECK_ERROR(digit_of(faint), "no digit found", "more than 10 of 255");
    Rng rng(1);
    GreyImage grain = paper(200, 200);
    for (uint8_t& pixel : grain.pixels) pixel = uint8_t(200 + rng.normal() * 8);
    CHECK_ERROR(digit_of(grain), "no digit found");
}

TEST_CASE("digit: pictures of odd shapes are read too") {
    for (const auto& size : std::vector<std::pair<int64_t, int64_t>>{
             {1, 9}, {9, 1}, {2, 2}, {3, 3}, {1, 4096}, {4096, 1}, {5, 700}}) {
        const int64_t rows = size.first, cols = size.second;
        INFO(rows << " x " << cols);
        GreyImage image = paper(rows, cols);
        fill(image, rows / 2, cols / 2, 1, 1);
        if (rows * cols > 4000) fill(image, rows / 2, cols / 2, rows / 3 + 1, cols / 3 + 1);
        CHECK(look_at(digit_of(image)).mass > 0);
    }
}

TEST_CASE("digit: MNIST's own digits come out as they went in" *
          doctest::skip(!file_exists("data/mnist"))) {
    const ImageSet set = load_mnist("data/mnist", Split::kTest);
    double as_it_was = 0, on_paper = 0;
    const int64_t count = 200;
    for (int64_t i = 0; i < count; i++) {
        GreyImage image = paper(28, 28);
        std::copy_n(set.pixels.begin() + i * 784, 784, image.pixels.begin());
        const Bytes same = digit_of(image);
        for (uint8_t& pixel : image.pixels) pixel = uint8_t(230 - pixel * 2 / 3);
        GreyImage page = paper(40, 50, 230);  // dark ink, somewhere on a larger page
        for (int64_t r = 0; r < 28; r++)
            std::copy_n(image.pixels.begin() + r * 28, 28, page.pixels.begin() + (r + 5) * 50 + 15);
        const Bytes again = digit_of(enlarged(page, 4));
        for (size_t k = 0; k < 784; k++) {
            as_it_was += std::abs(same[k] - set.pixels[size_t(i) * 784 + k]);
            on_paper += std::abs(again[k] - set.pixels[size_t(i) * 784 + k]);
        }
    }
    // MNIST centred to whole pixels, we do not: edges differ, on the mean by this much of 255. A
    // shift by a whole pixel would make 20.
    CHECK(as_it_was / double(count * 784) < 9);
    CHECK(on_paper / double(count * 784) < 9);
}

}  // namespace slim
