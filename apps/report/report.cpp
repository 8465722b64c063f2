// The report page. See report.h. Read it from the end: report_html() is the page, and each section
// is a function above it or in report_layer.cpp; drawing.h has the tools.
#include "apps/report/report.h"

#include <algorithm>  // any_of, max, min, sort, stable_sort
#include <cmath>      // exp, fabs, log10, pow
#include <functional>
#include <map>
#include <optional>

#include "apps/report/drawing.h"
#include "apps/report/report_layer.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "data/batches.h"

namespace slim {

// ---- looking at a model -------------------------------------------------------------------------

ModelPictures picture_model(Module& model, const DataSet& test, size_t mistakes) {
    const NoGrad no_grad;
    ModelPictures pictures;
    if (!test.pixels.empty()) {
        pictures.rows = test.rows;
        pictures.cols = test.cols;
        pictures.first_layer = first_layer_change(model, test.features());
    }
    const EvalMode eval_mode(model);
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

    std::vector<Mistake>& list = pictures.mistakes;
    std::stable_sort(list.begin(), list.end(), [](const Mistake& a, const Mistake& b) {
        return a.label_probability < b.label_probability;
    });
    if (list.size() > mistakes) list.resize(mistakes);
    if (test.pixels.empty()) list.clear();  // nothing to show
    for (Mistake& m : list) {
        const auto pixels = test.pixels.begin() + m.image * test.features();
        m.pixels.assign(pixels, pixels + test.features());
    }
    return pictures;
}

namespace {

// ---- the sections -------------------------------------------------------------------------------

bool has_shift(const std::vector<Row>& rows) {
    return std::any_of(rows.begin(), rows.end(), [](const Row& row) { return !row.task.empty(); });
}

std::string results_table(const std::vector<Row>& rows) {
    const bool shifted = has_shift(rows);
    std::string html =
        "<section id=\"results\">\n<h2>Results</h2>\n"
        "<p>Read down the test accuracy, then compare what it cost in trained parameters; a "
        "difference of 0.2 points is 20 of 10,000, which another seed may turn round.</p>\n"
        "<div class=\"wide\"><table>\n<thead><tr><th>method</th>" +
        std::string(shifted ? "<th>task</th><th>old task, %</th>" : "") +
        "<th>trained parameters</th><th>test accuracy, %</th><th>test rows wrong</th>"
        "<th>training accuracy, %</th>"
        "<th>s per epoch</th></tr></thead>\n<tbody>\n";
    for (const Row& row : rows) {
        int64_t wrong = 0;
        for (size_t i = 0; i < row.pictures.confusion.size(); i++)
            for (size_t j = 0; j < row.pictures.confusion.size(); j++)
                if (i != j) wrong += row.pictures.confusion[i][j];
        const Look look = look_of(row.method);
        html += format("<tr><th class=\"%s\">", look.css) + look.name + "</th><td>" +
                (!shifted ? "" : escaped(row.task) + "</td><td>" +
                                     (row.method == "scratch" || row.task.empty() ? "–" :
                                      format("%.2f", 100 * row.old_accuracy)) + "</td><td>") +
                with_commas(row.parameters.trainable) +
                format("</td><td>%.2f</td>", 100 * row.test_accuracy) +
                (row.pictures.confusion.empty() ? "<td>–</td>"
                                                : "<td>" + with_commas(wrong) + "</td>") +
                (row.task.empty() ? format("<td>%.2f</td>", 100 * row.train_accuracy)
                                  : std::string("<td>–</td>")) +
                (row.epochs.empty() ? "<td>–</td>"
                                    : format("<td>%.2f</td>", row.seconds_per_epoch)) +
                "</tr>\n";
    }
    return html + "</tbody>\n</table></div>\n</section>\n";
}

// Puts the name under the middle of the line, below all points near it.
Name below_middle(const std::vector<Name>& places) {
    Name name{(places.front().x + places.back().x) / 2 - 20, kTop, places[0].look};
    for (const Name& place : places)
        if (std::fabs(place.x - 20 - name.x) < 25) name.y = std::max(name.y, place.y + 14);
    name.y = std::min<double>(name.y, kBottom - 3);
    return name;
}

using Curve = std::function<std::optional<double>(const EpochReport&)>;

// The lines of one chart. The copies of the base go on where the base stopped.
std::string curve_chart(const std::vector<Row>& rows, const std::string& y_label, bool logarithmic,
                        const Curve& value) {
    Range xs, ys;
    int base_epochs = 0;
    for (const Row& row : rows)
        if (row.method == "base" && !row.epochs.empty()) base_epochs = row.epochs.back().epoch;
    const auto x_of = [&](const Row& row, const EpochReport& e) {
        return e.epoch + (row.method == "base" ? 0 : base_epochs);
    };
    for (const Row& row : rows)
        for (const EpochReport& e : row.epochs)
            if (const std::optional<double> v = value(e)) {
                xs.include(x_of(row, e));
                ys.include(logarithmic ? std::log10(*v) : *v);
            }
    if (xs.low > xs.high) return "";  // nothing to show
    xs.pad(0.04);
    ys.pad(0.06);
    const Ruler x{xs.low, xs.high, kLeft, kRight - 24};  // there the names are
    const Ruler y{logarithmic ? std::pow(10, ys.low) : ys.low,
                  logarithmic ? std::pow(10, ys.high) : ys.high, kBottom, kTop, logarithmic};

    std::string svg = open_svg(kWidth, kHeight, y_label + " by epoch") +
                      axes(x, y, 1, 0.01, base_epochs ? "epochs since the random start" : "epochs",
                           y_label);
    std::vector<Name> names;
    for (const Row& row : rows) {
        const Look look = look_of(row.method);
        std::string line, markers;
        std::vector<Name> places;
        for (const EpochReport& e : row.epochs)
            if (const std::optional<double> v = value(e)) {
                const double px = x.at(x_of(row, e)), py = y.at(*v);
                line += format("%c%.1f %.1f", line.empty() ? 'M' : 'L', px, py);
                markers += marker(look.marker, px, py,
                                  look.name + format(", epoch %d: %.4g", e.epoch, *v));
                places.push_back({px + 8, py + 4, look});
            }
        if (line.empty()) continue;
        svg += curve(look, line, markers);
        if (row.method == "base") svg += below_middle(places).svg();  // others go on at its end
        else names.push_back(places.back());
    }
    return "<figure>" + svg + end_names(names) + "</svg>\n</figure>\n";
}

std::string curves(std::vector<Row> rows) {
    if (has_shift(rows)) std::erase_if(rows, [](const Row& r) { return !r.task.empty(); });
    const std::string charts =
        curve_chart(rows, "training loss (mean cross-entropy, nats; log scale)", true,
                    [](const EpochReport& e) { return std::max(e.loss, 1e-6); }) +
        curve_chart(rows, "training accuracy (% of the rows)", false,
                    [](const EpochReport& e) { return 100 * e.accuracy; }) +
        curve_chart(rows, "test accuracy (% of the rows)", false, [](const EpochReport& e) {
            return e.test_accuracy ? std::optional(100 * *e.test_accuracy) : std::nullopt;
        });
    if (charts.empty()) return "";
    return "<section id=\"curves\">\n<h2>Training</h2>\n"
           "<p>Copies of the base go on from where it ended: see how far below the base's "
           "last epoch each copy gets, and that a few thousand values can nearly follow the "
           "training of all. The training accuracy is that of the predictions made while training, "
           "the test accuracy that of each epoch's end: where the first still rises and the second "
           "does not, the rows are learned by heart.</p>\n<div class=\"two\">\n" + charts +
           "</div>\n</section>\n";
}

std::string confusion_matrix(const Row& row) {
    const std::vector<std::vector<int64_t>>& counts = row.pictures.confusion;
    const int n = int(counts.size()), cell = std::max(310 / n, 18), left = 42, top = 42;
    int64_t most_hits = 1, most_misses = 1;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            int64_t& most = i == j ? most_hits : most_misses;
            most = std::max(most, counts[size_t(i)][size_t(j)]);
        }
    std::string svg = open_svg(left + n * cell + 8, top + n * cell + 8,
                               "confusion matrix of " + row.method) +
                      format("<text x=\"%d\" y=\"14\" text-anchor=\"middle\">predicted class</text>"
                             "<text transform=\"translate(14 %d) rotate(-90)\" "
                             "text-anchor=\"middle\">true class</text>\n",
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
                              "<title>%ld of class %d were taken for class %d</title></text>",
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
           "<p>Numbers of test rows: the diagonal is right, everything beside it is an error, "
           "the more frequent the stronger its colour; look for pairs that stay confused whatever "
           "the method (of digits: 4 and 9, 3 and 5).</p>\n<div class=\"two\">\n" + figures +
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

// After a change of task: right and up is better.
std::string forgetting(const std::vector<Row>& rows) {
    std::map<std::string, std::vector<Row>> tasks;
    for (const Row& row : rows)
        if (!row.task.empty() && row.method != "scratch") tasks[row.task].push_back(row);
    std::string figures;
    for (const auto& [task, runs] : tasks) {
        Range xs, ys;
        for (const Row& row : runs) {
            xs.include(100 * row.test_accuracy);
            ys.include(100 * row.old_accuracy);
        }
        xs.pad(0.1);
        ys.pad(0.1);
        const Ruler x{xs.low, xs.high, kLeft, kRight - 24}, y{ys.low, ys.high, kBottom, kTop};
        std::string svg = open_svg(kWidth, kHeight, task) +
                          axes(x, y, 1, 1, "new task (test accuracy, %)",
                               "old task (test accuracy, %)");
        std::vector<Name> names;
        for (const Row& row : runs) {
            const Look look = look_of(row.method);
            const double px = x.at(100 * row.test_accuracy), py = y.at(100 * row.old_accuracy);
            svg += format("<g class=\"%s\">", look.css) +
                   marker(look.marker, px, py, look.name) + "</g>\n";
            names.push_back({std::min(px + 6, kRight - 30.0), py + 4, look});
        }
        figures += "<figure><h3>" + escaped(task) + "</h3>\n" + svg + end_names(names) +
                   "</svg>\n</figure>\n";
    }
    if (figures.empty()) return "";
    return "<section id=\"forgetting\">\n<h2>Learning and forgetting</h2>\n"
           "<p>To the right a model does better on the new task, upwards on the old one. With the "
           "adapter switched off, LoRA and DoRA are the base again, to the bit; full tuning has no "
           "way back.</p>\n<div class=\"two\">\n" + figures + "</div>\n</section>\n";
}

}  // namespace

std::string report_html(const std::vector<Row>& rows, const std::string& setup) {
    return html_page("Fine-tuning, in pictures", setup,
                     results_table(rows) + forgetting(rows) + curves(rows) + confusion(rows) +
                         mistakes(rows) + first_layer_section(rows) + magnitudes_section(rows));
}

std::string epochs_csv(const std::vector<Row>& rows) {
    std::string csv = "method,seed,task,epoch,loss,accuracy,test_accuracy,seconds\n";
    for (const Row& row : rows)
        for (const EpochReport& e : row.epochs)
            csv += row.method + format(",%ld,\"", long(row.seed)) + row.task +
                   format("\",%d,%.6g,%.6g,", e.epoch, e.loss, e.accuracy) +
                   (e.test_accuracy ? format("%.6g", *e.test_accuracy) : "") +
                   format(",%.4g\n", e.seconds);
    return csv;
}

void write_report(const std::string& folder, const std::vector<Row>& rows,
                  const std::string& setup) {
    const std::string html = report_html(rows, setup), csv = epochs_csv(rows);
    make_folders(folder);
    write_files({{folder + "/index.html", {html}}, {folder + "/epochs.csv", {csv}}});
}

}  // namespace slim
