// The report page. See report.h. Read it from the end: report_html() is the page, each section is a
// function above it, and the drawing tools come first. Tags are closed as in XML, so that any XML
// parser can check the page.
#include "apps/report.h"

#include <algorithm>  // max, min, nth_element, partial_sort
#include <cmath>      // exp, fabs, floor, log10, pow
#include <cstdarg>
#include <cstdio>  // vsnprintf
#include <functional>

#include "core/autograd.h"
#include "core/ops.h"
#include "data/batches.h"
#include "nn/dora.h"

namespace slim {

// ---- looking at a model -------------------------------------------------------------------------

namespace {

// The first adapted layer, if its inputs are pixels.
std::shared_ptr<LayerChange> first_layer_change(Module& model, int64_t pixels) {
    NoGrad no_grad;
    for (const NamedModule& m : model.named_modules()) {
        const auto* adapter = dynamic_cast<const LinearAdapter*>(m.module);
        if (!adapter) continue;
        if (adapter->linear->in_features() != pixels) return nullptr;
        const Axis axis = adapter->lora.options.axis;
        const Tensor W = adapter->base_weight(), merged = adapter->merged_weight();
        return std::make_shared<LayerChange>(LayerChange{
            m.name, clone(W), adapter->lora.delta_weight(), merged, norm(W, reduced_axis(axis)),
            norm(merged, reduced_axis(axis)), axis});
    }
    return nullptr;
}

}  // namespace

ModelPictures picture_model(Module& model, const ImageSet& test, size_t mistakes) {
    NoGrad no_grad;
    ModelPictures pictures{test.rows, test.cols, {}, {}, nullptr};
    pictures.first_layer = first_layer_change(model, test.features());
    const bool was_training = model.training;
    model.eval();
    for (int64_t first = 0; first < test.count; first += 500) {
        const Batch batch = batch_of(test, first, std::min<int64_t>(500, test.count - first));
        const Tensor log_p = log_softmax(model(batch.x));
        const std::vector<int> predicted = argmax_rows(log_p);
        const size_t classes = size_t(log_p.size(1));
        pictures.confusion.resize(classes, std::vector<int64_t>(classes));
        for (size_t i = 0; i < predicted.size(); i++) {
            const int label = batch.labels[i];
            pictures.confusion[size_t(label)][size_t(predicted[i])]++;
            if (predicted[i] == label) continue;
            const auto p = [&](int digit) {
                return std::exp(double(log_p.at({int64_t(i), digit})));
            };
            pictures.mistakes.push_back({first + int64_t(i), label, predicted[i], p(label),
                                         p(predicted[i]), {}});
        }
    }
    model.train(was_training);

    std::vector<Mistake>& list = pictures.mistakes;
    std::stable_sort(list.begin(), list.end(), [](const Mistake& a, const Mistake& b) {
        return a.label_probability < b.label_probability;
    });
    if (list.size() > mistakes) list.resize(mistakes);
    for (Mistake& m : list) {
        const auto pixels = test.pixels.begin() + m.image * test.features();
        m.pixels.assign(pixels, pixels + test.features());
    }
    return pictures;
}

namespace {

// ---- text ---------------------------------------------------------------------------------------

__attribute__((format(printf, 1, 2))) std::string format(const char* pattern, ...) {
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

// How a method appears: its name, the class that gives it its colour, and, for those who do not see
// the colours apart, a dash pattern and a marker.
struct Look {
    std::string name;
    const char *css, *dash;
    char marker;
};

Look look_of(const std::string& method) {
    if (method == "base") return {"base", "base", "1 4", 'o'};
    if (method == "full") return {"full", "full", "7 4", 's'};
    if (method == "lora") return {"LoRA", "lora", "2 3", 't'};
    if (method == "dora") return {"DoRA", "dora", "", 'd'};
    return {escaped(method), "other", "", 'o'};
}

// ---- bitmaps ------------------------------------------------------------------------------------

std::string base64(const Bytes& bytes) {
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

struct Color {
    double r, g, b;  // 0 .. 255
};
using Palette = Color (*)(int shade);  // of shades 0 to 255

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

// ---- axes ---------------------------------------------------------------------------------------

// From numbers to places on the page.
struct Ruler {
    double low, high;  // the numbers at its ends
    double from, to;   // and where they are
    bool logarithmic = false;

    double at(double value) const {
        const double t = logarithmic ? std::log(value / low) / std::log(high / low)
                                     : (value - low) / (high - low);
        return from + t * (to - from);
    }

    // Round numbers along it: 1, 2 and 5 times powers of ten, on a short logarithmic ruler also 3
    // and 7 times.
    std::vector<double> ticks(double smallest_step) const {
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
};

// The smallest and the largest of what it is shown, with room around them.
struct Range {
    double low = INFINITY, high = -INFINITY;
    void include(double value) {
        low = std::min(low, value);
        high = std::max(high, value);
    }
    void pad(double share) {
        const double room = share * std::max(high - low, 1e-3);  // also when all were the same
        low -= room;
        high += room;
    }
};

constexpr int kWidth = 360, kHeight = 270, kLeft = 48, kRight = 350, kTop = 28, kBottom = 226;

std::string open_svg(int width, int height, const std::string& title) {
    return format("<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", width, height) +
           escaped(title) + "\">\n";
}

// The frame of a chart: grid, numbers, and what the axes are.
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

// ---- the sections -------------------------------------------------------------------------------

std::string results_table(const std::vector<Row>& rows) {
    std::string html =
        "<section id=\"results\">\n<h2>Results</h2>\n"
        "<p>Read down the test accuracy, then compare what it cost in trained parameters; a "
        "difference of 0.2 points is 20 images, which another seed may turn round.</p>\n"
        "<div class=\"wide\"><table>\n<thead><tr><th>method</th><th>trained parameters</th>"
        "<th>test accuracy, %</th><th>test images wrong</th><th>training accuracy, %</th>"
        "<th>s per epoch</th></tr></thead>\n<tbody>\n";
    for (const Row& row : rows) {
        int64_t wrong = 0;
        for (size_t i = 0; i < row.pictures.confusion.size(); i++)
            for (size_t j = 0; j < row.pictures.confusion.size(); j++)
                if (i != j) wrong += row.pictures.confusion[i][j];
        const Look look = look_of(row.method);
        html += format("<tr><th class=\"%s\">", look.css) + look.name + "</th><td>" +
                with_commas(row.parameters.trainable) +
                format("</td><td>%.2f</td>", 100 * row.test_accuracy) +
                (row.pictures.confusion.empty() ? "<td>–</td>"
                                                : "<td>" + with_commas(wrong) + "</td>") +
                format("<td>%.2f</td>", 100 * row.train_accuracy) +
                (row.epochs.empty() ? "<td>–</td>"
                                    : format("<td>%.2f</td>", row.seconds_per_epoch)) +
                "</tr>\n";
    }
    return html + "</tbody>\n</table></div>\n</section>\n";
}

// The lines of one chart. The copies of the base go on where the base stopped.
std::string curve_chart(const std::vector<Row>& rows, const std::string& y_label, bool logarithmic,
                        const std::function<double(const EpochReport&)>& value) {
    Range xs, ys;
    int base_epochs = 0;
    for (const Row& row : rows)
        if (row.method == "base" && !row.epochs.empty()) base_epochs = row.epochs.back().epoch;
    const auto x_of = [&](const Row& row, const EpochReport& e) {
        return e.epoch + (row.method == "base" ? 0 : base_epochs);
    };
    for (const Row& row : rows)
        for (const EpochReport& e : row.epochs) {
            xs.include(x_of(row, e));
            ys.include(logarithmic ? std::log10(value(e)) : value(e));
        }
    xs.pad(0.04);
    ys.pad(0.06);
    const Ruler x{xs.low, xs.high, kLeft, kRight};
    const Ruler y{logarithmic ? std::pow(10, ys.low) : ys.low,
                  logarithmic ? std::pow(10, ys.high) : ys.high, kBottom, kTop, logarithmic};

    std::string svg = open_svg(kWidth, kHeight, y_label + " by epoch") +
                      axes(x, y, 1, 0.01, base_epochs ? "epochs since the random start" : "epochs",
                           y_label);
    for (const Row& row : rows) {
        if (row.epochs.empty()) continue;
        const Look look = look_of(row.method);
        std::string line, markers;
        for (const EpochReport& e : row.epochs) {
            const double px = x.at(x_of(row, e)), py = y.at(value(e));
            line += format("%c%.1f %.1f", line.empty() ? 'M' : 'L', px, py);
            markers += marker(look.marker, px, py,
                              look.name + format(", epoch %d: %.4g", e.epoch, value(e)));
        }
        svg += format("<g class=\"%s\"><path class=\"curve\" stroke-dasharray=\"%s\" d=\"",
                      look.css, look.dash) + line + "\"/>" + markers + "</g>\n";
    }
    return svg + "</svg>\n";
}

std::string curves(const std::vector<Row>& rows) {
    std::string legend;
    for (const Row& row : rows) {
        if (row.epochs.empty()) continue;
        const Look look = look_of(row.method);
        legend += format("<span><svg class=\"key %s\" viewBox=\"0 0 44 12\" aria-hidden=\"true\">"
                         "<path class=\"curve\" stroke-dasharray=\"%s\" d=\"M0 6H44\"/>",
                         look.css, look.dash) + marker(look.marker, 22, 6, "") + "</svg> " +
                  look.name + "</span>\n";
    }
    if (legend.empty()) return "";
    return "<section id=\"curves\">\n<h2>Training</h2>\n"
           "<p>The base learns from nothing, then copies of it go on: see how far below the base's "
           "last epoch each copy gets, and that a few thousand numbers can nearly follow the "
           "training of all. The accuracy is that of the predictions made while training.</p>\n"
           "<p class=\"legend\">" + legend + "</p>\n<div class=\"two\">\n<figure>" +
           curve_chart(rows, "training loss (mean cross-entropy, nats; log scale)", true,
                       [](const EpochReport& e) { return std::max(e.loss, 1e-6); }) +
           "</figure>\n<figure>" +
           curve_chart(rows, "training accuracy (% of the images)", false,
                       [](const EpochReport& e) { return 100 * e.accuracy; }) +
           "</figure>\n</div>\n</section>\n";
}

std::string confusion_matrix(const Row& row) {
    const std::vector<std::vector<int64_t>>& counts = row.pictures.confusion;
    const int n = int(counts.size()), cell = 310 / n, left = 42, top = 42;
    int64_t most_hits = 1, most_misses = 1;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            int64_t& most = i == j ? most_hits : most_misses;
            most = std::max(most, counts[size_t(i)][size_t(j)]);
        }
    std::string svg = open_svg(left + n * cell + 8, top + n * cell + 8,
                               "confusion matrix of " + row.method) +
                      format("<text x=\"%d\" y=\"14\" text-anchor=\"middle\">predicted digit</text>"
                             "<text transform=\"translate(14 %d) rotate(-90)\" "
                             "text-anchor=\"middle\">true digit</text>\n",
                             left + n * cell / 2, top + n * cell / 2);
    for (int i = 0; i < n; i++) {
        const int middle = i * cell + cell / 2;
        svg += format("<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%d</text>"
                      "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%d</text>\n",
                      left + middle, top - 8, i, left - 8, top + middle + 4, i);
        for (int j = 0; j < n; j++) {
            const int64_t count = counts[size_t(i)][size_t(j)];
            const int x = left + j * cell, y = top + i * cell;
            const double strength =
                i == j ? 0.35 * double(count) / double(most_hits)
                       : 0.65 * double(count) / double(most_misses);
            svg += format("<rect class=\"cell %s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" "
                          "fill-opacity=\"%.2f\"/>",
                          i == j ? "hit" : "miss", x, y, cell, cell, strength);
            if (count > 0)
                svg += format("<text class=\"count\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">%ld"
                              "<title>%ld images of a %d were read as a %d</title></text>",
                              x + cell / 2, y + cell / 2 + 4, long(count), long(count), i, j);
        }
        svg += "\n";
    }
    return svg + "</svg>\n";
}

std::string confusion(const std::vector<Row>& rows) {
    std::string figures;
    for (const Row& row : rows)
        if (!row.pictures.confusion.empty())
            figures += "<figure><h3>" + look_of(row.method).name + "</h3>\n" +
                       confusion_matrix(row) + "</figure>\n";
    if (figures.empty()) return "";
    return "<section id=\"confusion\">\n<h2>What is taken for what</h2>\n"
           "<p>Numbers of test images: the diagonal is right, everything beside it is an error, "
           "the more frequent the stronger its colour; look for pairs that stay confused (4 and 9, "
           "3 and 5) whatever the method.</p>\n<div class=\"two\">\n" + figures +
           "</div>\n</section>\n";
}

std::string mistakes(const std::vector<Row>& rows) {
    std::string html;
    for (const Row& row : rows) {
        if (row.pictures.mistakes.empty()) continue;
        html += "<h3>" + look_of(row.method).name + "</h3>\n<div class=\"digits\">\n";
        for (const Mistake& m : row.pictures.mistakes)
            html += format("<figure title=\"test image %ld: the right answer, %d, got %.2g %%\">"
                           "<img alt=\"a %d, read as a %d\" src=\"",
                           long(m.image), m.label, 100 * m.label_probability, m.label,
                           m.predicted) +
                    bitmap(m.pixels, row.pictures.rows, row.pictures.cols, grey) +
                    format("\"/><figcaption>is %d<br/>read as %d<br/>with %.1f %%</figcaption>"
                           "</figure>\n", m.label, m.predicted, 100 * m.probability);
        html += "</div>\n";
    }
    if (html.empty()) return "";
    return "<section id=\"mistakes\">\n<h2>The worst mistakes</h2>\n"
           "<p>The test images to which each model gave the least probability of being what they "
           "are, with the probability of what it saw instead: some would fool a person, and many "
           "fool every method.</p>\n" + html + "</section>\n";
}

// Row j of a weight as an image, with blue at -limit and orange at +limit.
std::string weight_image(const Tensor& weight, int64_t j, const ModelPictures& size, double limit,
                         const char* name) {
    Bytes shades;
    for (int64_t k = 0; k < weight.size(1); k++) {
        const double w = double(weight.data()[j * weight.size(1) + k]) / limit;
        shades.push_back(uint8_t(128 + std::lround(127 * std::clamp(w, -1.0, 1.0))));
    }
    return format("<span><img alt=\"%s of unit %ld\" src=\"", name, long(j)) +
           bitmap(shades, size.rows, size.cols, diverging) + format("\"/>%s</span>", name);
}

// What the colours mean.
std::string color_scale(double limit, const std::string& id) {
    std::string svg = "<svg class=\"scale\" viewBox=\"0 0 320 46\" role=\"img\" "
                      "aria-label=\"colours of the weights\">\n"
                      "<defs><linearGradient id=\"" + id + "\">";
    for (int shade : {1, 128, 255}) {
        const Color c = diverging(shade);
        svg += format("<stop offset=\"%.1f\" stop-color=\"rgb(%.0f,%.0f,%.0f)\"/>",
                      (shade - 1) / 254.0, c.r, c.g, c.b);
    }
    svg += "</linearGradient></defs>\n<rect x=\"20\" y=\"2\" width=\"280\" height=\"12\" "
           "fill=\"url(#" + id + ")\"/>\n";
    for (int i = -1; i <= 1; i++)
        svg += format("<text x=\"%d\" y=\"27\" text-anchor=\"middle\">%.2g</text>", 160 + 140 * i,
                      i * limit);
    return svg + "<text x=\"160\" y=\"42\" text-anchor=\"middle\">weight (output per unit of "
                 "pixel, black 0 to white 1)</text>\n</svg>\n";
}

// The units whose rows moved most, as three images each.
std::string layer_images(const Row& row, const std::string& id) {
    const LayerChange& layer = *row.pictures.first_layer;
    const int64_t out = layer.weight.size(0), in = layer.weight.size(1);
    std::vector<std::pair<double, int64_t>> moved;
    for (int64_t j = 0; j < out; j++) {
        double squares = 0;
        for (int64_t k = j * in; k < (j + 1) * in; k++) {
            const double d = double(layer.merged.data()[k]) - double(layer.weight.data()[k]);
            squares += d * d;
        }
        moved.push_back({-squares, j});
    }
    const size_t shown = std::min<size_t>(16, moved.size());
    std::partial_sort(moved.begin(), moved.begin() + int64_t(shown), moved.end());

    // One scale for the three, so that they add up to the eye; one weight in 20 lies beyond it.
    std::vector<double> sizes;
    for (const Tensor* weight : {&layer.weight, &layer.change, &layer.merged})
        for (size_t i = 0; i < shown; i++)
            for (int64_t k = 0; k < in; k++)
                sizes.push_back(std::fabs(double(weight->data()[moved[i].second * in + k])));
    const auto limit_at = sizes.begin() + int64_t(sizes.size() * 95 / 100);
    std::nth_element(sizes.begin(), limit_at, sizes.end());
    const double limit = *limit_at > 0 ? *limit_at : 1;

    std::string html = color_scale(limit, id) + "<div class=\"units\">\n";
    for (size_t i = 0; i < shown; i++) {
        const int64_t j = moved[i].second;
        html += "<figure>" + weight_image(layer.weight, j, row.pictures, limit, "W") +
                weight_image(layer.change, j, row.pictures, limit, "s B A") +
                weight_image(layer.merged, j, row.pictures, limit, "merged") +
                format("<figcaption>unit %ld</figcaption></figure>\n", long(j));
    }
    return html + "</div>\n";
}

std::string first_layer(const std::vector<Row>& rows) {
    std::string html;
    for (const Row& row : rows)
        if (row.pictures.first_layer)
            html += "<h3>" + look_of(row.method).name + "</h3>\n" +
                    layer_images(row, "colors-" + std::to_string(&row - rows.data()));
    if (html.empty()) return "";
    return "<section id=\"layer\">\n<h2>The first layer, as images</h2>\n"
           "<p>Each unit of the first layer has a weight for each pixel: see its row of W, what "
           "the adapter adds to it (s B A), and the merged row that results, for the 16 units that "
           "moved most, in one scale. The merged row is the sum of the other two, for DoRA "
           "stretched to the learned magnitude. All of s B A is made of only as many patterns as "
           "the rank; A starts at random, and what looks like noise is left of that start.</p>\n" +
           html + "</section>\n";
}

std::string magnitude_chart(const Row& row, const Range& xs, const Range& ys) {
    const LayerChange& layer = *row.pictures.first_layer;
    const char* what = layer.axis == Axis::kOut ? "row" : "column";
    const Look look = look_of(row.method);
    const Ruler x{xs.low, xs.high, kLeft, kRight}, y{ys.low, ys.high, kBottom, kTop};
    std::string svg =
        open_svg(kWidth, kHeight, look.name + ": magnitudes before and after") +
        axes(x, y, 0.01, 0.01, std::string("before: length of a ") + what + " of W (no unit)",
             std::string("after: length of the merged ") + what + " (no unit)") +
        format("<path class=\"same\" d=\"M%.1f %.1fL%.1f %.1f\"/>", x.at(xs.low), y.at(xs.low),
               x.at(xs.high), y.at(xs.high)) +
        format("<text x=\"%d\" y=\"%d\" text-anchor=\"end\">dashed line: unchanged</text>\n",
               kRight - 4, kBottom - 8) +
        format("<g class=\"dots %s\">", look.css);
    for (int64_t i = 0; i < layer.magnitude_before.size(); i++) {
        const double before = double(layer.magnitude_before.data()[i]);
        const double after = double(layer.magnitude_after.data()[i]);
        svg += format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.2\"><title>%s %ld: %.3g to %.3g"
                      "</title></circle>\n", x.at(before), y.at(after), what, long(i), before,
                      after);
    }
    return svg + "</g>\n</svg>\n";
}

std::string magnitudes(const std::vector<Row>& rows) {
    Range xs, ys;  // the same for all, so that the charts can be compared
    for (const Row& row : rows)
        if (const auto& layer = row.pictures.first_layer)
            for (int64_t i = 0; i < layer->magnitude_before.size(); i++) {
                const double before = double(layer->magnitude_before.data()[i]);
                xs.include(before);
                ys.include(before);
                ys.include(double(layer->magnitude_after.data()[i]));
            }
    xs.pad(0.04);
    ys.pad(0.04);
    std::string figures;
    for (const Row& row : rows)
        if (row.pictures.first_layer)
            figures += "<figure><h3>" + look_of(row.method).name + "</h3>\n" +
                       magnitude_chart(row, xs, ys) + "</figure>\n";
    if (figures.empty()) return "";
    return "<section id=\"magnitudes\">\n<h2>Magnitudes, before and after</h2>\n"
           "<p>A dot for each length in the first layer: the further from the line, the more it "
           "changed. LoRA's lengths are what adding s B A happens to make of them; DoRA learns its "
           "own, m, apart from the direction.</p>\n<div class=\"two\">\n" + figures +
           "</div>\n</section>\n";
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
figure { margin: 0; }
figcaption, .units span { color: var(--soft); font-size: 0.75rem; line-height: 1.3; }
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
.legend { display: flex; flex-wrap: wrap; gap: 0.3rem 1.5rem; }
.legend span { display: flex; align-items: center; gap: 0.5rem; }
svg.key { width: 2.75rem; }
g, svg.key { fill: var(--color); }
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

}  // namespace

std::string report_html(const std::vector<Row>& rows, const std::string& setup) {
    return std::string("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                       "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                       "<title>slimgrad: base, full, LoRA and DoRA on MNIST</title>\n<style>") +
           kStyle + "</style>\n</head>\n<body>\n<h1>Fine-tuning, in pictures</h1>\n<p>" +
           escaped(setup) + "</p>\n" + results_table(rows) + curves(rows) + confusion(rows) +
           mistakes(rows) + first_layer(rows) + magnitudes(rows) + "</body>\n</html>\n";
}

void write_report(const std::string& folder, const std::vector<Row>& rows,
                  const std::string& setup) {
    make_folders(folder);
    write_file(folder + "/index.html", {report_html(rows, setup)});
}

}  // namespace slim
