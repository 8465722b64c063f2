// The program mnist, called inside of this process: what it trains, writes, and refuses.
#include <algorithm>  // count

#include "apps/experiment.h"
#include "apps/report/drawing.h"  // format
#include "data/json.h"
#include "nn/peft/peft.h"
#include "nn/state_file.h"
#include "tests/apps/run.h"
#include "tests/data/write_idx.h"
#include "tests/testing.h"

namespace slim {

int mnist(int argc, char** argv);

namespace {

using Arguments = std::vector<std::string>;

// Four IDX files: images of 4 x 4 pixels in `classes` classes, told apart by a bright pixel.
struct SmallImages : ScratchFolder {
    explicit SmallImages(int classes = 10, char side = 4) {
        Rng rng(1);
        for (const std::string part : {"train", "t10k"}) {
            const int count = part == "train" ? 200 : 100;
            std::string pixels, labels;
            for (int i = 0; i < count; i++) {
                labels += char(i % classes);
                for (int k = 0; k < side * side; k++)
                    pixels += char(k == i % classes ? 255 : rng.below(60));
            }
            write_idx(*this / part + "-images-idx3-ubyte", {count, side, side}, pixels);
            write_idx(*this / part + "-labels-idx1-ubyte", {count}, labels);
        }
    }
};

Finished mnist_on(const std::string& data, const Arguments& more, bool quick = true) {
    Arguments arguments{"--data", data};
    if (quick) arguments.insert(arguments.end(), {"--epochs", "2", "--hidden", "16,12"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return call(mnist, arguments);
}

void check_refused(const Finished& done, const Arguments& words) {
    CHECK(done.status == 1);
    CHECK(done.out.find("epoch") == std::string::npos);  // nothing was trained
    check_words(done.err, words);
}

}  // namespace

TEST_CASE("mnist: compares the methods; writes parameters, adapters, figures and a report") {
    const SmallImages data;
    const ScratchFolder out;
    const Finished done = mnist_on(
        data.path, {"--preset", "peft", "--lr", "0.02", "--save", out / "s", "--save-adapter",
                    out / "a", "--json", out / "rows.json", "--report", out / "r"});
    INFO(done.out << done.err);
    REQUIRE(done.status == 0);
    check_words(done.out, {"Linear(in_features=16, out_features=16", "trainable params:",
                           "\nbase ", "\nfull ", "\nlora ",
                           "\ndora ", "index.html: written"});
    const std::string rows_path = out / "rows.json";
    const Json json = parse_json(text_of(rows_path), rows_path);
    const Json::List& rows = json.at("rows", "").as_list("");
    REQUIRE(rows.size() == 4);
    for (const Json& row : rows) {
        CHECK(row.at("epochs", "").as_list("").size() == 2);
        CHECK(row.at("epochs", "").as_list("")[1].at("loss", "").as_double("") > 0);
    }
    CHECK(rows[0].at("trainable", "").as_int("") == 16 * 16 + 16 + 16 * 12 + 12 + 12 * 10 + 10);

    const std::string page = text_of(out / "r/index.html");
    check_words(page, {"A perceptron 16-16-12-10 is pretrained on " + data.path,
                       "2 epochs further"});
    CHECK(page.find("MNIST") == std::string::npos);
    const std::string csv = text_of(out / "r/epochs.csv");
    CHECK(csv.starts_with("method,seed,task,epoch,loss,accuracy,test_accuracy,seconds\nbase,1,"));
    CHECK(std::count(csv.begin(), csv.end(), '\n') == 1 + 4 * 2);

    // The base, and the merged models, are perceptrons that can be read.
    for (const std::string method : {"base", "full", "lora", "dora"})
        CHECK(perceptron_widths(out / "s/" + method + ".safetensors") ==
              std::vector<int64_t>{16, 16, 12, 10});
    const Json& dora = rows[3];
    const Finished merged = mnist_on(data.path, {"--base", out / "s/dora.safetensors", "--method",
                                                 "base"}, false);
    const std::string accuracy =
        format("%.2f", 100 * dora.at("test_accuracy", "").as_double(""));
    check_words(merged.out, {"base ", accuracy});

    // An adapter names its base, so --base is not needed; with --method it is trained further.
    const Finished with = mnist_on(data.path, {"--adapter", out / "a/dora", "--method", "base"},
                                   false);
    INFO(with.err);
    CHECK(with.status == 0);
    check_words(with.out, {"\nadapter ", accuracy});
    const Finished further = mnist_on(
        data.path, {"--adapter", out / "a/dora", "--method", "dora", "--save-adapter", out / "b",
                    "--preset", "peft"});
    INFO(further.err);
    CHECK(further.status == 0);
    CHECK(load_adapter(out / "b").json.at("base_model_name_or_path", "").as_string("") ==
          out / "s/base.safetensors");
    check_refused(mnist_on(data.path, {"--adapter", out / "a/dora", "--method", "lora"}),
                  {"of the other kind", "--method dora"});
    std::filesystem::remove(out / "s/base.safetensors");
    check_refused(mnist_on(data.path, {"--adapter", out / "a/dora"}),
                  {"its base is not known or not there", "base.safetensors", "--base"});
}

TEST_CASE("mnist: options that cannot go together are refused before training") {
    const SmallImages data;
    const ScratchFolder out;
    const auto refused = [&](const Arguments& arguments, const Arguments& words) {
        INFO(arguments[0] << " " << arguments[1]);
        check_refused(mnist_on(data.path, arguments), words);
    };
    refused({"--seeds", "2", "--save", out / "x"}, {"--seeds", "save with one seed"});
    refused({"--resume", "x"}, {"--resume", "--method"});
    refused({"--resume", "x", "--method", "lora", "--quantize", "int8"}, {"--resume", "--base"});
    refused({"--adapter", "x", "--save", out / "x"}, {"--adapter with --resume or --save"});
    refused({"--adapter", "x", "--resume", "x", "--method", "lora"}, {"--adapter with --resume"});
    refused({"--adapter", "x", "--save-adapter", out / "x"}, {"--adapter with --save-adapter"});
    refused({"--method", "base", "--save-adapter", out / "x"}, {"--save-adapter", "no adapter"});
    refused({"--method", "full", "--save-adapter", out / "x"}, {"--save-adapter", "no adapter"});
    refused({"--method", "base", "--base", "x", "--save", out / "x"},
            {"--base with --method base"});
    refused({"--method", "dora", "--save-adapter", out / "x"}, {"per output", "--axis out"});
    refused({"--samples", "10"}, {"--samples", "--shift"});
    refused({"--sweep", "--threads", "1"}, {"--sweep", "--shift"});
    refused({"--shift", "invert", "--method", "lora"}, {"--shift with --method"});
    refused({"--shift", "flip", "--seed", "1"}, {"shift: got \"flip\"", "rotate:DEGREES"});
    refused({"--shift", "invert", "--samples", "1000"},
            {"--samples 1000: there are only 200 rows"});
    refused({"--target", "fc1", "--method", "lora"}, {"fc1", "layers.0"});
    refused({"--classes", "5", "--seed", "1"}, {"--classes 5", "labels up to 9", "10 classes"});
    refused({"--hidden", "12,x", "--seed", "1"}, {"--hidden", "12,x", "whole numbers"});
    refused({"--json", out / "no/rows.json"}, {"no/rows.json", "no folder", "mkdir -p"});
    refused({"--json", out.path}, {out.path, "is a folder"});
    refused({"--report", "/proc/none"}, {"/proc/none"});
    refused({"--base", out / "none"}, {out / "none", "no such file"});
    refused({"--test", "x.csv"}, {"CSV"});
    CHECK(!file_exists(out / "x"));
}

TEST_CASE("mnist: data that do not fit are refused before training") {
    const SmallImages data, small(10, 5);
    const ScratchFolder out;
    const Finished trained = mnist_on(data.path, {"--method", "base", "--save", out.path});
    REQUIRE(trained.status == 0);
    check_refused(mnist_on(data.path, {"--base", out / "base.safetensors", "--hidden", "16"}),
                  {"--hidden 16", "other widths", "leave out --hidden"});
    const SmallImages one(1);
    check_refused(mnist_on(one.path, {}), {one.path, "every label is 0"});
    check_refused(mnist_on(small.path, {"--base", out / "base.safetensors"}),
                  {"16 inputs and 10 classes", "25 and 10"});
    std::filesystem::copy(small / "t10k-images-idx3-ubyte", data / "t10k-images-idx3-ubyte",
                          std::filesystem::copy_options::overwrite_existing);
    check_refused(mnist_on(data.path, {}), {"4 x 4 pixels", "5 x 5 pixels"});
}

TEST_CASE("mnist: a CSV file of 20 classes with a header trains, saves, loads") {
    const ScratchFolder folder;
    std::string csv = "width,kind,height\n";
    for (int i = 0; i < 400; i++)
        csv += to_text(i % 20 % 5 * 100 + i % 7) + "," + to_text(i % 20) + "," +
               to_text(i % 20 / 5 * 3000) + "\n";
    write_file(folder / "t.csv", {csv});
    write_file(folder / "t.txt", {csv});
    const Arguments label{"--label", "kind", "--method", "base"};
    Arguments train = label;
    train.insert(train.end(), {"--save", folder / "out", "--lr", "0.02", "--epochs", "40",
                               "--batch",
                               "16", "--shuffle"});
    const Finished done = mnist_on(folder / "t.csv", train);
    INFO(done.out << done.err);
    REQUIRE(done.status == 0);
    CHECK(done.out.find(" 100.00 ") != std::string::npos);
    CHECK(done.out.find(" rows/s ") != std::string::npos);
    CHECK(perceptron_widths(folder / "out/base.safetensors") ==
          std::vector<int64_t>{2, 16, 12, 20});
    Arguments again = label;
    again.insert(again.end(), {"--base", folder / "out/base.safetensors", "--test",
                               folder / "t.csv"});
    CHECK(mnist_on(folder / "t.txt", again, false).out.find(" 100.00 ") != std::string::npos);
    // A test file with its columns in another order.
    std::string turned = "height,width,kind\n";
    for (int i = 0; i < 20; i++)
        turned += to_text(i / 5 * 3000) + "," + to_text(i % 5 * 100) + "," + to_text(i) + "\n";
    write_file(folder / "turned.csv", {turned});
    again.back() = folder / "turned.csv";
    const std::string out = mnist_on(folder / "t.csv", again, false).out;
    CHECK(out.find(" 100.00 ") < out.rfind(" 100.00 "));  // test and training accuracy
    // A change of task: the same rows with other labels, and the columns in another order.
    std::string changed = "height,kind,width\n";
    for (int i = 0; i < 400; i++)
        changed += to_text(i % 20 / 5 * 3000) + "," + to_text((i + 1) % 20) + "," +
                   to_text(i % 20 % 5 * 100 + i % 7) + "\n";
    write_file(folder / "changed.csv", {changed});
    Arguments shift{"--label", "kind", "--base", folder / "out/base.safetensors", "--shift",
                    folder / "changed.csv", "--lr", "0.02", "--epochs", "40", "--json",
                    folder / "rows.json"};
    const Finished compared = mnist_on(folder / "t.csv", shift, false);
    INFO(compared.out << compared.err);
    CHECK(compared.status == 0);
    const Json report = parse_json(text_of(folder / "rows.json"), "rows.json");
    const auto figure = [&](size_t row, const char* name) {
        return report.at("rows", "").as_list("")[row].at(name, "").as_double(name);
    };
    CHECK(figure(1, "test_accuracy") == 0);  // the base: rows 0 and 1, on the old and on the new
    CHECK(figure(1, "old_accuracy") == 1);
    CHECK(figure(3, "test_accuracy") > 0.9);  // full
    CHECK(figure(3, "old_accuracy") < 0.1);
    shift[5] = folder / "none.csv";
    check_refused(mnist_on(folder / "t.csv", shift, false), {"none.csv", "no such file"});
    shift[5] = "data";
    check_refused(mnist_on(folder / "t.csv", shift, false), {"--shift data: is not a CSV file"});
    write_file(folder / "more.csv", {"width,height,kind\n1,2,20\n1,2,0\n1,2,0\n1,2,0\n1,2,0\n"});
    shift[5] = folder / "more.csv";
    check_refused(mnist_on(folder / "t.csv", shift, false), {"21 classes; the base has 20"});
    write_file(folder / "bad.csv", {"width,kind\n1,2\n,3\n"});
    check_refused(mnist_on(folder / "bad.csv", label), {"bad.csv: line 3, column 1 (width)"});
    write_file(folder / "short.csv", {"width,kind\n1,2\n"});
    check_refused(mnist_on(folder / "short.csv", label), {"too few", "--test"});
}

TEST_CASE("mnist: --shift compares base, scratch, full, LoRA and DoRA, with all rows and a few") {
    const SmallImages data;
    const ScratchFolder out;
    const Finished done =
        mnist_on(data.path, {"--shift", "invert,rotate:90", "--samples", "50", "--lr", "0.02",
                             "--epochs", "30", "--batch", "4", "--report", out.path, "--json",
                             out / "rows.json"});
    INFO(done.out << done.err);
    REQUIRE(done.status == 0);
    check_words(done.out, {"invert, 200 samples", "invert, 50 samples", "rotate:90, 50 samples",
                           "adapter off %", "collapsed"});
    const Json json = parse_json(text_of(out / "rows.json"), "rows.json");
    const Json::List& rows = json.at("rows", "").as_list("");
    REQUIRE(rows.size() == 1 + 4 * 5);
    const double before = rows[0].at("test_accuracy", "").as_double("");
    CHECK(rows[1].at("old_accuracy", "").as_double("") == before);
    const std::string off = format("%13.2f", 100 * before);
    size_t times = 0;  // LoRA and DoRA, four times
    for (size_t at = done.out.find(off); at != std::string::npos; at = done.out.find(off, at + 1))
        times++;
    CHECK(times >= 8);
    check_words(text_of(out / "index.html"), {"Learning and forgetting", "on a changed task"});

    const Finished sweep = mnist_on(data.path, {"--shift", "rotate:90", "--sweep", "--seeds", "2",
                                                   "--epochs", "30", "--batch", "4"});
    CHECK(sweep.status == 0);
    check_words(sweep.out, {"scratch on 33 held-out rows:", "dora on 33 held-out rows:", "-> lr ",
                            "0/2", "+-"});
}

TEST_CASE("mnist: --quantize and --seeds: the quantised base has a row, the seeds a summary") {
    const SmallImages data;
    const ScratchFolder out;
    for (const std::string kind : {"int8", "nf4"}) {
        const std::string path = out / std::string(kind);
        const Finished done = mnist_on(data.path, {"--quantize", kind, "--seeds", "2", "--method",
                                                   "lora", "--json", path});
        INFO(done.out << done.err);
        REQUIRE(done.status == 0);
        check_words(done.out, {"base in " + std::string(kind) + ": ", "seed 1", "seed 2", "mean %",
                               "\n" + std::string(kind) + " "});
        const Json json = parse_json(text_of(path), path);
        std::map<std::string, int> methods;
        for (const Json& row : json.at("rows", path).as_list(path))
            methods[row.at("method", path).as_string(path)]++;
        CHECK(methods == std::map<std::string, int>{{"base", 2}, {kind, 2}, {"lora", 2}});
    }
}

TEST_CASE("mnist: what cannot be printed is an error") {
    const std::string program = built_program("mnist");
    for (const std::string option : {"--help", "--version"}) {
        const Finished full = run(program + " " + option + " > /dev/full");
        CHECK(full.status == 1);
        check_words(full.err, {"standard output", "No space left"});
    }
    CHECK(run(program + " -h").out == run(program + " --help").out);
    CHECK(run(program + " --version").out.starts_with("slimgrad "));
}

}  // namespace slim
