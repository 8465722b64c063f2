// The first layer in the report. See report_layer.h.
#include "apps/report/report_layer.h"

#include <algorithm>  // clamp, min, nth_element, partial_sort
#include <cmath>      // fabs, lround

#include "apps/report/drawing.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "nn/adapters/dora.h"

namespace slim {

std::shared_ptr<LayerChange> first_layer_change(Module& model, int64_t pixels) {
    NoGrad no_grad;
    for (const NamedModule& m : model.named_modules()) {
        const auto* adapter = dynamic_cast<const LinearAdapter*>(m.module);
        if (!adapter) continue;
        if (adapter->linear->in_features() != pixels) return nullptr;
        const Axis axis = adapter->lora.config.axis;
        const Tensor W = adapter->base_weight(), merged = adapter->merged_weight();
        return std::make_shared<LayerChange>(LayerChange{
            m.name, clone(W), adapter->lora.delta_weight(), merged, norm(W, reduced_axis(axis)),
            norm(merged, reduced_axis(axis)), axis});
    }
    return nullptr;
}

// ---- weights as images --------------------------------------------------------------------------

namespace {

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

}  // namespace

std::string first_layer_section(const std::vector<Row>& rows) {
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

// ---- magnitudes ---------------------------------------------------------------------------------

namespace {

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

}  // namespace

std::string magnitudes_section(const std::vector<Row>& rows) {
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

}  // namespace slim
