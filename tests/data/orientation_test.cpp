// data/image.h: the orientation that cameras note, and transparent grounds. data/digit.h: doubts
// about a picture.
#include <algorithm>  // fill_n, reverse

#include "core/random.h"
#include "data/digit.h"
#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace slim {

namespace {

std::string big_endian(uint32_t n, int bytes = 4) {
    std::string text;
    for (int shift = 8 * bytes - 8; shift >= 0; shift -= 8) text += char(n >> shift);
    return text;
}

std::string chunk(const std::string& kind, const std::string& content) {
    return big_endian(uint32_t(content.size())) + kind + content + "sums";  // not looked at
}

// A PNG without compression. color: 0 grey, 4 grey and opacity.
Bytes png(int rows, int cols, const std::string& pixels, const std::string& more = "",
          char color = 0) {
    std::string raw;
    const size_t width = pixels.size() / size_t(rows);
    for (int r = 0; r < rows; r++) raw += '\0' + pixels.substr(size_t(r) * width, width);
    const auto n = uint32_t(raw.size());
    std::string stored{'\x78', '\x01', '\x01', char(n), char(n >> 8), char(~n), char(~n >> 8)};
    return bytes_of("\x89PNG\r\n\x1a\n" +
                    chunk("IHDR", big_endian(uint32_t(cols)) + big_endian(uint32_t(rows)) +
                                      std::string{8, color, 0, 0, 0}) +
                    more + chunk("IDAT", stored + raw + "sums") + chunk("IEND", ""));
}

// The TIFF that says how the camera was held, after an entry that says something else.
std::string exif(char orientation, bool little) {
    const std::string entry(10, '\0');
    if (little)
        return std::string("II*\0\x08\0\0\0\x02\0\x0f\x01", 12) + entry +
               std::string("\x12\x01\x03\0\x01\0\0\0", 8) + orientation + std::string(7, '\0');
    return std::string("MM\0*\0\0\0\x08\0\x02\x01\x0f", 12) + entry +
           std::string("\x01\x12\0\x03\0\0\0\x01\0", 9) + orientation + std::string(6, '\0');
}

GreyImage page(int64_t rows, int64_t cols) {
    return {rows, cols, Bytes(size_t(rows * cols), 255)};
}

void ink(GreyImage& image, int64_t top, int64_t left, int64_t height, int64_t width) {
    for (int64_t r = top; r < top + height; r++)
        std::fill_n(image.pixels.begin() + r * image.cols + left, width, uint8_t(0));
}

}  // namespace

TEST_CASE("fault: images are turned as the camera says, in PNG and JPEG") {
    // a b c    as it is stored; the eight ways to hold the camera
    // d e f
    const std::string shown[] = {"abcdef", "cbafed", "fedcba", "defabc",
                                 "adbecf", "daebfc", "fcebda", "cfbead"};
    for (int orientation = 1; orientation <= 8; orientation++)
        for (const bool little : {false, true}) {
            INFO("orientation " << orientation << (little ? ", II" : ", MM"));
            const GreyImage image = parse_image(
                png(2, 3, "abcdef", chunk("eXIf", exif(char(orientation), little))), "f.png");
            CHECK(image.rows == (orientation >= 5 ? 3 : 2));
            CHECK(as_text(image.pixels) == shown[orientation - 1]);
        }
    CHECK(as_text(parse_image(png(2, 3, "abcdef", chunk("eXIf", exif(9, true))), "f").pixels) ==
          "abcdef");
    CHECK(as_text(parse_image(png(2, 3, "abcdef", chunk("eXIf", "II*")), "f").pixels) == "abcdef");

    const Bytes plain = read_file("tests/pictures/5_jpeg.jpg");
    Bytes noted = plain;
    const std::string content = std::string("Exif\0\0", 6) + exif(3, false);
    const Bytes segment = bytes_of("\xff\xe1" + big_endian(uint32_t(content.size()) + 2, 2) +
                                   content);
    noted.insert(noted.begin() + 2, segment.begin(), segment.end());
    Bytes turned = parse_image(plain, "plain").pixels;
    std::reverse(turned.begin(), turned.end());
    CHECK(parse_image(noted, "noted").pixels == turned);
}

TEST_CASE("fault: light strokes on a transparent ground lie over black") {
    const std::string clear("\xff\0", 2), white = "\xff\xff", black("\0\xff", 2);
    CHECK(parse_image(png(1, 2, clear + white, "", 4), "f").pixels == Bytes{0, 255});
    CHECK(parse_image(png(1, 2, clear + black, "", 4), "f").pixels == Bytes{255, 0});
}

TEST_CASE("fault: a JPEG in arithmetic coding is no damaged one") {
    Bytes jpeg = read_file("tests/pictures/5_jpeg.jpg");
    for (size_t i = 0; i + 1 < jpeg.size(); i++)
        if (jpeg[i] == 0xff && jpeg[i + 1] == 0xc0) jpeg[i + 1] = 0xc9;
    CHECK_ERROR(parse_image(jpeg, "a.jpg"), "a.jpg: ", "arithmetic coding", "PNG");
}

TEST_CASE("fault: what is not one digit on paper raises a doubt") {
    for (const std::string name :
         {"0_thin.png", "1_off_centre.png", "2_thick.png", "3_white_on_black.png", "4_alpha.png",
          "5_jpeg.jpg", "6_coloured.png", "7_large_canvas.png", "8_scan.png", "9_slanted.jpg"}) {
        INFO(name);
        CHECK(doubt_about(read_image("tests/pictures/" + name), name) == "");
    }
    GreyImage two = page(60, 100);
    ink(two, 10, 20, 40, 6);
    CHECK(doubt_about(two, "one") == "");
    ink(two, 10, 70, 40, 6);
    CHECK(doubt_about(two, "two").starts_with("two things stand side by side"));
    GreyImage half = page(60, 60);
    ink(half, 0, 0, 60, 25);
    CHECK(doubt_about(half, "half").starts_with("the ink runs along the edge"));
    GreyImage gradient = page(60, 60);
    for (int64_t i = 0; i < 3600; i++) gradient.pixels[size_t(i)] = uint8_t(40 + i % 60 * 3);
    CHECK(doubt_about(gradient, "gradient") != "");
    GreyImage noise = page(60, 60);
    Rng rng(1);
    for (uint8_t& pixel : noise.pixels) pixel = uint8_t(rng.below(256));
    CHECK(doubt_about(noise, "noise") != "");
    GreyImage filled = page(60, 60);
    ink(filled, 10, 10, 40, 40);
    CHECK(doubt_about(filled, "filled").starts_with("most of it is ink"));
    GreyImage dots = page(60, 60);
    for (int64_t i = 0; i < 9; i++) ink(dots, 10 + i / 3 * 15, 10 + i % 3 * 15, 4, 4);
    CHECK(doubt_about(dots, "dots").starts_with("it is in 9 pieces"));
}

}  // namespace slim
