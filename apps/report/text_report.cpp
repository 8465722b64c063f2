// The results of build/gpt. See text_report.h.
#include "apps/report/text_report.h"

#include <cmath>      // isnan

#include "apps/report/drawing.h"
#include "data/json.h"

namespace slim {

namespace {

// The rows of each method, in the order of their first seeds.
std::vector<std::vector<TextRow>> by_method(const std::vector<TextRow>& rows) {
    std::vector<std::vector<TextRow>> groups;
    for (const TextRow& row : rows) {
        if (groups.empty() || groups.back()[0].method != row.method) groups.emplace_back();
        groups.back().push_back(row);
    }
    return groups;
}

double mean_of(const std::vector<TextRow>& rows, double TextRow::*value) {
    double sum = 0;
    for (const TextRow& row : rows) sum += row.*value;
    return sum / double(rows.size());
}

// "1.812", or "1.812 (1.808 to 1.815)" of several seeds.
std::string loss_text(const std::vector<TextRow>& rows, double TextRow::*value) {
    Range range;
    for (const TextRow& row : rows) range.include(row.*value);
    const std::string mean = format("%.3f", mean_of(rows, value));
    return rows.size() == 1 ? mean : mean + format(" (%.3f to %.3f)", range.low, range.high);
}

// With ? for bytes that an HTML page cannot hold.
std::string printable(std::string text) {
    for (char& c : text)
        if ((c < ' ' && c != '\n') || c > '~') c = '?';
    return escaped(text);
}

std::string curve_chart(const std::vector<TextRow>& rows, const std::string& unit) {
    Range xs, ys;
    xs.include(0);
    ys.include(rows[0].new_loss);
    for (size_t i = 1; i < rows.size(); i++)
        for (const LossPoint& p : rows[i].curve)
            if (!std::isnan(p.held_out)) {
                xs.include(double(p.step));
                ys.include(p.held_out);
            }
    if (xs.high == 0) return "";  // nothing was adapted
    ys.pad(0.06);
    const Ruler x{0, xs.high, kLeft, kRight - 50}, y{ys.low, ys.high, kBottom, kTop};
    const std::string title = "held-out loss on the new text, nats per " + unit;
    std::string svg = open_svg(kWidth, kHeight, title) + axes(x, y, 1, 0.01, "steps", title);
    std::vector<Name> names;
    for (size_t i = 1; i < rows.size(); i++) {
        const std::string& method = rows[i].method;
        Look look = look_of(method.substr(0, method.find('-')));
        look.name = escaped(method);
        std::string line = format("M%.1f %.1f", x.at(0), y.at(rows[0].new_loss)), markers;
        Name name{0, 0, look};
        for (const LossPoint& p : rows[i].curve) {
            if (std::isnan(p.held_out)) continue;
            name.x = x.at(double(p.step)) + 6;
            name.y = y.at(p.held_out) + 4;
            line += format("L%.1f %.1f", name.x - 6, name.y - 4);
            markers += marker(look.marker, name.x - 6, name.y - 4,
                              method + format(", step %ld: %.3f", long(p.step), p.held_out));
        }
        svg += curve(look, line, markers);
        if (name.x > 0 && rows[i].seed == rows.back().seed) names.push_back(name);
    }
    return "<figure>" + svg + end_names(names) + "</svg></figure>\n";
}

}  // namespace

std::string text_table(const std::vector<TextRow>& rows, const std::string& unit) {
    const int wide = by_method(rows).size() < rows.size() ? 24 : 10;
    std::string text = "held-out loss in nats per " + unit + ":\n" +
                       format("%-10s %10s %*s %*s %10s %10s\n", "", "trained", wide, "new text",
                              wide, "old text", "ms/step", "file KB");
    for (const std::vector<TextRow>& seeds : by_method(rows))
        text += format("%-10s %10ld %*s %*s %10.1f %10ld\n", seeds[0].method.c_str(),
                       long(seeds[0].trained), wide, loss_text(seeds, &TextRow::new_loss).c_str(),
                       wide, loss_text(seeds, &TextRow::old_loss).c_str(),
                       mean_of(seeds, &TextRow::ms_per_step), long(seeds[0].bytes / 1000));
    return text;
}

std::string text_json(const std::vector<TextRow>& rows) {
    Json::List list;
    for (const TextRow& row : rows) {
        Json::List steps, training, held_out;
        for (const LossPoint& p : row.curve) {
            steps.push_back(p.step);
            training.push_back(p.training);
            if (!std::isnan(p.held_out)) held_out.push_back(p.held_out);
        }
        list.push_back(Json::Object{{"method", row.method}, {"seed", row.seed},
                                    {"trained", row.trained}, {"new_loss", row.new_loss},
                                    {"old_loss", row.old_loss}, {"bytes", row.bytes},
                                    {"ms_per_step", row.ms_per_step}, {"steps", steps},
                                    {"training", training}, {"held_out", held_out}});
    }
    return Json(Json::Object{{"rows", list}}).dump();
}

std::string text_page(const std::vector<TextRow>& rows, const std::string& unit) {
    std::string body = curve_chart(rows, unit) + "<pre>" + escaped(text_table(rows, unit)) +
                       "</pre>\n";
    for (const TextRow& row : rows)
        body += "<h3>" + escaped(row.method) + " writes</h3>\n<pre>" + printable(row.sample) +
                "</pre>\n";
    return html_page("A Llama, adapted",
                     "One base went on with another text, in each of these ways.", body);
}

}  // namespace slim
