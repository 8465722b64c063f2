// Draws the pictures of the course, as SVG: what flows back through lesson 2's diamond, the shapes
// of LoRA, the arrows of DoRA, and what lesson 11 finds in trained weights.
//
// run:  build/lessons/11_what_adapters_do rows.txt; build/pictures apps/lessons/pictures rows.txt
#include <cmath>
#include <fstream>
#include <map>

#include "apps/program.h"
#include "apps/report/drawing.h"
#include "core/ops.h"
#include "core/random.h"
#include "nn/adapters/dora.h"

using namespace slim;

// A page of its own: name space, style, and white paper.
static void save(const std::string& path, int width, int height, const std::string& content) {
    std::ofstream file(path);
    file << "<svg xmlns=\"http://www.w3.org/2000/svg\" "
         << format("viewBox=\"0 0 %d %d\" width=\"%d\">\n", width, height, width)
         << "<style>text { font: 13px sans-serif }\n"
            "path, rect, circle { fill: none; stroke: #333 }\n"
            ".paper { fill: white; stroke: none } .grid { stroke: #ddd } .base { stroke: #555 }\n"
            ".full, .full * { stroke: #777; fill: #7773 }\n"
            ".lora, .lora * { stroke: #0072b2; fill: #0072b233 }\n"
            ".dora, .dora * { stroke: #d55e00; fill: #d55e0033 } .dots { stroke-dasharray: 3 3 }\n"
            "</style>\n"
         << format("<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", width, height) << content
         << "</svg>\n";
    check(bool(file), "pictures: cannot write ", path, ". hint: is the folder there?");
}

static std::string text(double x, double y, const std::string& words) {
    return format("<text x=\"%.0f\" y=\"%.0f\">", x, y) + escaped(words) + "</text>\n";
}

static std::string arrow(double x1, double y1, double x2, double y2, const char* css) {
    const double d = std::hypot(x2 - x1, y2 - y1), ux = (x2 - x1) / d, uy = (y2 - y1) / d;
    return format("<path class=\"%s\" d=\"M%.1f %.1fL%.1f %.1f", css, x1, y1, x2, y2) +
           format("m%.1f %.1fl%.1f %.1fl%.1f %.1f\"/>\n", -8 * ux + 4 * uy, -8 * uy - 4 * ux,
                  8 * ux - 4 * uy, 8 * uy + 4 * ux, -8 * ux - 4 * uy, -8 * uy + 4 * ux);
}

// Lesson 2: b = a + a, c = b + b, d = b + c. Each arrow carries one part of a gradient back.
static std::string diamond() {
    double a = 0, b = 0, c = 0;
    const double d = 1;
    b += d, c += d;  // newest first: each passes on what it has by then
    b += c, b += c;
    a += b, a += b;
    std::string svg;
    const auto number = [&](const char* name, double x, double y, double grad, const char* turn,
                            double down = 0) {
        svg += format("<circle cx=\"%.0f\" cy=\"%.0f\" r=\"20\"/>\n", x, y) +
               text(x - 4, y + 4, name) + text(x + 26, y + 12 + down, turn) +
               text(x + 26, y - 4 + down, format("dd/d%s = %g", name, grad));
    };
    const auto part = [&](double x1, double y1, double x2, double y2, double grad, double x,
                          double y) {
        svg += arrow(x1, y1, x2, y2, "lora") + text(x, y, format("%g", grad));
    };
    number("d", 70, 40, d, "d = b + c, first");
    number("c", 190, 110, c, "c = b + b, second");
    number("b", 70, 180, b, "b = a + a, third: all parts are in", 12);
    number("a", 70, 270, a, "");
    part(87, 50, 173, 100, d, 120, 65);
    part(62, 60, 62, 158, d, 48, 112);
    part(171, 114, 85, 164, c, 112, 140);
    part(177, 126, 91, 174, c, 146, 160);
    part(64, 200, 64, 248, b, 48, 228);
    part(76, 200, 76, 248, b, 84, 228);
    return svg;
}

// Lesson 7: y = x W^T + b + s (x A^T) B^T, with lesson 7's sizes.
static std::string shapes() {
    Rng rng(1);
    LinearWithLoRA layer(8, 6, {.rank = 2}, rng);
    std::string svg;
    const auto matrix = [&](const char* name, const Shape& shape, double x, const char* css) {
        const double y = 30, width = 14 * double(shape[1]), height = 14 * double(shape[0]);
        svg += format("<rect class=\"%s\" x=\"%.0f\" y=\"%.0f\" ", css, x, y) +
               format("width=\"%.0f\" height=\"%.0f\"/>\n", width, height) +
               text(x, y - 6, name) +
               text(x, y + height + 16, format("[%d, %d]", int(shape[0]), int(shape[1])));
    };
    matrix("W, frozen", layer.linear->weight.shape(), 20, "full");
    svg += text(148, 76, "+   s");
    matrix("B", layer.lora.B.shape(), 200, "lora");
    matrix("A", layer.lora.A.shape(), 248, "lora");
    svg += text(380, 76, "acts as");
    matrix("W + s B A, never formed", Shape{6, 8}, 450, "base");
    return svg + text(20, 160, "48 values") + text(200, 160, "12 + 16 = 28 values, trained");
}

// Lesson 8: row 0 of W, of LoRA's V, and of DoRA's W'.
static std::string arrows() {
    Rng rng(1);
    auto base = std::make_shared<Linear>(tensor({3, 4, 0, 2}, {2, 2}));
    LinearWithDoRA layer(base, {.rank = 1, .alpha = 1}, rng);
    copy_values(tensor({1, 2}, {1, 2}), layer.lora.A);
    copy_values(tensor({2, -1}, {2, 1}), layer.lora.B);
    const double unit = 28, x0 = 220, y0 = 250;
    std::string svg = format("<path class=\"dots\" d=\"M%.0f %.0fA%.0f %.0f 0 0 0 %.0f %.0f\"/>\n",
                             x0 + 5 * unit, y0, 5 * unit, 5 * unit, x0, y0 - 5 * unit);
    const auto row = [&](const char* name, const Tensor& W, const char* css, double dx, double dy) {
        const double x = x0 + unit * W.at({0, 0}), y = y0 - unit * W.at({0, 1});
        svg += arrow(x0, y0, x, y, css) + text(x + dx, y + dy, name);
    };
    row("W: norm 5", base->weight, "base", 8, 12);
    row("W + s B A (LoRA): norm 9.43", base->weight + layer.lora.delta_weight(), "lora", 8, 6);
    row("W' (DoRA): turned, norm 5", layer.merged_weight(), "dora", -190, -4);
    return svg + text(x0 + 5 * unit - 12, y0 + 18, "norm 5");
}

struct Row {
    std::string method;
    double x, y;
};

static std::string chart(const std::vector<Row>& rows, const char* x_label, const char* y_label,
                         bool lines) {
    Range across, up;
    across.include(0), up.include(0);
    for (const Row& row : rows) across.include(row.x), up.include(row.y);
    across.pad(0.04), up.pad(0.04);
    const Ruler x{across.low, across.high, kLeft, kRight}, y{up.low, up.high, kBottom, kTop};
    std::string svg = axes(x, y, lines ? 1 : 0.001, 0.001, x_label, y_label), path, method;
    double place = 40;
    for (const Row& row : rows) {
        const Look look = look_of(row.method);
        const auto mark = [&](double x, double y) {
            return format("<g class=\"%s\">", look.css) + marker(look.marker, x, y, "") + "</g>\n";
        };
        if (row.method != method) {
            if (lines && !path.empty()) svg += path + "\"/>\n";
            path = format("<path style=\"fill:none\" class=\"%s\" d=\"M", look.css);
            svg += mark(262, place) + text(272, place + 4, look.name);
            place += 16;
        }
        path += format("%s%.1f %.1f", row.method == method ? "L" : "", x.at(row.x), y.at(row.y));
        method = row.method;
        svg += mark(x.at(row.x), y.at(row.y));
    }
    return lines ? svg + path + "\"/>\n" : svg;
}

static int pictures(int argc, char** argv) {
    Options options("Writes the course's pictures: pictures FOLDER FILE. The file is what\n"
                    "build/lessons/11_what_adapters_do FILE writes.");
    const std::vector<std::string> paths = options.parse(argc, argv);
    check(paths.size() == 2, "pictures: expected a folder and the file that lesson 11 writes, got ",
          paths.size(), " arguments");
    const std::string folder = paths[0] + "/";
    std::map<std::string, std::vector<Row>> rows;
    std::ifstream file(paths[1]);
    for (std::string kind, method, x, y; file >> kind >> method >> x >> y;)
        rows[kind].push_back({method, std::stod(x), std::stod(y)});
    check(rows["value"].size() > 0 && rows["row"].size() > 0, "pictures: ", paths[1],
          " is not a file of lesson 11. hint: build/lessons/11_what_adapters_do ", paths[1]);

    save(folder + "02_diamond.svg", 380, 300, diamond());
    save(folder + "07_shapes.svg", 640, 170, shapes());
    save(folder + "08_arrows.svg", 600, 280, arrows());
    save(folder + "11_singular_values.svg", kWidth, kHeight,
         chart(rows["value"], "number", "singular values of the change, layers.0", true));
    save(folder + "11_rows.svg", kWidth, kHeight,
         chart(rows["row"], "direction change", "magnitude change, rows of layers.0", false));
    return 0;
}

int main(int argc, char** argv) { return run_program(argc, argv, pictures); }
