// Loads and changes tasks, and trains one copy of a base. See experiment.h.
#include "apps/experiment.h"

#include <algorithm>  // max, min
#include <cmath>      // sqrt
#include <filesystem>  // is_directory, is_regular_file

#include "data/csv.h"
#include "data/mnist.h"
#include "nn/linear.h"
#include "optim/adam.h"

namespace slim {

// ---- tasks --------------------------------------------------------------------------------------

void TaskOptions::add_to(Options& options) {
    options.add("data", data, "folder with four IDX files, named as MNIST's are, or a CSV file",
                "PATH");
    options.add("test", test, "CSV file to test on; else a fifth of --data's rows", "FILE");
    options.add("label", label, "the column of a CSV file that holds the labels, whole numbers or "
                "names; else the first", "NAME");
    options.add_choice("scale", scale, "scale a CSV file's columns to mean 0 and deviation 1 "
                       "(standard), or to 0 .. 1 (unit)", "standard|unit|none");
}

bool TaskOptions::is_csv() const {
    return data.ends_with(".csv") || std::filesystem::is_regular_file(data);
}

Task TaskOptions::load() const {
    Task task;
    if (is_csv()) {
        const auto read = [&](const std::string& path) {
            CsvTable rows = read_csv(path, label);
            labelled_rows(rows);  // throws if they have no labels
            return rows;
        };
        CsvTable rows = read(data);
        if (!like.empty()) rows = arranged(rows, read_csv(like, label));
        task.train = labelled_rows(rows);
        if (!test.empty()) task.test = labelled_rows(arranged(read(test), rows));
    } else {
        check(test.empty() && label.empty(), "--test, --label: are for CSV files, and --data ",
              data, " is none. hint: name a CSV file with --data");
        task = {load_mnist(data, Split::kTrain), load_mnist(data, Split::kTest)};
    }
    const bool split = task.test.count == 0;
    const auto size = [](const DataSet& set) {
        return to_text(set.rows) + " x " + to_text(set.cols) +
               (set.pixels.empty() ? " measurements" : " pixels");
    };
    check(split || size(task.train) == size(task.test), data, ": the rows to train on have ",
          size(task.train), ", those to test on ", size(task.test), "; they must be the same");
    if (task.train.pixels.empty() && scale != "none") scale_columns(task.train, task.test, scale);
    if (!split) return task;

    check(task.train.count >= 5, data, ": too few rows to train and test on: ", task.train.count,
          "; there must be 5 or more. hint: name a test file with --test");
    Rng rng(1);
    const std::vector<int64_t> order = rng.permutation(task.train.count);
    const auto fifth = order.begin() + task.train.count / 5;
    return {take_rows(task.train, {fifth, order.end()}),
            take_rows(task.train, {order.begin(), fifth})};
}

Task shifted(const Task& task, const TaskOptions& options, const std::string& how) {
    if (how == "fashion")
        check(std::filesystem::is_directory("data/fashion"),
              "data/fashion: there is no such folder. hint: make data-fashion");
    else if (how.find('/') == how.npos && !how.ends_with(".csv") && !std::filesystem::exists(how))
        return {shifted(task.train, how), shifted(task.test, how)};
    TaskOptions other = options;
    other.data = how == "fashion" ? "data/fashion" : how;
    other.test.clear();
    check(other.is_csv() == options.is_csv(), "--shift ", how, ": is ",
          other.is_csv() ? "a CSV file" : "not a CSV file", ", and --data ", options.data,
          options.is_csv() ? " is one" : " is not");
    if (other.is_csv()) other.like = options.data;
    const Task changed = other.load();
    check(changed.train.features() == task.train.features(), "--shift ", how, ": its images have ",
          changed.train.features(), " pixels, those of --data ", task.train.features());
    return changed;
}

DataSet sample_rows(const DataSet& set, int64_t count, int64_t seed) {
    if (count == 0) return set;
    check(count <= set.count, "--samples ", count, ": there are only ", set.count, " rows");
    Rng rng{uint64_t(seed)};
    std::vector<int64_t> order = rng.permutation(set.count);
    order.resize(size_t(count));
    return take_rows(set, order);
}

std::vector<int64_t> whole_numbers(const std::string& list, const std::string& option) {
    std::vector<int64_t> numbers;
    for (const std::string& part : split_list(list)) {
        check(!part.empty() && part.size() < 10 &&
                  part.find_first_not_of("0123456789") == std::string::npos && std::stoll(part) > 0,
              option, ": got \"", list, "\"; it must be whole numbers from 1 on, such as 128,256");
        numbers.push_back(std::stoll(part));
    }
    return numbers;
}

// ---- models -------------------------------------------------------------------------------------

std::vector<int64_t> widths_of(MLP& model) {
    std::vector<int64_t> widths;
    for (const NamedModule& m : model.named_modules())
        if (const auto* linear = dynamic_cast<const Linear*>(m.module)) {
            if (widths.empty()) widths.push_back(linear->in_features());
            widths.push_back(linear->out_features());
        }
    return widths;
}

std::shared_ptr<MLP> copy_of(MLP& model, Rng& rng) {
    auto copy = std::make_shared<MLP>(widths_of(model), rng);
    copy->load_state_dict(model.state_dict());
    return copy;
}

Row adapt(MLP& base, const Adaptation& how, const Task& task, const DataSet* old_test, Rng rng) {
    auto model = how.method == "scratch" ? std::make_shared<MLP>(widths_of(base), rng)
                                         : copy_of(base, rng);
    AdapterSet adapters(*model);
    if (how.method == "lora" || how.method == "dora") adapters.add(how.method, how.config, rng);
    Adam adam(model->parameters(), {.lr = how.lr});
    TrainOptions options{.epochs = int(how.epochs), .batch_size = how.batch, .shuffle = true};
    options.show_progress = !how.label.empty();
    options.label = how.label.c_str();
    if (how.on_batch)
        options.on_batch = [&](const BatchReport& batch) { how.on_batch(*model, batch); };
    const TrainReport report = train(*model, adam, task.train, rng, options);
    check(!report.interrupted, "stopped by a signal; this training was not saved");

    Row row{.method = how.method, .parameters = count_parameters(*model)};
    row.test_accuracy = evaluate(*model, task.test).accuracy;
    row.lr = how.lr;
    row.samples = task.train.count;
    row.rank = how.config.rank;
    row.epochs = report.epochs;
    row.collapsed = report.collapsed;
    row.seconds_per_epoch = report.seconds_per_epoch();
    if (!old_test) return row;
    row.old_accuracy = evaluate(*model, *old_test).accuracy;
    if (adapters.active().empty()) return row;
    adapters.disable();
    row.off_accuracy = evaluate(*model, *old_test).accuracy;
    return row;
}

Spread spread_of(const std::vector<Row>& rows, double Row::*value) {
    Spread s{.low = INFINITY, .high = -INFINITY};
    double sum = 0, squares = 0;
    for (const Row& row : rows) {
        s.collapsed += row.collapsed;
        if (row.collapsed) continue;
        s.count++;
        sum += row.*value;
        squares += row.*value * (row.*value);
        s.low = std::min(s.low, row.*value);
        s.high = std::max(s.high, row.*value);
    }
    if (s.count == 0) return {.collapsed = s.collapsed};
    const double n = double(s.count);
    s.mean = sum / n;
    if (s.count > 1) s.deviation = std::sqrt(std::max(0.0, (squares - sum * s.mean) / (n - 1)));
    return s;
}

}  // namespace slim
