// Reads handwritten digits from pictures: shows each one as the network sees it, and what the
// network takes it for. Or classifies the rows of a CSV file.
//
// run:  build/predict my_seven.png
//       build/predict *.png --base out/base.safetensors --adapter out/lora
//       build/predict new.csv --data train.csv --base out/base.safetensors
//
// For pictures, without --base, it takes the base that the adapter names. Without either, a network
// is trained in a few seconds and kept beside the program. Rows of a CSV file always need --base.
#include <langinfo.h>  // nl_langinfo

#include <algorithm>  // max_element, min, stable_sort
#include <clocale>
#include <cmath>  // cos, lround, sin
#include <cstdio>
#include <filesystem>
#include <numeric>  // iota

#include "apps/experiment.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"
#include "data/csv.h"
#include "data/digit.h"
#include "data/mnist.h"
#include "nn/peft/peft.h"
#include "nn/sequential.h"
#include "nn/state_file.h"
#include "optim/adam.h"
#include "optim/schedule.h"
#include "optim/trainer.h"

namespace slim {

namespace {

// ---- the network --------------------------------------------------------------------------------

// The same digits as other hands might have written them: each one turned, slanted, stretched and
// moved a little. MNIST's writers were few, and all wrote on the same form; strangers do not.
DataSet distorted(const DataSet& set, Rng& rng) {
    DataSet result = set;
    for (int64_t i = 0; i < set.count; i++) {
        const double turn = rng.uniform(-0.2, 0.2);  // radians
        const double slant = rng.uniform(-0.2, 0.2);
        const double tall = rng.uniform(0.9, 1.1), wide = rng.uniform(0.9, 1.1);
        const double down = rng.uniform(-1.5, 1.5), right = rng.uniform(-1.5, 1.5);
        Warp warp{.yy = tall * std::cos(turn), .yx = wide * std::sin(turn),
                  .xy = tall * (slant - std::sin(turn)), .xx = wide * std::cos(turn)};
        warp.down = -warp.yy * down - warp.yx * right;
        warp.right = -warp.xy * down - warp.xx * right;
        warp_image(&set.pixels[size_t(i * set.features())],
                   &result.pixels[size_t(i * set.features())], set.rows, set.cols, warp);
    }
    return result;
}

// Trains the model on MNIST, each epoch on new distortions of it. The learning rate falls to zero.
void train_base(Module& model, const std::string& data) {
    const int epochs = 5;
    const DataSet images = load_mnist(data, Split::kTrain), test = load_mnist(data, Split::kTest);
    Rng rng(1);
    Adam adam(model.parameters(), {.lr = 0.003});
    TrainOptions options{.epochs = 1, .batch_size = 128, .shuffle = true, .show_progress = false};
    const int64_t steps = (images.count + options.batch_size - 1) / options.batch_size;
    for (int epoch = 0; epoch < epochs; epoch++) {
        options.schedule = [&](int64_t step) {
            return cosine_with_warmup(
                epoch * steps + step,
                {.warmup = std::min<int64_t>(100, steps), .total = epochs * steps});
        };
        const TrainReport report = train(model, adam, distorted(images, rng), rng, options);
        check(!report.interrupted, "stopped by a signal before the network was trained");
        std::fprintf(stderr, "  epoch %d/%d  accuracy %.2f %%\n", epoch + 1, epochs,
                     100 * report.epochs[0].accuracy);
    }
    std::fprintf(stderr, "  of MNIST's test digits it reads %.2f %%\n",
                 100 * evaluate(model, test).accuracy);
}

// The network that is kept in the file; it is trained first if there is none, or not a fitting one.
void load_or_train(Module& model, const std::string& path, const std::string& data) {
    std::string why = path + ": there is no such file yet";
    if (file_exists(path)) {
        try {
            return load_parameters(model, path);
        } catch (const Error& e) {
            why = e.what();
        }
    }
    std::fprintf(stderr, "%s; training a network on %s, once\n", why.c_str(), data.c_str());
    train_base(model, data);
    try {
        save_parameters(model, path);
        std::fprintf(stderr, "%s: written, for the next time\n", path.c_str());
    } catch (const Error& e) {  // not our folder: go on without the file
        std::fprintf(stderr, "%s\n", e.what());
    }
}

// A file in the folder that this program is in.
std::string beside_program(const std::string& name) {
    std::error_code error;
    return (std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / name).string();
}

// An adapter belongs to the base that it was trained on. Its folder may say which that is.
std::string base_of(const LoadedAdapter& adapter) {
    const Json* name = adapter.json.find("base_model_name_or_path");
    const auto* path = name ? std::get_if<std::string>(&name->value) : nullptr;
    if (path && file_exists(*path)) return *path;
    std::fprintf(stderr, "%s: an adapter fits only the base that it was trained on, which is not "
                 "known or not there. hint: name it with --base\n", adapter.folder.c_str());
    return "";
}

// ---- what is shown ------------------------------------------------------------------------------

bool terminal_knows_utf8() {
    std::setlocale(LC_CTYPE, "");
    return std::string(nl_langinfo(CODESET)) == "UTF-8";
}

// The digit in 14 lines of 28 characters, two pixels above each other in one: as half blocks, or in
// plain ASCII as one of ten shades.
std::vector<std::string> draw(const Bytes& digit, bool ascii) {
    static const char* const halves[] = {" ", "▄", "▀", "█"};
    std::vector<std::string> lines;
    for (int64_t r = 0; r < kDigitSide; r += 2) {
        std::string& line = lines.emplace_back();
        for (int64_t c = 0; c < kDigitSide; c++) {
            const int upper = digit[size_t(r * kDigitSide + c)];
            const int lower = digit[size_t((r + 1) * kDigitSide + c)];
            if (ascii) line += " .:-=+*#%@"[(upper + lower) * 10 / 511];
            else line += halves[2 * (upper >= 128) + (lower >= 128)];
        }
    }
    return lines;
}

// "7  ################      80.1 %"
std::string bar(int digit, double probability, bool ascii) {
    const int width = 20, filled = int(std::lround(width * probability));
    std::string line = std::to_string(digit) + "  ";
    for (int i = 0; i < width; i++) line += i >= filled ? " " : ascii ? "#" : "█";
    char percent[16];
    std::snprintf(percent, sizeof percent, " %5.1f %%", 100 * probability);
    return line + percent;
}

// The probability of each of the ten digits, for one image [28, 28].
std::vector<real> probabilities(Module& model, const Bytes& digit) {
    const NoGrad no_grad;
    const DataSet one{digit, {0}, 1, kDigitSide, kDigitSide};
    return softmax(model(batch_of(one, 0, 1).x)).to_vector();
}

// A line for each row of a CSV file, which may have labels. Its columns are scaled as those of the
// training set were.
void predict_rows(const std::string& path, Module& model, int64_t inputs,
                  const TaskOptions& options) {
    const NoGrad no_grad;
    const CsvTable table = read_csv(path, options.label);
    check(options.scale == "none" || options.is_csv(),
          "--data: is not the CSV file that the network was ",
          "trained on, which says how columns are scaled. hint: name it, or give --scale none");
    CsvTable like{.path = options.data, .cols = inputs + 1, .classes = table.classes};
    like.label_column = std::max<int64_t>(0, table.label_column);
    if (options.is_csv()) like = read_csv(options.data, options.label);
    check(like.cols == inputs + 1, options.data, ": ", like.cols - 1,
          " measurements in a row; the network takes ", inputs);
    DataSet rows = labelled_rows(arranged(table, like));
    if (options.scale != "none") {
        DataSet train = labelled_rows(like);
        scale_columns(train, rows, options.scale);
    }
    const Tensor p = softmax(model(batch_of(rows, 0, rows.count).x));
    const std::vector<int> best = argmax_rows(p);
    for (int64_t i = 0; i < rows.count; i++) {
        const size_t k = size_t(best[size_t(i)]);
        std::printf("%s:%ld: %s %.1f %%\n", path.c_str(), long(table.lines[size_t(i)]),
                    k < like.classes.size() ? like.classes[k].c_str() : to_text(k).c_str(),
                    100 * double(p.at({i, int64_t(k)})));
    }
}

// The drawing, and beside it the three digits that the network finds most probable.
void show(const std::string& name, const Bytes& digit, const std::vector<real>& probability,
          bool ascii) {
    std::vector<int> order(probability.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
        return probability[size_t(a)] > probability[size_t(b)];
    });
    std::printf("%s: %d\n", name.c_str(), order[0]);
    const std::vector<std::string> lines = draw(digit, ascii);
    for (size_t i = 0; i < lines.size(); i++) {
        const bool has_bar = i >= 5 && i < 8;
        const int candidate = has_bar ? order[i - 5] : 0;
        std::printf("  %s  %s\n", lines[i].c_str(),
                    has_bar ? bar(candidate, probability[size_t(candidate)], ascii).c_str() : "");
    }
    std::printf("\n");
}

}  // namespace

int predict(int argc, char** argv) {
    std::string base, adapter;
    TaskOptions task;
    bool ascii = false, brief = false;
    Options options(
        "Reads the handwritten digit in each picture, PNG or JPEG, one digit a picture,\n"
        "or the rows of a CSV file:\n"
        "  predict IMAGE...\n"
        "  predict ROWS.csv --data TRAINING.csv --base FILE");
    options.add("base", base, "parameters of the network, as mnist --save writes them", "FILE");
    options.add("adapter", adapter, "attach this adapter to it", "DIR");
    options.add("data", task.data, "for pictures: MNIST, to train on if there is no base; for "
                "rows: the CSV file that the adapter or, without one, the base was trained on",
                "PATH");
    options.add("label", task.label, "the column of labels in it, else the first", "NAME");
    options.add_choice("scale", task.scale, "how its columns were scaled", "standard|unit|none");
    options.add("brief", brief, "one line per picture, without the drawing");
    options.add("ascii", ascii, "draw with plain ASCII characters");
    const std::vector<std::string> paths = options.parse(argc, argv);
    check(!paths.empty(),
          "no picture was named. hint: try it with tests/pictures/3_white_on_black.png");
    ascii = ascii || !terminal_knows_utf8();

    // Look at all pictures first, so that a wrong name is an error before the training.
    std::vector<std::pair<std::string, Bytes>> digits;  // no pixels: a CSV file
    for (const std::string& path : paths) {
        try {
            if (path.ends_with(".csv")) {
                read_csv(path, task.label);
                check(!base.empty(), path, ": rows need a network of their own. hint: give --base "
                      "FILE, the file that mnist --save wrote");
                digits.emplace_back(path, Bytes());
                continue;
            }
            const GreyImage picture = read_image(path);
            digits.emplace_back(path, digit_from_image(picture, path));
            if (const std::string doubt = doubt_about(picture, path); !doubt.empty())
                std::fprintf(stderr, "%s: warning: %s\n", path.c_str(), doubt.c_str());
        } catch (const Error& e) {
            std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
        }
    }
    if (digits.empty()) return 1;

    Rng rng(1);
    LoadedAdapter loaded;
    if (!adapter.empty()) loaded = load_adapter(adapter);
    if (!adapter.empty() && base.empty()) base = base_of(loaded);
    std::vector<int64_t> widths{kDigitSide * kDigitSide, 128, 256, 10};
    if (!base.empty()) widths = perceptron_widths(base);
    MLP model(widths, rng);
    if (!base.empty()) load_parameters(model, base);
    else load_or_train(model, beside_program("predict_base.safetensors"), task.data);
    if (!adapter.empty()) attach_adapter(model, loaded, rng);
    model.eval();

    for (const auto& [path, digit] : digits) {
        if (digit.empty()) {
            predict_rows(path, model, widths.front(), task);
            continue;
        }
        check(widths.front() == int64_t(digit.size()), base, ": a network of ", widths.front(),
              " inputs; pictures become ", digit.size(),
              " pixels. hint: train it on images of 28 x 28");
        const std::vector<real> p = probabilities(model, digit);
        const auto best = std::max_element(p.begin(), p.end());
        if (brief)
            std::printf("%s: %ld %.1f %%\n", path.c_str(), long(best - p.begin()),
                        100 * double(*best));
        else show(path, digit, p, ascii);
    }
    return digits.size() == paths.size() ? 0 : 1;
}

}  // namespace slim
