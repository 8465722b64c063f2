// From a picture to an image as MNIST has them. MNIST's authors took scanned forms
// (yann.lecun.com/exdb/mnist): the digit is scaled to fit a box of 20 x 20 pixels, keeping its
// proportions, which makes its edges grey, and is put into 28 x 28 pixels by its centre of mass.
// First we must find the ink: unlike MNIST's forms, pictures need not be black on white.
// doubt_about() warns of what is not one digit.
#include "data/digit.h"

#include <algorithm>  // clamp, max, min
#include <array>
#include <cmath>  // floor, sqrt
#include <vector>

#include "core/check.h"

namespace slim {

namespace {

// ---- finding the ink ----------------------------------------------------------------------------

// The brightness of the paper: the median of a band along the edge. A band, and not the outermost
// pixels, so that a thin frame around the picture is not taken for the paper.
int paper_brightness(const GreyImage& picture) {
    const int64_t rows = picture.rows, cols = picture.cols;
    const int64_t band = std::max(int64_t(1), std::min(rows, cols) / 20);
    std::array<int64_t, 256> count{};
    int64_t total = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            const int64_t to_edge = std::min(std::min(r, rows - 1 - r), std::min(c, cols - 1 - c));
            if (to_edge >= band) continue;
            count[picture.pixels[size_t(r * cols + c)]]++;
            total++;
        }
    int brightness = 0;
    for (int64_t below = count[0]; 2 * below < total; below += count[size_t(brightness)])
        brightness++;
    return brightness;
}

// How much darker and how much lighter than the paper the picture gets. Means of 3 x 3 pixels are
// compared, because a scan's noise makes some single pixels very dark.
struct Contrast {
    double dark = 0, light = 0;
};

Contrast strongest_contrast(const GreyImage& picture, int paper) {
    const int64_t rows = picture.rows, cols = picture.cols;
    int most = 0, least = 0;  // of sums of 9 pixels
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            int sum = 0;
            for (int64_t y = std::max(r - 1, int64_t(0)); y <= std::min(r + 1, rows - 1); y++)
                for (int64_t x = std::max(c - 1, int64_t(0)); x <= std::min(c + 1, cols - 1); x++)
                    sum += picture.pixels[size_t(y * cols + x)] - paper;
            most = std::max(most, sum);
            least = std::min(least, sum);
        }
    return {-least / 9.0, most / 9.0};
}

// The picture as ink: 0 is none, 255 is full. What has less than 0.3 of the strongest contrast is
// paper, its grain, or the ripples that JPEG puts around strokes; from 0.7 on it is ink. In between
// are the soft edges of strokes, and they stay soft.
GreyImage ink_in(const GreyImage& picture, const std::string& name) {
    const int paper = paper_brightness(picture);
    const auto [dark, light] = strongest_contrast(picture, paper);
    const double strongest = std::max(dark, light);
    check(strongest >= 20, name,
          ": no digit found: the strongest contrast with the paper is ", std::floor(strongest),
          " of 255; at least 20 are needed",
          ". hint: draw it in black, and leave a margin around it");

    const bool is_dark = dark >= light;
    std::array<uint8_t, 256> ink_of;
    for (int value = 0; value < 256; value++) {
        const double contrast = (is_dark ? paper - value : value - paper) / strongest;
        ink_of[size_t(value)] = uint8_t(255 * std::clamp((contrast - 0.3) / 0.4, 0.0, 1.0));
    }
    GreyImage ink = picture;
    for (uint8_t& pixel : ink.pixels) pixel = ink_of[pixel];
    return ink;
}

// A connected piece of ink.
struct Piece {
    int64_t mass = 0, left = INT64_MAX, right = 0;  // the sum of its ink, its columns
};

// Erases specks of dust, so that they do not count for the digit's box: pieces with less than 1/20
// of the largest piece's ink. (The smallest separate stroke, the bar of a 5 or of a 7, has more.)
// Returns the pieces that remain.
std::vector<Piece> remove_dust(GreyImage& ink) {
    std::vector<int32_t> piece(ink.pixels.size());  // the number of each pixel's piece; 0 is none
    std::vector<Piece> pieces(1);
    std::vector<int64_t> open;                      // pixels whose neighbours are still to be seen
    const auto visit = [&](int64_t pixel) {
        if (ink.pixels[size_t(pixel)] == 0 || piece[size_t(pixel)] != 0) return;
        piece[size_t(pixel)] = int32_t(pieces.size() - 1);
        Piece& p = pieces.back();
        p.mass += ink.pixels[size_t(pixel)];
        p.left = std::min(p.left, pixel % ink.cols);
        p.right = std::max(p.right, pixel % ink.cols);
        open.push_back(pixel);
    };
    for (int64_t start = 0; start < int64_t(ink.pixels.size()); start++) {
        if (pieces.back().mass > 0 || pieces.size() == 1) pieces.emplace_back();
        visit(start);
        while (!open.empty()) {
            const int64_t r = open.back() / ink.cols, c = open.back() % ink.cols;
            open.pop_back();
            for (int64_t y = std::max(r - 1, int64_t(0)); y <= std::min(r + 1, ink.rows - 1); y++)
                for (int64_t x = std::max(c - 1, int64_t(0)); x <= std::min(c + 1, ink.cols - 1);
                     x++)
                    visit(y * ink.cols + x);
        }
    }
    int64_t largest = 0;
    for (const Piece& p : pieces) largest = std::max(largest, p.mass);
    for (size_t i = 0; i < piece.size(); i++)
        if (20 * pieces[size_t(piece[i])].mass < largest) ink.pixels[i] = 0;
    std::erase_if(pieces, [&](const Piece& p) { return 20 * p.mass < largest; });
    return pieces;
}

// ---- into MNIST's form --------------------------------------------------------------------------

// Where the ink is and how it was drawn, in pixels of the picture. A pixel's centre is at + 0.5.
struct Measures {
    double left = 0, right = 0, top = 0, bottom = 0;  // the box around it
    double x = 0, y = 0;                              // its centre of mass
    double stroke = 0;                                // the mean width of its strokes
};

// A stroke of length L and width w has the area A = L w and, its ends aside, an outline of P = 2 L:
// so w = 2 A / P. The outline is found by adding up how steeply the ink changes in each 2 x 2
// pixels (Roberts' cross): exact for upright and for diagonal edges, 8 % too long at worst.
Measures measure(const GreyImage& ink) {
    Measures m{.left = double(ink.cols), .top = double(ink.rows)};
    const auto at = [&](int64_t r, int64_t c) {
        return r < 0 || c < 0 || r >= ink.rows || c >= ink.cols
                   ? 0 : int(ink.pixels[size_t(r * ink.cols + c)]);
    };
    double mass = 0, outline = 0;
    for (int64_t r = 0; r <= ink.rows; r++)
        for (int64_t c = 0; c <= ink.cols; c++) {
            const int here = at(r, c);
            const int falling = here - at(r - 1, c - 1), rising = at(r, c - 1) - at(r - 1, c);
            outline += std::sqrt((falling * falling + rising * rising) / 2.0);
            if (here == 0) continue;
            m.left = std::min(m.left, double(c));
            m.right = std::max(m.right, double(c + 1));
            m.top = std::min(m.top, double(r));
            m.bottom = std::max(m.bottom, double(r + 1));
            m.x += here * (double(c) + 0.5);
            m.y += here * (double(r) + 0.5);
            mass += here;
        }
    m.x /= mass;
    m.y /= mass;
    m.stroke = 2 * mass / outline;
    return m;
}

// The mean of the ink in a rectangle of any real size: each pixel counts with the part of it that
// is inside. Taking the pixels nearest to some grid instead would lose thin strokes altogether.
double mean_ink(const GreyImage& ink, double left, double top, double width, double height) {
    const double right = left + width, bottom = top + height;
    double sum = 0;
    for (double r = std::max(0.0, std::floor(top)); r < std::min(bottom, double(ink.rows)); r++) {
        const double h = std::min(bottom, r + 1) - std::max(top, r);
        const uint8_t* row = ink.pixels.data() + int64_t(r) * ink.cols;
        for (double c = std::max(0.0, std::floor(left)); c < std::min(right, double(ink.cols)); c++)
            sum += row[int64_t(c)] * h * (std::min(right, c + 1) - std::max(left, c));
    }
    return sum / (width * height);
}

}  // namespace

std::string doubt_about(const GreyImage& picture, const std::string& name) {
    GreyImage ink = ink_in(picture, name);
    std::vector<Piece> pieces = remove_dust(ink);
    const Measures m = measure(ink);

    // Ink along the edge: a shadow, a gradient of light, a photo, a page that is half dark.
    int64_t edge = 0, mass = 0;
    for (int64_t r = 0; r < ink.rows; r++)
        for (int64_t c = 0; c < ink.cols; c++) {
            const int64_t value = ink.pixels[size_t(r * ink.cols + c)];
            mass += value;
            if (r == 0 || c == 0 || r == ink.rows - 1 || c == ink.cols - 1) edge += value;
        }
    const double side = std::max(m.right - m.left, m.bottom - m.top);
    if (double(edge) > 0.1 * 255 * 2 * double(ink.rows + ink.cols))
        return "the ink runs along the edge: is there a shadow or a gradient of light?";
    if (double(mass) > 0.6 * 255 * side * side) return "most of it is ink: is it a drawing?";
    if (pieces.size() > 6) return "it is in " + to_text(pieces.size()) + " pieces: is it a photo?";

    // Two large pieces beside each other. (The pieces of one digit stand above each other.)
    for (const Piece& a : pieces)
        for (const Piece& b : pieces)
            if (a.right < b.left && 3 * a.mass > b.mass && 3 * b.mass > a.mass)
                return "two things stand side by side: are these two digits?";
    return "";
}

Bytes digit_from_image(const GreyImage& picture, const std::string& name) {
    GreyImage ink = ink_in(picture, name);
    remove_dust(ink);
    const Measures m = measure(ink);

    // Scale the box to fit 20 x 20, and put the centre of mass where MNIST has it: in the middle of
    // pixel 14, counted from 0. Very lopsided ink would stick out; it stays inside.
    const double scale = 20 / std::max(m.right - m.left, m.bottom - m.top);
    const double side = kDigitSide, width = scale * (m.right - m.left),
                 height = scale * (m.bottom - m.top);
    const double left = std::clamp(14.5 - scale * (m.x - m.left), 0.0, side - width);
    const double top = std::clamp(14.5 - scale * (m.y - m.top), 0.0, side - height);

    // A pixel's ink is the mean over the part of the picture that it covers. MNIST's pens drew
    // strokes of 2.5 pixels after scaling, and in five of six digits 2 or more; a mouse on a large
    // canvas easily draws 0.2, a grey shadow that the network has never seen. So thin strokes are
    // made 2 pixels wide. A stroke of width w, averaged over a window of s and then multiplied by
    // g, has at least half of full ink over a width of w + s - s / g: 2 with the s and g below.
    const double stroke = scale * m.stroke;
    const double window = stroke < 2 ? 2 - stroke / 2 : 1;
    const double gain = stroke < 2 ? 2 * window / stroke : 1;
    Bytes digit(size_t(kDigitSide * kDigitSide));
    for (int64_t r = 0; r < kDigitSide; r++)
        for (int64_t c = 0; c < kDigitSide; c++) {
            const double x = m.left + (double(c) + 0.5 - window / 2 - left) / scale;
            const double y = m.top + (double(r) + 0.5 - window / 2 - top) / scale;
            const double mean = mean_ink(ink, x, y, window / scale, window / scale);
            digit[size_t(r * kDigitSide + c)] = uint8_t(std::min(255.0, gain * mean + 0.5));
        }
    return digit;
}

}  // namespace slim
