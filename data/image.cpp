// PNG and JPEG files. stb_image decodes them. Before that, headers are checked here for what it
// would wrongly accept, or what would crash it.
#include "data/image.h"

#include <algorithm>  // all_of, max
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

// Names the kind of a file that is often taken for a PNG or JPEG.
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

// The big-endian number in `count` bytes; bytes beyond the end count as 0.
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

// EXIF is a TIFF file inside of the picture: II or MM (the lowest or the highest byte first), then
// the offset of a list. The list has the number of entries and 12 bytes for each: tag, type, count
// and value. Tag 0x112 says how the camera was held.
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

// A byte holds each component's two sampling factors, across and down. stb_image 2.27 goes beyond
// its buffers when a factor does not divide the largest.
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
// what they stand for. stb_image 2.27 believes any number of codes, and has room for 256. No valid
// table has more than 255.
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
// marks (D0 to D7). FF D9 ends the file. Where it is missing, newer versions of stb_image fill the
// rest with grey, silently.
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

// Why stb_image gave up. Its reason can quote bytes of the file: unprintable ones become '?'.
std::string decoder_reason() {
    const char* words = stbi_failure_reason();
    std::string reason = words ? words : "";
    for (char& c : reason)
        if (c < ' ' || c > '~') c = '?';
    return reason.empty() ? "unknown chunk" : reason;
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

}  // namespace slim
