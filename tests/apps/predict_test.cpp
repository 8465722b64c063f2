// The program predict, from outside: what it reads in pictures, what it prints and says, and how it
// comes by its network.
#include <algorithm>  // count, max_element
#include <cstdio>     // snprintf

#include "data/batches.h"
#include "data/digit.h"
#include "nn/peft/peft.h"
#include "nn/sequential.h"
#include "nn/state_file.h"
#include "tests/apps/run.h"
#include "tests/data/write_idx.h"
#include "tests/nn/net.h"
#include "tests/testing.h"

namespace slim {

int predict(int argc, char** argv);

namespace {

const std::string kPictures = "tests/pictures/", kSeven = kPictures + "7_large_canvas.png";

// `make test` builds the programs in float only.
bool predict_is_built() {
    const bool built = file_exists(built_program("predict"));
    if (!built) MESSAGE(built_program("predict") << " is not there, so this test did nothing");
    return built;
}

Finished predict(const std::string& arguments) {
    return run(built_program("predict") + " --ascii " + arguments);
}

int64_t lines_in(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

std::shared_ptr<MLP> untrained() {
    Rng rng(3);
    return std::make_shared<MLP>(784, 128, 256, 10, rng);
}

// The beginning of what predict prints about a picture, and the end of the line with the first bar.
struct Answer {
    std::string first, bar;
};

Answer answer_of(Module& model, const std::string& picture) {
    const NoGrad no_grad;
    model.eval();
    const DataSet one{digit_from_image(read_image(picture), picture), {0}, 1, 28, 28};
    const std::vector<real> p = softmax(model(batch_of(one, 0, 1).x)).to_vector();
    const auto best = std::max_element(p.begin(), p.end());
    char percent[16];
    std::snprintf(percent, sizeof percent, " %5.1f %%\n", 100 * double(*best));
    return {picture + ": " + std::to_string(best - p.begin()) + "\n", percent};
}

void check_answer(const std::string& out, const Answer& answer) {
    INFO(out);
    CHECK(out.starts_with(answer.first));
    CHECK(out.find(answer.bar) < out.find(" %\n") + 3);  // in the first line that has a bar
}

}  // namespace

TEST_CASE("build/predict: at least nine of ten drawn digits, by the network that it trained") {
    if (!predict_is_built()) return;
    if (!file_exists("data/mnist/train-images-idx3-ubyte") ||
        !file_exists("data/mnist/t10k-images-idx3-ubyte")) {
        MESSAGE("data/mnist is not there, so this test did nothing");
        return;
    }
    // Training takes six seconds. The network is kept for the next time, unless the program has
    // changed since.
    namespace fs = std::filesystem;
    const std::string kept = built_program("predict_base.safetensors");
    if (fs::exists(kept) &&
        fs::last_write_time(kept) < fs::last_write_time(built_program("predict")))
        fs::remove(kept);

    std::string pictures;
    for (const std::string name :
         {"0_thin.png", "1_off_centre.png", "2_thick.png", "3_white_on_black.png", "4_alpha.png",
          "5_jpeg.jpg", "6_coloured.png", "7_large_canvas.png", "8_scan.png", "9_slanted.jpg"})
        pictures += " " + kPictures + name;
    const Finished first = predict(pictures);
    INFO(first.out << first.err);
    CHECK(first.status == 0);
    CHECK(lines_in(first.out) == 10 * 16);  // a name, 14 lines of drawing, an empty one
    int right = 0;
    for (size_t at = first.out.find(kPictures); at != std::string::npos;
         at = first.out.find(kPictures, at + 1)) {
        const char true_digit = first.out[at + kPictures.size()];
        right += first.out[first.out.find(": ", at) + 2] == true_digit;
    }
    CHECK(right >= 9);

    const Finished again = predict(pictures);
    CHECK(again.out == first.out);
    CHECK(again.err == "");  // nothing to train
}

TEST_CASE("build/predict: draws the digit, with the three most probable ones beside it") {
    if (!predict_is_built()) return;
    const ScratchFolder folder;
    const std::string base = folder / "base.safetensors";
    save_parameters(*untrained(), base);
    const Finished plain = predict(kSeven + " --base " + base);
    CHECK(plain.status == 0);
    CHECK(plain.err == "");
    check_answer(plain.out, answer_of(*untrained(), kSeven));
    CHECK(lines_in(plain.out) == 16);
    double last = 100;
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        at = plain.out.find(" %\n", at + 1);
        REQUIRE(at != std::string::npos);
        const double percent = std::stod(plain.out.substr(at - 5, 5));
        CHECK(percent <= last);
        last = percent;
    }
    CHECK(plain.out.find(" %\n", at + 1) == std::string::npos);
    CHECK(plain.out.find("  -====    ") != std::string::npos);  // the bar of the seven
    for (const char c : plain.out) CHECK(static_cast<unsigned char>(c) < 128);

    const std::string command = built_program("predict") + " " + kSeven + " --base " + base;
    CHECK(run("LC_ALL=C " + command).out == plain.out);
    const std::string in_blocks = run("LC_ALL=C.UTF-8 " + command).out;
    CHECK(in_blocks.find("▄██████▀▀██") != std::string::npos);
}

TEST_CASE("build/predict: what is no picture gets one sentence and status 1, the rest is read") {
    if (!predict_is_built()) return;
    const ScratchFolder folder;
    const std::string base = folder / "base.safetensors";
    save_parameters(*untrained(), base);
    const auto check_refused = [](const std::string& arguments,
                                  const std::vector<std::string>& words) {
        const Finished bad = predict(arguments);
        INFO(arguments);
        CHECK(bad.status == 1);
        CHECK(bad.out == "");
        CHECK(lines_in(bad.err) == 1);
        check_words(bad.err, words);
    };
    const std::string bad = kPictures + "bad/";
    // Nothing is trained, nor MNIST asked for, when there is nothing to read.
    const std::string nowhere = " --data " + folder / "nowhere";
    check_refused(bad + "text.png" + nowhere, {"text.png: not a PNG or JPEG picture", "a text"});
    check_refused(bad + "huge.png" + nowhere, {"huge.png: too large: 10000 x 10000"});
    check_refused(bad + "empty.png" + nowhere, {"empty.png: ", "it is empty"});
    check_refused(bad + "truncated.png" + nowhere, {"truncated.png: ", "cut off"});
    check_refused(folder / "none.png", {folder / "none.png", "no such file"});
    check_refused("", {"no picture was named", "hint: "});
    check_refused(kSeven + " --base " + folder / "none", {folder / "none", "no such file"});
    check_refused(kSeven + " --base " + base + " --adapter " + folder / "none",
                  {"none/adapter_config.json"});

    const Finished mixed =
        predict(bad + "text.png " + kSeven + " " + bad + "huge.png --base " + base);
    CHECK(mixed.status == 1);
    CHECK(mixed.out.starts_with(kSeven + ": "));
    CHECK(lines_in(mixed.out) == 16);
    CHECK(lines_in(mixed.err) == 2);
}

TEST_CASE("build/predict: an adapter is attached to the base that --base or its folder names") {
    if (!predict_is_built()) return;
    const ScratchFolder folder;
    const std::string base = folder / "base.safetensors";
    const std::shared_ptr<MLP> model = untrained();
    save_parameters(*model, base);
    const Answer without = answer_of(*model, kSeven);

    Rng rng(5);
    const AdapterConfig config{.method = Method::kDoRA, .rank = 4, .alpha = 16};
    const AdapterSet adapters = attach(*model, config, rng);
    perturb_trained(*model, rng);
    const Answer with = answer_of(*model, kSeven);
    REQUIRE(with.first != without.first);
    save_adapter(folder / "named", adapters, base);
    save_adapter(folder / "nameless", adapters);

    check_answer(predict(kSeven + " --base " + base).out, without);
    const Finished named = predict(kSeven + " --adapter " + folder / "named");
    CHECK(named.status == 0);
    CHECK(named.err == "");
    check_answer(named.out, with);
    CHECK(predict(kSeven + " --adapter " + folder / "nameless --base " + base).out == named.out);
}

TEST_CASE("build/predict: trains a network once, and keeps it beside the program") {
    if (!predict_is_built()) return;
    const ScratchFolder folder, data;
    std::filesystem::copy(built_program("predict"), folder / "predict");
    const std::string program = folder / "predict --ascii " + kSeven + " --data ";
    const std::string kept = folder / "predict_base.safetensors";
    for (const std::string part : {"train", "t10k"}) {
        write_idx(data / part + "-images-idx3-ubyte", {10, 28, 28}, std::string(7840, '\x7f'));
        write_idx(data / part + "-labels-idx1-ubyte", {10},
                  std::string("\0\1\2\3\4\5\6\7\x8\x9", 10));
    }

    const Finished without = run(program + data / "nowhere");
    CHECK(without.status == 1);
    CHECK(without.out == "");
    check_words(without.err, {kept + ": there is no such file yet", "nowhere", "make data"});
    CHECK(!file_exists(kept));

    const Finished first = run(program + data.path);
    CHECK(first.status == 0);
    CHECK(lines_in(first.out) == 16);
    check_words(first.err, {"training a network", "epoch 5/5", kept + ": written"});
    const Finished second = run(program + data / "nowhere");
    CHECK(second.status == 0);
    CHECK(second.out == first.out);
    CHECK(second.err == "");

    write_file(kept, {"as an older program may have left it"});
    const Finished third = run(program + data.path);
    CHECK(third.out == first.out);
    check_words(third.err, {kept + ": ", "training a network", kept + ": written"});
}

TEST_CASE("predict: a line per picture with --brief, doubts, and rows of a CSV file") {
    const ScratchFolder folder;
    const std::string base = folder / "base.safetensors";
    save_parameters(*untrained(), base);
    const Answer answer = answer_of(*untrained(), kSeven);
    const Finished brief = call(predict, {"--brief", kSeven, "--base", base});
    INFO(brief.out << brief.err);
    CHECK(brief.out.starts_with(answer.first.substr(0, answer.first.size() - 1) + " "));
    CHECK(lines_in(brief.out) == 1);
    CHECK(brief.err == "");

    // A network of two measurements that answers with the larger one.
    Rng rng(1);
    MLP small({2, 2}, rng);
    small.load_state_dict({{"layers.0.weight", tensor({9, 0, 0, 9}, {2, 2})},
                           {"layers.0.bias", zeros({2})}});
    save_parameters(small, folder / "small.safetensors");
    write_file(folder / "train.csv", {"kind,a,b\n0,0,0\n1,2,200\n"});  // means 1, 100
    write_file(folder / "new.csv", {"a,b\n\n0,150\n2,50\n"});
    write_file(folder / "same.csv", {"kind,a,b\n1,0,150\n0,2,50\n"});
    for (const std::string name : {"new.csv", "same.csv"}) {
        const Finished rows =
            call(predict, {folder / name, "--label", "kind", "--data", folder / "train.csv",
                           "--base", folder / "small.safetensors"});
        INFO(rows.err);
        CHECK(rows.status == 0);
        CHECK(rows.out == folder / name + (name == "new.csv" ? ":3" : ":2") + ": 1 100.0 %\n" +
                              folder / name + (name == "new.csv" ? ":4" : ":3") + ": 0 100.0 %\n");
    }
    // Names of classes, and columns in another order.
    write_file(folder / "named.csv", {"kind,a,b\nfirst,0,0\nsecond,2,200\n"});
    write_file(folder / "turned.csv", {"b,a\n150,0\n50,2\n"});
    const Finished named =
        call(predict, {folder / "turned.csv", "--label", "kind", "--data", folder / "named.csv",
                       "--base", folder / "small.safetensors"});
    CHECK(named.out == folder / "turned.csv" + ":2: second 100.0 %\n" + folder / "turned.csv" +
                           ":3: first 100.0 %\n");
    const auto refused = [&](const std::vector<std::string>& arguments, const std::string& words) {
        const Finished bad = call(predict, arguments);
        CHECK(bad.status == 1);
        check_words(bad.err, {words});
    };
    refused({folder / "new.csv"}, "give --base FILE");
    refused({folder / "new.csv", "--base", base, "--scale", "none"}, "the network takes 784");
    refused({folder / "new.csv", "--base", folder / "small.safetensors"}, "give --scale none");
    refused({kSeven, "--base", folder / "small.safetensors"}, "a network of 2 inputs");
}

}  // namespace slim
