// A change of task. See shift.h.
#include "apps/shift.h"

#include <algorithm>  // find
#include <cstdio>

#include "apps/report/drawing.h"  // format

namespace slim {

namespace {

const char* const kMethods[] = {"scratch", "full", "lora", "dora"};
constexpr double kRates[] = {0.0005, 0.001, 0.002, 0.005, 0.01};

// The rate with the best accuracy on the held-out rows, which are every sixth. Runs that collapsed
// do not count.
double best_rate(MLP& base, Adaptation how, const DataSet& rows, Rng rng) {
    std::vector<int64_t> kept, held_out;
    for (int64_t i = 0; i < rows.count; i++) (i % 6 == 5 ? held_out : kept).push_back(i);
    const Task task{take_rows(rows, kept), take_rows(rows, held_out)};
    double best = 0, best_accuracy = -1;
    how.label.clear();
    std::printf("  %s on %ld held-out rows:", how.method.c_str(), long(task.test.count));
    for (double rate : kRates) {
        how.lr = rate;
        const Row row = adapt(base, how, task, nullptr, rng);
        std::printf("  lr %g %s", rate,
                    row.collapsed ? "collapsed"
                                  : format("%.2f %%", 100 * row.test_accuracy).c_str());
        std::fflush(stdout);
        if (row.collapsed || row.test_accuracy <= best_accuracy) continue;
        best = rate;
        best_accuracy = row.test_accuracy;
    }
    check(best > 0, how.method, ": collapsed at every learning rate of the sweep");
    std::printf("  -> lr %g\n", best);
    return best;
}

}  // namespace

std::vector<Row> compare_on_shifts(MLP& base, const Task& old, const ShiftOptions& o,
                                   int64_t seed) {
    std::vector<Row> rows;
    for (const std::string& shift : o.shifts) {
        const Task all = shifted(old, o.data, shift);
        for (int64_t samples : o.samples) {
            const Task task{sample_rows(all.train, samples, seed), all.test};
            const std::string name = shift + ", " + to_text(task.train.count) + " samples";
            std::printf("\n%s\n", name.c_str());
            Row row{.method = "base", .task = name};
            row.seed = seed;
            row.test_accuracy = evaluate(base, task.test).accuracy;
            row.old_accuracy = evaluate(base, old.test).accuracy;
            rows.push_back(row);
            for (const std::string method : kMethods) {
                const bool adapter = method == "lora" || method == "dora";
                Adaptation how{.method = method, .config = o.config(method),
                               .lr = adapter ? o.lr_adapter : o.lr_full, .epochs = o.epochs,
                               .batch = o.batch,
                               .label = method + std::string(8 - method.size(), ' ')};
                const Rng rng{uint64_t(seed) * 10 + uint64_t(method[0])};
                if (o.sweep) how.lr = best_rate(base, how, task.train, rng);
                rows.push_back(adapt(base, how, task, &old.test, rng));
                rows.back().seed = seed;
                rows.back().task = name;
            }
        }
    }
    return rows;
}

void print_shift_tables(const std::vector<Row>& rows) {
    std::vector<std::string> tasks;
    for (const Row& row : rows)
        if (!row.task.empty() && std::find(tasks.begin(), tasks.end(), row.task) == tasks.end())
            tasks.push_back(row.task);
    for (const std::string& task : tasks) {
        std::printf("\n%s\n%-8s %9s %8s %10s %10s %13s %9s %10s\n", task.c_str(), "method",
                    "trainable", "lr", "new task %", "old task %", "adapter off %", "seconds",
                    "collapsed");
        for (const std::string method : {"base", "scratch", "full", "lora", "dora"}) {
            std::vector<Row> runs;
            double seconds = 0;
            for (const Row& row : rows)
                if (row.task == task && row.method == method) {
                    runs.push_back(row);
                    for (const EpochReport& e : row.epochs) seconds += e.seconds;
                }
            if (runs.empty()) continue;
            const Spread now = spread_of(runs, &Row::test_accuracy);
            const auto percent = [&](double value, bool there) {
                return there && now.count ? format("%.2f", 100 * value) : std::string("-");
            };
            const Row& first = runs[0];
            const std::string fresh = percent(now.mean, true) +
                (now.count > 1 ? format("+-%.2f", 100 * now.deviation) : "");
            std::printf("%-8s %9ld %8g %10s %10s %13s %9.1f %7ld/%zu\n", method.c_str(),
                        long(first.parameters.trainable), first.lr, fresh.c_str(),
                        percent(spread_of(runs, &Row::old_accuracy).mean,
                                method != "scratch").c_str(),
                        percent(spread_of(runs, &Row::off_accuracy).mean,
                                method == "lora" || method == "dora").c_str(),
                        seconds / double(runs.size()), long(now.collapsed), runs.size());
        }
    }
}

}  // namespace slim
