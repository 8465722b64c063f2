// Two studies of adapters on a changed task, as CSV files and a page of pictures.
//
// run:  build/study rank      how accuracy depends on the rank: the DoRA paper says that DoRA keeps
//                             its accuracy at low ranks, where LoRA does not
//       build/study weights   what training does to the magnitude and the direction of each row of
//                             a weight (the DoRA paper, section 3.2 and figure 2), and the singular
//                             values of the change
#include <algorithm>  // max, sort
#include <cmath>      // fabs, sqrt
#include <cstdio>
#include <map>

#include "apps/experiment.h"
#include "apps/report/drawing.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "nn/adapters/lora.h"
#include "nn/linear.h"
#include "nn/state_file.h"
#include "optim/adam.h"

namespace slim {

namespace {

struct Settings {
    TaskOptions task;
    std::string shift = "rotate:45", ranks = "1,2,4,8,16,32,64", base, out = "out/study";
    int64_t seeds = 5, epochs = 3, samples = 10000, rank = 4, checkpoints = 6;
    double lr = 0.005, lr_full = 0.002;
};

AdapterConfig config_of(const std::string& method, int64_t rank) {
    // alpha = 2 rank keeps the scaling, alpha / rank, the same for all ranks, as the paper does.
    return {.method = method == "dora" ? Method::kDoRA : Method::kLoRA, .rank = rank,
            .alpha = 2 * double(rank)};
}

std::shared_ptr<MLP> make_base(const Settings& s, const Task& task) {
    Rng rng(1);
    if (!s.base.empty()) {
        auto base = std::make_shared<MLP>(perceptron_widths(s.base), rng);
        load_parameters(*base, s.base);
        return base;
    }
    auto base = std::make_shared<MLP>(
        std::vector<int64_t>{task.train.features(), 128, 256, task.classes()}, rng);
    Adam adam(base->parameters(), {.lr = s.lr_full});
    const TrainReport report = train(*base, adam, task.train, rng,
                                     {.epochs = 5, .shuffle = true, .label = "base "});
    check(!report.interrupted, "stopped by a signal; nothing was saved");
    return base;
}

// ---- rank ---------------------------------------------------------------------------------------

std::string rank_chart(const std::map<std::string, std::map<int64_t, Spread>>& results) {
    Range xs, ys;
    for (const auto& [method, ranks] : results)
        for (const auto& [rank, spread] : ranks) {
            if (spread.count == 0) continue;
            xs.include(double(rank));
            ys.include(100 * spread.low);
            ys.include(100 * spread.high);
        }
    if (xs.low > xs.high) return "";  // all collapsed
    ys.pad(0.06);
    const Ruler x{xs.low / 1.15, xs.high * 1.15, kLeft, kRight - 24, true};
    const Ruler y{ys.low, ys.high, kBottom, kTop};
    std::string svg = open_svg(kWidth, kHeight, "accuracy by rank") +
                      axes(x, y, 1, 0.1, "rank (log scale)",
                           "new task (test accuracy, %; mean, lowest and highest)");
    std::vector<Name> names;
    for (const auto& [method, ranks] : results) {
        const Look look = look_of(method);
        const double aside = method == "dora" ? 2 : -2;  // so that the bars do not hide each other
        std::string line, marks;
        double end = 0;
        for (const auto& [rank, spread] : ranks) {
            if (spread.count == 0) continue;
            const double px = x.at(double(rank)) + aside;
            end = y.at(100 * spread.mean);
            line += format("%c%.1f %.1f", line.empty() ? 'M' : 'L', px, end);
            marks += format("<path class=\"curve\" d=\"M%.1f %.1fV%.1f\"/>", px,
                            y.at(100 * spread.low), y.at(100 * spread.high)) +
                     marker(look.marker, px, end,
                            look.name + format(", rank %ld: %.2f %%", long(rank),
                                               100 * spread.mean));
        }
        svg += curve(look, line, marks);
        names.push_back({kRight - 26, end + (method == "dora" ? -2 : 10), look});
    }
    return "<figure>" + svg + end_names(names) + "</svg>\n</figure>\n";
}

void rank_study(const Settings& s, MLP& base, const Task& task) {
    std::string csv = "method,rank,seed,accuracy,trained,collapsed\n";
    std::map<std::string, std::map<int64_t, Spread>> results;
    std::printf("\n%-6s %5s %8s %8s %8s %8s %10s\n", "method", "rank", "mean %", "std", "lowest %",
                "highest %", "collapsed");
    for (int64_t rank : whole_numbers(s.ranks, "--ranks"))
        for (const std::string method : {"lora", "dora"}) {
            std::vector<Row> rows;
            for (int64_t seed = 1; seed <= s.seeds; seed++) {
                rows.push_back(adapt(base, {.method = method, .config = config_of(method, rank),
                                            .lr = s.lr, .epochs = s.epochs},
                                     task, nullptr, Rng(uint64_t(seed))));
                csv += method + format(",%ld,%ld,%.4f,%ld,%d\n", long(rank), long(seed),
                                       rows.back().test_accuracy,
                                       long(rows.back().parameters.trainable),
                                       int(rows.back().collapsed));
            }
            const Spread spread = spread_of(rows, &Row::test_accuracy);
            results[method][rank] = spread;
            std::printf("%-6s %5ld %8.2f %8.2f %8.2f %8.2f %7ld/%zu\n", method.c_str(), long(rank),
                        100 * spread.mean, 100 * spread.deviation, 100 * spread.low,
                        100 * spread.high, long(spread.collapsed), rows.size());
            std::fflush(stdout);
        }
    const std::string page = html_page(
        "Accuracy by rank", to_text(task.train.count) + " samples of " + s.shift + ", " +
        to_text(s.epochs) + " epochs, " + to_text(s.seeds) + " seeds, learning rate " +
        to_text(s.lr) + ", alpha = 2 rank. The bars reach from the lowest to the highest seed.",
        rank_chart(results));
    write_files({{s.out + "/rank.csv", {csv}}, {s.out + "/rank.html", {page}}});
    std::printf("\n%s/rank.html, rank.csv: written\n", s.out.c_str());
}

// ---- weights ------------------------------------------------------------------------------------

// The weights that the layers compute with: of an adapted layer, the merged one.
std::map<std::string, Tensor> weights_of(MLP& model) {
    const NoGrad no_grad;
    std::map<std::string, Tensor> weights;
    for (const NamedModule& m : model.named_modules()) {
        if (auto* adapter = dynamic_cast<LinearAdapter*>(m.module))
            weights[m.name] = adapter->merged_weight();
        else if (auto* linear = dynamic_cast<Linear*>(m.module);
                 linear && !m.name.ends_with(".linear"))
            weights[m.name] = clone(linear->weight);
    }
    return weights;
}

// How far training has moved a weight: means over its rows.
struct Move {
    std::string layer;
    int64_t checkpoint;
    double magnitude;  // of | |w'| - |w| |
    double direction;  // of 1 - cos(w', w)
};

Move move_of(const Tensor& before, const Tensor& after) {
    Move move{};
    const int64_t rows = before.size(0), cols = before.size(1);
    for (int64_t j = 0; j < rows; j++) {
        double b = 0, a = 0, dot = 0;
        for (int64_t k = j * cols; k < (j + 1) * cols; k++) {
            const double x = double(before.data()[k]), y = double(after.data()[k]);
            b += x * x;
            a += y * y;
            dot += x * y;
        }
        move.magnitude += std::fabs(std::sqrt(a) - std::sqrt(b)) / double(rows);
        move.direction += (a > 0 && b > 0 ? 1 - dot / std::sqrt(a * b) : 0) / double(rows);
    }
    return move;
}

double correlation(const std::vector<Move>& moves) {
    double x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    for (const Move& m : moves) {
        x += m.direction;
        y += m.magnitude;
        xx += m.direction * m.direction;
        yy += m.magnitude * m.magnitude;
        xy += m.direction * m.magnitude;
    }
    const double n = double(moves.size());
    return (n * xy - x * y) / std::sqrt((n * xx - x * x) * (n * yy - y * y));
}

// One-sided Jacobi: turns pairs of rows until all are orthogonal. Their lengths are then the
// singular values, here the largest first.
std::vector<double> singular_values(const Tensor& matrix) {
    const Tensor thin = matrix.size(0) <= matrix.size(1) ? matrix : transpose(matrix);
    const int64_t rows = thin.size(0), cols = thin.size(1);
    std::vector<double> v(thin.data(), thin.data() + thin.size());
    const auto dot = [&](int64_t i, int64_t j) {
        double sum = 0;
        for (int64_t k = 0; k < cols; k++) sum += v[size_t(i * cols + k)] * v[size_t(j * cols + k)];
        return sum;
    };
    for (bool turned = true; turned;) {
        turned = false;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = i + 1; j < rows; j++) {
                const double a = dot(i, i), b = dot(j, j), c = dot(i, j);
                if (std::fabs(c) <= 1e-9 * std::sqrt(a * b) + 1e-14) continue;
                turned = true;
                const double z = (b - a) / (2 * c);
                const double t = (z < 0 ? -1 : 1) / (std::fabs(z) + std::sqrt(1 + z * z));
                const double cos = 1 / std::sqrt(1 + t * t), sin = cos * t;
                for (int64_t k = 0; k < cols; k++) {
                    double& x = v[size_t(i * cols + k)];
                    double& y = v[size_t(j * cols + k)];
                    const double old = x;
                    x = cos * old - sin * y;
                    y = sin * old + cos * y;
                }
            }
    }
    std::vector<double> values;
    for (int64_t i = 0; i < rows; i++) values.push_back(std::sqrt(dot(i, i)));
    std::sort(values.rbegin(), values.rend());
    return values;
}

std::string move_chart(const std::string& method, const std::vector<Move>& moves) {
    Range xs, ys;
    for (const Move& m : moves) {
        xs.include(m.direction);
        ys.include(m.magnitude);
    }
    xs.pad(0.06);
    ys.pad(0.06);
    const Ruler x{xs.low, xs.high, kLeft, kRight}, y{ys.low, ys.high, kBottom, kTop};
    const Look look = look_of(method);
    std::string svg = open_svg(kWidth, kHeight, look.name + ": direction and magnitude") +
                      axes(x, y, 0.001, 0.001, "change of direction (mean of 1 - cos)",
                           "change of magnitude (mean over rows)");
    const std::string kinds = "osdt";  // a marker per layer
    std::map<std::string, size_t> layers;
    for (const Move& m : moves) {
        const size_t kind = layers.emplace(m.layer, layers.size()).first->second % kinds.size();
        svg += format("<g class=\"%s\">", look.css) +
               marker(kinds[kind], x.at(m.direction), y.at(m.magnitude),
                      m.layer + format(", checkpoint %ld", long(m.checkpoint))) + "</g>\n";
    }
    return "<figure><h3>" + look.name + format(": correlation %+.2f</h3>\n", correlation(moves)) +
           svg + "</svg>\n</figure>\n";
}

// The largest singular values of one layer's change, each method's divided by its largest.
std::string spectrum_chart(const std::string& layer,
                           const std::map<std::string, std::vector<double>>& spectra) {
    constexpr size_t kShown = 32;
    const Ruler x{0, kShown, kLeft, kRight - 24}, y{1e-3, 1.2, kBottom, kTop, true};
    std::string svg = open_svg(kWidth, kHeight, layer + ": singular values") +
                      axes(x, y, 1, 0.1, "number of the singular value",
                           "singular value of the change / the largest (log scale)");
    std::vector<Name> names;
    for (const auto& [method, values] : spectra) {
        const Look look = look_of(method);
        Name name{0, 0, look};  // below the line's end
        std::string line, marks;
        for (size_t i = 0; i < std::min(kShown, values.size()); i++) {
            const double share = values[i] / values[0];
            if (!(share >= 1e-3)) break;
            const double px = x.at(double(i + 1)), py = y.at(share);
            line += format("%c%.1f %.1f", line.empty() ? 'M' : 'L', px, py);
            marks += marker(look.marker, px, py,
                            look.name + format(", %zu: %.3g", i + 1, values[i]));
            name.x = std::min(px, double(kRight - 34));
            name.y = py + 16;
        }
        svg += curve(look, line, marks);
        names.push_back(name);
    }
    return "<figure><h3>" + escaped(layer) + "</h3>\n" + svg + end_names(names) +
           "</svg>\n</figure>\n";
}

void weight_study(const Settings& s, MLP& base, const Task& task) {
    const std::map<std::string, Tensor> before = weights_of(base);
    std::string csv = "method,layer,checkpoint,magnitude,direction\n";
    std::string singular = "method,layer,number,singular_value\n", charts, spectra_charts;
    std::map<std::string, std::map<std::string, std::vector<double>>> spectra;  // by layer, method
    const int64_t steps = s.epochs * ((task.train.count + 63) / 64);
    std::printf("\n%-6s %12s %12s   %s\n", "method", "test acc. %", "correlation",
                "over layers and checkpoints, of direction and magnitude");
    for (const std::string method : {"full", "lora", "dora"}) {
        std::vector<Move> moves;
        int64_t step = 0, taken = 0;
        const auto look = [&](MLP& model, const BatchReport&) {
            if (++step * s.checkpoints < (taken + 1) * steps) return;
            taken++;
            for (const auto& [layer, weight] : weights_of(model)) {
                Move move = move_of(before.at(layer), weight);
                move.layer = layer;
                move.checkpoint = taken;
                moves.push_back(move);
                csv += method + "," + layer + format(",%ld,%.6g,%.6g\n", long(taken),
                                                     move.magnitude, move.direction);
                if (step < steps) continue;
                std::vector<double> values = singular_values(weight - before.at(layer));
                for (size_t i = 0; i < values.size(); i++)
                    singular += method + "," + layer + format(",%zu,%.6g\n", i + 1, values[i]);
                spectra[layer][method] = std::move(values);
            }
        };
        const Row row = adapt(base, {.method = method, .config = config_of(method, s.rank),
                                     .lr = method == "full" ? s.lr_full : s.lr,
                                     .epochs = s.epochs, .on_batch = look},
                              task, nullptr, Rng(1));
        std::printf("%-6s %12.2f %+12.2f\n", method.c_str(), 100 * row.test_accuracy,
                    correlation(moves));
        std::fflush(stdout);
        charts += move_chart(method, moves);
    }
    for (const auto& [layer, methods] : spectra) spectra_charts += spectrum_chart(layer, methods);
    const std::string page = html_page(
        "What training does to a weight", to_text(task.train.count) + " samples of " + s.shift +
        ", " + to_text(s.epochs) + " epochs, rank " + to_text(s.rank) +
        ". In the paper the correlations are -0.62 (full), +0.83 (LoRA) and -0.31 (DoRA).",
        "<h2>Magnitude and direction</h2>\n<p>A marker for each layer (by its shape) and "
        "checkpoint: how far the rows of its weight have turned, and how far their norms have "
        "changed.</p>\n"
        "<div class=\"two\">\n" + charts + "</div>\n<h2>Singular values of the change</h2>\n"
        "<p>LoRA's change has no more of them than its rank; DoRA's magnitudes add small others; "
        "full tuning uses many.</p>\n<div class=\"two\">\n" + spectra_charts + "</div>\n");
    write_files({{s.out + "/weights.csv", {csv}}, {s.out + "/singular_values.csv", {singular}},
                 {s.out + "/weights.html", {page}}});
    std::printf("\n%s/weights.html, weights.csv, singular_values.csv: written\n", s.out.c_str());
}

}  // namespace

int study(int argc, char** argv) {
    Settings s;
    Options options("Studies adapters on a changed task:\n"
                    "  study rank        accuracy by rank, LoRA and DoRA\n"
                    "  study weights     how training changes magnitude and direction of weights");
    options.add("data", s.task.data, "folder with four IDX files, named as MNIST's are", "PATH");
    options.add("shift", s.shift, "the change: rotate:45, translate:4, invert, fashion, or a "
                "folder of other images", "HOW");
    options.add("ranks", s.ranks, "of study rank: the ranks, separated by commas", "RANKS");
    options.add("rank", s.rank, "of study weights: the adapters' rank", 1, 10000);
    options.add("seeds", s.seeds, "of study rank: runs for each method and rank", 1, 1000);
    options.add("checkpoints", s.checkpoints, "of study weights: how often to look at them", 1,
                1000);
    options.add("epochs", s.epochs, "epochs on the new task", 1, 10000);
    options.add("samples", s.samples, "rows of the new task to train on; 0: all", 0, 1e9);
    options.add("lr", s.lr, "learning rate of LoRA and DoRA", 0, 1e3);
    options.add("lr-full", s.lr_full, "learning rate of full tuning, and of the base", 0, 1e3);
    options.add("base", s.base, "start from these parameters instead of pretraining", "FILE");
    options.add("out", s.out, "folder for the CSV files and the pages", "DIR");
    const std::vector<std::string> words = options.parse(argc, argv);
    const std::string command = words.size() == 1 ? words[0] : "";
    check(!words.empty(), "the study is missing; it must be rank or weights. hint: see --help");
    check(command == "rank" || command == "weights", "got \"", words[0], "\"",
          words.size() > 1 ? " and more" : "", "; it must be rank or weights. hint: see --help");
    whole_numbers(s.ranks, "--ranks");
    const Task old = s.task.load();
    Task task = shifted(old, s.task, s.shift);
    task.train = sample_rows(task.train, std::min(s.samples, task.train.count), 1);
    check_outputs({s.out});
    const std::shared_ptr<MLP> base = make_base(s, old);
    std::printf("base: %.2f %% on the old task, %.2f %% on %s\n",
                100 * evaluate(*base, old.test).accuracy, 100 * evaluate(*base, task.test).accuracy,
                s.shift.c_str());
    if (command == "rank") rank_study(s, *base, task);
    else weight_study(s, *base, task);
    return 0;
}

}  // namespace slim
