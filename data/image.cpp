// Decoding is stb_image's work; the rest is how MNIST's authors made their images from scanned
// forms (yann.lecun.com/exdb/mnist): the digit is scaled to fit a box of 20 x 20 pixels, keeping
// its proportions, which makes its edges grey, and is put into 28 x 28 pixels by its centre of
// mass. Before that we must find the ink, as MNIST did not have to: its forms were black on white.
#include "data/image.h"

#include <algorithm>  // clamp, max, min
#include <array>
#include <cmath>  // floor, sqrt
#include <cstdlib>
#include <memory>
#include <vector>

#include "core/check.h"

// ---- the decoder --------------------------------------------------------------------------------

namespace {

// A file of a few bytes can claim to unpack to gigabytes. The largest that an honest picture asks
// for is 4096 x 4096 pixels of 4 channels in 16 bits; stb_image reports a null as an error.
constexpr size_t kMaxAllocation = size_t(4096) * 4096 * 4 * 2 + (1 << 20);

// Zeroed, because version 2.27 uses tables that a broken file has not filled.
void* limited_malloc(size_t size) {
    return size <= kMaxAllocation ? std::calloc(size, 1) : nullptr;
}

void* limited_realloc(void* old, size_t size) {
    return size <= kMaxAllocation ? std::realloc(old, size) : nullptr;
}

}  // namespace

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 4096
#define STBI_MALLOC(size) limited_malloc(size)
#define STBI_REALLOC(old, size) limited_realloc(old, size)
#define STBI_FREE(old) std::free(old)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"  // it offers more than we use
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace slim {

namespace {

constexpr int64_t kMaxFileSize = 64 << 20;

bool starts_with(const Bytes& bytes, std::string_view start) {
    return as_text(bytes).starts_with(start);
}

// What somebody may take for a picture that we can read.
std::string what_it_is(const Bytes& bytes) {
    struct Kind {
        size_t offset;
        std::string_view mark;
        const char* words;
    };
    static const Kind kinds[] = {
        {0, "GIF8", "a GIF"},
        {0, "BM", "a BMP"},
        {8, "WEBP", "a WebP"},
        {0, {"II*\0", 4}, "a TIFF"},
        {0, {"MM\0*", 4}, "a TIFF"},
        {4, "ftyp", "a HEIC or AVIF picture or a film"},
        {0, "%PDF", "a PDF"},
        {0, "<svg", "an SVG drawing"},
    };
    if (bytes.empty()) return "; it is empty";
    const std::string_view text = as_text(bytes);
    for (const Kind& kind : kinds)
        if (text.size() > kind.offset && text.substr(kind.offset).starts_with(kind.mark))
            return std::string("; it looks like ") + kind.words + ". hint: export it as PNG";
    if (const std::string words = looks_like(bytes); !words.empty()) return words;
    const std::string_view start = text.substr(0, 64);
    const bool printable = std::all_of(start.begin(), start.end(), [](unsigned char c) {
        return c >= ' ' || c == '\n' || c == '\r' || c == '\t';
    });
    return printable ? "; it looks like a text" : "";
}

// The number in `count` bytes, the largest part first; what is beyond the end counts as 0.
int64_t number_at(const Bytes& bytes, size_t at, int count) {
    int64_t number = 0;
    for (; count > 0; count--, at++) number = number * 256 + (at < bytes.size() ? bytes[at] : 0);
    return number;
}

struct Outline {
    int64_t rows = 0, cols = 0;
    std::string trouble = {};  // what stb_image would not notice, or would stumble over
    int orientation = 1;       // as EXIF numbers them
    bool unknown_coding = false;
};

// EXIF is a TIFF file inside of the picture: II or MM (the lowest or the highest byte first), where
// the list of entries is, then their number and 12 bytes for each: tag, type, count and value. Tag
// 0x112 says how the camera was held.
int orientation_in(const Bytes& bytes, size_t tiff) {
    const bool little = number_at(bytes, tiff, 1) == 'I';
    const auto number = [&](size_t at, int count) {
        int64_t n = 0;
        for (int i = 0; i < count; i++)
            n = n * 256 + number_at(bytes, at + size_t(little ? count - 1 - i : i), 1);
        return n;
    };
    const size_t list = tiff + size_t(number(tiff + 4, 4));
    for (int64_t i = 0; i < number(list, 2); i++) {
        const size_t entry = list + 2 + 12 * size_t(i);
        if (entry >= bytes.size()) break;
        const int64_t value = number(entry + 8, 2);
        if (number(entry, 2) == 0x112 && value >= 1 && value <= 8) return int(value);
    }
    return 1;
}

// Turns and mirrors the picture as its orientation says.
GreyImage upright(const GreyImage& image, int orientation) {
    if (orientation == 1) return image;
    GreyImage result = image;
    const bool turned = orientation >= 5;
    if (turned) std::swap(result.rows, result.cols);
    const bool flip_y = std::string_view("3467").find(char('0' + orientation)) < 4;
    const bool flip_x = std::string_view("2378").find(char('0' + orientation)) < 4;
    for (int64_t r = 0; r < result.rows; r++)
        for (int64_t c = 0; c < result.cols; c++) {
            const int64_t y = turned ? c : r, x = turned ? r : c;
            result.pixels[size_t(r * result.cols + c)] =
                image.pixels[size_t((flip_y ? image.rows - 1 - y : y) * image.cols +
                                    (flip_x ? image.cols - 1 - x : x))];
        }
    return result;
}

// A PNG is a row of chunks: the length of the content, the kind, the content and 4 check bytes.
Outline outline_of_png(const Bytes& bytes) {
    Outline outline{number_at(bytes, 20, 4), number_at(bytes, 16, 4)};
    for (size_t at = 8; at + 8 < bytes.size(); at += 12 + size_t(number_at(bytes, at, 4)))
        if (as_text(bytes).substr(at + 4, 4) == "eXIf")
            outline.orientation = orientation_in(bytes, at + 8);
    return outline;
}

// Each component of a frame says how many of its samples there are in a block across and down, in
// half a byte each. stb_image 2.27 goes beyond its buffers when these do not divide the largest.
bool even_sampling(const Bytes& bytes, size_t frame) {
    const int64_t components = number_at(bytes, frame + 9, 1);
    for (int shift : {4, 0}) {
        std::vector<int64_t> samples;
        for (int64_t i = 0; i < components; i++)
            samples.push_back(number_at(bytes, frame + 11 + size_t(3 * i), 1) >> shift & 15);
        for (int64_t n : samples)
            for (int64_t m : samples)
                if (n == 0 || (n < m && m % n != 0)) return false;
    }
    return true;
}

// A segment of Huffman tables: for each a byte, then how many codes have 1, 2, ... 16 bits, then
// what they stand for. stb_image 2.27 believes any number of codes, and has room for 256.
bool short_tables(const Bytes& bytes, size_t segment) {
    size_t at = segment + 4;
    for (int64_t left = number_at(bytes, segment + 2, 2) - 2; left > 0;) {
        int64_t codes = 0;
        for (size_t i = 1; i <= 16; i++) codes += number_at(bytes, at + i, 1);
        if (codes > 255) return false;
        left -= 17 + codes;
        at += 17 + size_t(codes);
    }
    return true;
}

// A JPEG is a row of segments: FF, the kind, and two bytes with the length of themselves and what
// follows. After the start of a scan come its bits, in which FF stands only before 00 and restart
// marks (D0 to D7). FF D9 ends the file: newer versions of stb_image paint grey what comes too late
// for that, and say nothing.
Outline outline_of_jpeg(const Bytes& bytes) {
    Outline outline;
    for (size_t at = 2; at + 1 < bytes.size();) {
        const uint8_t kind = bytes[at + 1];
        if (bytes[at] != 0xff || kind == 0 || kind == 0xff || (kind >= 0xd0 && kind <= 0xd7)) {
            at++;
            continue;
        }
        if (kind == 0xd9) return outline;
        if (kind == 0xe1 && as_text(bytes).substr(at + 4, 6) == std::string_view("Exif\0\0", 6))
            outline.orientation = orientation_in(bytes, at + 10);
        // Frames without loss or in arithmetic coding; C4, C8 and CC are no frames.
        if (kind >= 0xc3 && kind <= 0xcf && kind != 0xc4 && kind != 0xc8 && kind != 0xcc)
            outline.unknown_coding = true;
        if (kind >= 0xc0 && kind <= 0xc2) {
            outline.rows = number_at(bytes, at + 5, 2);
            outline.cols = number_at(bytes, at + 7, 2);
            if (!even_sampling(bytes, at)) outline.trouble = "uneven sampling";
        }
        if (kind == 0xc4 && !short_tables(bytes, at)) outline.trouble = "too long a table of codes";
        if (!outline.trouble.empty()) return outline;
        at += 2 + size_t(number_at(bytes, at + 2, 2));
    }
    outline.trouble = "its end is missing";
    return outline;
}

// Why stb_image gave up. It quotes the file there, whatever bytes those are.
std::string decoder_reason() {
    const char* words = stbi_failure_reason();
    std::string reason = words ? words : "";
    for (char& c : reason)
        if (c < ' ' || c > '~') c = '?';
    return reason.empty() ? "unknown chunk" : reason;
}

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
    int most = 0, least = 0;  // 9 times that
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
          ": no digit found: nothing is darker or lighter than the paper by ", "more than ",
          std::floor(strongest), " of 255; at least 20 are needed",
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

// Erases specks of dust, so that they do not count for the digit's box: every connected piece with
// less than 1/20 of the ink that the largest piece has. (The smallest stroke that people set down
// on its own, the bar of a 5 or of a 7, has more.)
struct Piece {
    int64_t mass = 0, left = INT64_MAX, right = 0;  // the sum of its ink, its columns
};

// Returns the pieces that are left.
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

GreyImage parse_image(const Bytes& bytes, const std::string& name) {
    const bool is_png = starts_with(bytes, "\x89PNG\r\n\x1a\n");
    const bool is_jpeg = starts_with(bytes, "\xff\xd8\xff");
    check(is_png || is_jpeg, name, ": not a PNG or JPEG picture", what_it_is(bytes));
    check(int64_t(bytes.size()) <= kMaxFileSize, name, ": too large: ", bytes.size(),
          " bytes; at most ", kMaxFileSize, " are allowed here");
    const Outline outline = is_png ? outline_of_png(bytes) : outline_of_jpeg(bytes);
    check(std::max(outline.rows, outline.cols) <= STBI_MAX_DIMENSIONS, name, ": too large: ",
          outline.cols, " x ", outline.rows, " pixels; at most ", STBI_MAX_DIMENSIONS, " x ",
          STBI_MAX_DIMENSIONS, " are allowed. hint: scale it down");

    check(!outline.unknown_coding, name,
          ": a JPEG of a kind that is not read (arithmetic coding, or ",
          "without loss). hint: export it as PNG");

    // Decode to two channels: brightness, and how opaque the pixel is.
    const int size = int(bytes.size());
    int cols = 0, rows = 0, channels = 0;
    std::unique_ptr<stbi_uc, decltype(&std::free)> decoded(nullptr, std::free);
    if (outline.trouble.empty() &&
        stbi_info_from_memory(bytes.data(), size, &cols, &rows, &channels))
        decoded.reset(stbi_load_from_memory(bytes.data(), size, &cols, &rows, &channels, 2));
    if (!decoded)
        fail(name, ": this ", is_png ? "PNG" : "JPEG", " file is damaged or cut off (",
             outline.trouble.empty() ? decoder_reason() : outline.trouble,
             "). hint: save or fetch it again");

    // Lay it over white paper; what is light on a transparent ground, over black.
    GreyImage image{rows, cols, Bytes(size_t(rows) * size_t(cols))};
    int64_t light = 0, opaque = 0;
    for (size_t i = 0; i < image.pixels.size(); i++) {
        light += decoded.get()[2 * i] * decoded.get()[2 * i + 1];
        opaque += decoded.get()[2 * i + 1];
    }
    const int paper = light > 127 * opaque ? 0 : 255;
    for (size_t i = 0; i < image.pixels.size(); i++) {
        const int value = decoded.get()[2 * i], opacity = decoded.get()[2 * i + 1];
        image.pixels[i] = uint8_t((value * opacity + paper * (255 - opacity) + 127) / 255);
    }
    return upright(image, outline.orientation);
}

GreyImage read_image(const std::string& path) {
    return parse_image(read_file(path, kMaxFileSize), path);
}

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
    // strokes of 2.5 pixels after scaling, 2 and more in five digits of six; a mouse on a large
    // canvas easily draws 0.2, a grey shadow that the network has never seen. So thin strokes are
    // made 2 pixels wide. A stroke of width w, averaged over a window of s and then raised g times,
    // is half full over a width of w + s - s / g; with the s and g below that is 2.
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
