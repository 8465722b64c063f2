// Tools for pages and pictures. See drawing.h.
#include "apps/report/drawing.h"

#include <algorithm>  // max, min, sort
#include <cstdarg>
#include <cstdio>  // vsnprintf

namespace slim {

// ---- text ---------------------------------------------------------------------------------------

std::string format(const char* pattern, ...) {
    char text[1000];
    va_list values;
    va_start(values, pattern);
    std::vsnprintf(text, sizeof text, pattern, values);
    va_end(values);
    return text;
}

std::string escaped(const std::string& text) {
    std::string result;
    for (char c : text) {
        if (c == '&') result += "&amp;";
        else if (c == '<') result += "&lt;";
        else if (c == '>') result += "&gt;";
        else if (c == '"') result += "&quot;";
        else result += c;
    }
    return result;
}

std::string with_commas(int64_t n) {
    std::string text = std::to_string(n);
    for (int64_t at = int64_t(text.size()) - 3; at > 0; at -= 3) text.insert(size_t(at), ",");
    return text;
}

Look look_of(const std::string& method) {
    if (method == "base") return {"base", "base", "1 4", 'o'};
    if (method == "full") return {"full", "full", "7 4", 's'};
    if (method == "lora") return {"LoRA", "lora", "2 3", 't'};
    if (method == "dora") return {"DoRA", "dora", "", 'd'};
    return {escaped(method), "other", "", 'o'};
}

// ---- bitmaps ------------------------------------------------------------------------------------

static std::string base64(const Bytes& bytes) {
    const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (size_t i = 0; i < bytes.size(); i += 3) {
        uint32_t three = 0;
        for (size_t k = 0; k < 3; k++)
            three = three << 8 | (i + k < bytes.size() ? bytes[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            text += i + k > bytes.size() ? '=' : digits[three >> (18 - 6 * k) & 63];
    }
    return text;
}

Color grey(int shade) { return {double(shade), double(shade), double(shade)}; }

// Blue for minus, white for 0, orange for plus: apart for every kind of colour blindness.
constexpr Color kMinus{0, 114, 178}, kPlus{213, 94, 0};
Color diverging(int shade) {
    const double t = (shade - 128) / 127.0, far = std::min(1.0, std::fabs(t));
    const Color& end = t < 0 ? kMinus : kPlus;
    return {255 + far * (end.r - 255), 255 + far * (end.g - 255), 255 + far * (end.b - 255)};
}

// A BMP, the simplest format that browsers show: 54 bytes that say what it is, 256 colours, and a
// byte for each pixel, lines filled up to four bytes, the lowest line first.
std::string bitmap(const Bytes& pixels, int64_t rows, int64_t cols, Palette palette) {
    const int64_t stride = (cols + 3) / 4 * 4, start = 54 + 4 * 256;
    Bytes bmp{'B', 'M'};
    const auto put = [&](int64_t value, int bytes) {
        for (int i = 0; i < bytes; i++) bmp.push_back(uint8_t(value >> (8 * i)));
    };
    for (int64_t value : {start + rows * stride, int64_t(0), start}) put(value, 4);
    for (int64_t value : {int64_t(40), cols, rows}) put(value, 4);
    put(1, 2), put(8, 2);                              // one plane, eight bits a pixel
    for (int value : {0, 0, 0, 0, 256, 0}) put(value, 4);  // as they are, of 256 colours
    for (int shade = 0; shade < 256; shade++) {
        const Color c = palette(shade);
        for (double part : {c.b, c.g, c.r, 0.0}) put(int64_t(part + 0.5), 1);
    }
    for (int64_t i = rows - 1; i >= 0; i--) {
        bmp.insert(bmp.end(), pixels.begin() + i * cols, pixels.begin() + (i + 1) * cols);
        bmp.resize(bmp.size() + size_t(stride - cols));
    }
    return "data:image/bmp;base64," + base64(bmp);
}

// ---- charts -------------------------------------------------------------------------------------

double Ruler::at(double value) const {
    const double t = logarithmic ? std::log(value / low) / std::log(high / low)
                                 : (value - low) / (high - low);
    return from + t * (to - from);
}

std::vector<double> Ruler::ticks(double smallest_step) const {
    std::vector<double> marks;
    if (logarithmic) {
        for (double ten = std::pow(10, std::floor(std::log10(low))); ten <= high; ten *= 10)
            for (int times : {1, 2, 3, 5, 7}) {
                const bool wanted = high / low < 12 || (times != 3 && times != 7);
                if (wanted && ten * times >= low && ten * times <= high)
                    marks.push_back(ten * times);
            }
        return marks;
    }
    double step = smallest_step;
    for (int i = 0; (high - low) / step > 6; i++) step *= i % 3 == 1 ? 2.5 : 2;  // 1 2 5 10 20
    for (int64_t k = int64_t(std::ceil(low / step)); double(k) * step <= high; k++)
        marks.push_back(double(k) * step);
    return marks;
}

void Range::include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
}

void Range::pad(double share) {
    const double room = share * std::max(high - low, 1e-3);  // also when all were the same
    low -= room;
    high += room;
}

std::string open_svg(int width, int height, const std::string& title) {
    return format("<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", width, height) +
           escaped(title) + "\">\n";
}

std::string axes(const Ruler& x, const Ruler& y, double x_step, double y_step,
                 const std::string& x_label, const std::string& y_label) {
    std::string svg;
    for (double v : y.ticks(y_step))
        svg += format("<path class=\"grid\" d=\"M%d %.1fH%d\"/>"
                      "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n",
                      kLeft, y.at(v), kRight, kLeft - 5, y.at(v) + 4, v);
    for (double v : x.ticks(x_step))
        svg += format("<path class=\"grid\" d=\"M%.1f %dV%d\"/>"
                      "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n",
                      x.at(v), kTop, kBottom, x.at(v), kBottom + 15, v);
    return svg + format("<text x=\"4\" y=\"14\">%s</text>", escaped(y_label).c_str()) +
           format("<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                  (kLeft + kRight) / 2, kBottom + 34, escaped(x_label).c_str());
}

std::string marker(char kind, double x, double y, const std::string& title) {
    std::string shape;
    if (kind == 'o') shape = format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\">", x, y);
    if (kind == 's') shape = format("<path d=\"M%.1f %.1fh6v6h-6z\">", x - 3, y - 3);
    if (kind == 't') shape = format("<path d=\"M%.1f %.1fl4 7h-8z\">", x, y - 4);
    if (kind == 'd') shape = format("<path d=\"M%.1f %.1fl4 4l-4 4l-4 -4z\">", x, y - 4);
    const char* end = kind == 'o' ? "</circle>" : "</path>";
    return shape + (title.empty() ? "" : "<title>" + escaped(title) + "</title>") + end;
}

std::string curve(const Look& look, const std::string& path, const std::string& markers) {
    return format("<g class=\"%s\"><path class=\"curve\" stroke-dasharray=\"%s\" d=\"", look.css,
                  look.dash) +
           path + "\"/>" + markers + "</g>\n";
}

std::string Name::svg() const {
    return format("<text class=\"name %s\" x=\"%.1f\" y=\"%.1f\">", look.css, x, y) + look.name +
           "</text>\n";
}

std::string end_names(std::vector<Name> names) {
    constexpr double height = 12;
    std::sort(names.begin(), names.end(),
              [](const Name& a, const Name& b) { return a.y < b.y; });
    for (size_t i = 1; i < names.size(); i++)
        names[i].y = std::max(names[i].y, names[i - 1].y + height);
    double lowest = kBottom;
    std::string svg;
    for (size_t i = names.size(); i-- > 0; lowest = names[i].y - height) {
        names[i].y = std::min(names[i].y, lowest);
        svg += names[i].svg();
    }
    return svg;
}

// ---- the page -----------------------------------------------------------------------------------

// Colours after Okabe and Ito (2008), which all kinds of colour vision tell apart.
constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --soft: #595959; --line: #d8d8d8;
  --base: #1a1a1a; --full: #0072b2; --lora: #d55e00; --dora: #009e73; --other: #a3588a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171b; --ink: #ececec; --soft: #b4b4b4; --line: #3b3e45;
    --base: #ececec; --full: #56b4e9; --lora: #e8802f; --dora: #1fc295; --other: #cc79a7; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0.5rem 0; font-size: 1.6rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 0.5rem; font-size: 1.25rem; }
h3 { margin: 1rem 0 0.5rem; font-size: 1rem; }
p { margin: 0.5rem 0 1rem; max-width: 46rem; }
figure { margin: 0; max-width: 46rem; }
figcaption, .units span { margin-top: 0.15rem; color: var(--soft); font-size: 0.75rem;
  line-height: 1.3; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font-size: 11px; }
.two { display: grid; gap: 1.5rem; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 50rem) { .two { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child { text-align: left; }
thead th { vertical-align: bottom; font-size: 0.8rem; line-height: 1.2; }
tbody th { border-left: 5px solid var(--color, var(--line)); }
@media (max-width: 30rem) { th, td { padding: 0.3rem 0.15rem; font-size: 0.72rem; }
  thead th { font-size: 0.65rem; } }
.base { --color: var(--base); } .full { --color: var(--full); } .lora { --color: var(--lora); }
.dora { --color: var(--dora); } .other { --color: var(--other); }
g { fill: var(--color); }
svg text.name { fill: var(--color); font-weight: 600; paint-order: stroke; stroke: var(--paper);
  stroke-width: 3px; }
.curve { fill: none; stroke: var(--color); stroke-width: 2; }
.grid, .same { stroke: var(--line); }
.same { stroke: var(--soft); stroke-dasharray: 5 4; }
.dots { fill-opacity: 0.55; }
.cell { stroke: var(--line); } .hit { fill: var(--full); } .miss { fill: #d55e00; }
svg text.count { font-size: 10px; }
img { display: block; width: 100%; image-rendering: pixelated; outline: 1px solid var(--line); }
.digits { display: grid; gap: 0.5rem;
  grid-template-columns: repeat(auto-fill, minmax(4.7rem, 1fr)); }
.units { display: grid; gap: 1rem 1.5rem; grid-template-columns: repeat(2, minmax(0, 1fr)); }
@media (min-width: 50rem) { .units { grid-template-columns: repeat(4, minmax(0, 1fr)); } }
.units figure { display: grid; grid-template-columns: repeat(3, 1fr); gap: 3px; }
.units span { text-align: center; }
.units figcaption { grid-column: 1 / 4; text-align: center; color: var(--ink); }
.scale { max-width: 24rem; margin-bottom: 0.75rem; }
)";

std::string html_page(const std::string& heading, const std::string& text,
                      const std::string& body) {
    return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
           "<title>slimgrad: " + escaped(heading) + "</title>\n<style>" + kStyle +
           "</style>\n</head>\n<body>\n<h1>" + escaped(heading) + "</h1>\n<p>" + escaped(text) +
           "</p>\n" + body + "</body>\n</html>\n";
}

}  // namespace slim
