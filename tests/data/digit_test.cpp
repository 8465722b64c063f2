// data/digit.h: bringing pictures of digits into MNIST's form.
#include <algorithm>
#include <cstdlib>

#include "data/digit.h"
#include "data/mnist.h"
#include "tests/testing.h"

namespace slim {

namespace {

// ---- drawing ------------------------------------------------------------------------------------

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

// ---- digits -------------------------------------------------------------------------------------

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
    CHECK(look.mass / 255 == relative((30 * 120 + 170 * 30) / 100.0, 0.01));
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
    CHECK(across / 255 == relative(2, 0.02));
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
    CHECK_ERROR(digit_of(faint), "no digit found", "contrast with the paper is 10 of 255");
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
    const DataSet set = load_mnist("data/mnist", Split::kTest);
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
