// Tools for pages and pictures: format(), text in HTML, bitmaps, and the frame of a chart in SVG.
// Tags are closed as in XML, so that any XML parser can check the page.
#pragma once

#include <cmath>  // INFINITY
#include <string>
#include <vector>

#include "data/file.h"

namespace slim {

// ---- text ---------------------------------------------------------------------------------------

__attribute__((format(printf, 1, 2))) std::string format(const char* pattern, ...);
std::string escaped(const std::string& text);  // & < > and quotes, for HTML
std::string with_commas(int64_t n);            // 12,345

// How a method appears: its name, the class that gives it its colour, and, for those who do not see
// the colours apart, a dash pattern and a marker.
struct Look {
    std::string name;
    const char *css, *dash;
    char marker;
};
Look look_of(const std::string& method);

// ---- bitmaps ------------------------------------------------------------------------------------

struct Color {
    double r, g, b;  // 0 .. 255
};
using Palette = Color (*)(int shade);  // of shades 0 to 255

Color grey(int shade);
Color diverging(int shade);  // blue for minus, white for 0 (shade 128), orange for plus

// The address of an image, for <img src>: the pixels [rows, cols], as shades of the palette.
std::string bitmap(const Bytes& pixels, int64_t rows, int64_t cols, Palette palette);

// ---- charts -------------------------------------------------------------------------------------

// The size of a chart and the place of its frame, in SVG's units.
constexpr int kWidth = 360, kHeight = 270, kLeft = 48, kRight = 350, kTop = 28, kBottom = 226;

// From numbers to places on the page.
struct Ruler {
    double low, high;  // the numbers at its ends
    double from, to;   // and where they are
    bool logarithmic = false;

    double at(double value) const;

    // Round numbers along it: 1, 2 and 5 times powers of ten, on a short logarithmic ruler also 3
    // and 7 times.
    std::vector<double> ticks(double smallest_step) const;
};

// The smallest and the largest of what it is shown, with room around them.
struct Range {
    double low = INFINITY, high = -INFINITY;
    void include(double value);
    void pad(double share);
};

std::string open_svg(int width, int height, const std::string& title);

// The frame of a chart: grid, numbers, and what the axes are.
std::string axes(const Ruler& x, const Ruler& y, double x_step, double y_step,
                 const std::string& x_label, const std::string& y_label);

// 'o' a circle, 's' a square, 't' a triangle, 'd' a diamond; the title shows when it is pointed at.
std::string marker(char kind, double x, double y, const std::string& title);

// A line in the look's colour and dashes: the path's text, "M1 2L3 4", with markers on it.
std::string curve(const Look& look, const std::string& path, const std::string& markers);

// The name of a line, and where it is written.
struct Name {
    double x, y;
    Look look;

    std::string svg() const;
};
std::string end_names(std::vector<Name> names);  // at the ends of lines, moved apart

// A whole page: one file, without scripts, for light and dark screens of any width.
std::string html_page(const std::string& heading, const std::string& text, const std::string& body);

}  // namespace slim
