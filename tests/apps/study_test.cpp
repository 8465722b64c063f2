// The program study, called inside of this process: the files that it writes, and the figures.
#include <algorithm>  // count

#include "tests/apps/run.h"
#include "tests/data/write_idx.h"
#include "tests/testing.h"

namespace slim {

int study(int argc, char** argv);

TEST_CASE("study: rank and weights write CSV files and pages with a chart for each figure") {
    const ScratchFolder data, out;
    Rng rng(1);
    for (const std::string part : {"train", "t10k"}) {
        std::string pixels, labels;
        for (int i = 0; i < 120; i++) {
            labels += char(i % 3);
            for (int k = 0; k < 16; k++) pixels += char(k == i % 3 ? 255 : rng.below(60));
        }
        write_idx(data / part + "-images-idx3-ubyte", {120, 4, 4}, pixels);
        write_idx(data / part + "-labels-idx1-ubyte", {120}, labels);
    }
    const auto run = [&](std::vector<std::string> more) {
        more.insert(more.end(), {"--data", data.path, "--out", out.path, "--shift", "rotate:90"});
        return call(study, more);
    };
    const Finished rank = run({"rank", "--ranks", "1,2", "--seeds", "2", "--epochs", "9"});
    INFO(rank.out << rank.err);
    REQUIRE(rank.status == 0);
    const std::string csv = text_of(out / "rank.csv");
    CHECK(csv.starts_with("method,rank,seed,accuracy,trained,collapsed\nlora,1,1,"));
    CHECK(std::count(csv.begin(), csv.end(), '\n') == 1 + 2 * 2 * 2);
    check_words(text_of(out / "rank.html"), {"Accuracy by rank", "LoRA, rank 2: ",
                                             "DoRA, rank 1: "});

    const Finished weights = run({"weights", "--checkpoints", "2", "--rank", "2", "--epochs", "9"});
    INFO(weights.out << weights.err);
    REQUIRE(weights.status == 0);
    const std::string moves = text_of(out / "weights.csv");
    CHECK(std::count(moves.begin(), moves.end(), '\n') == 1 + 3 * 3 * 2);  // methods, layers, times
    check_words(moves, {"full,layers.0,1,", "lora,layers.2,2,", "dora,layers.4,2,"});
    check_words(text_of(out / "weights.html"), {"correlation", "layers.4, checkpoint 2"});
    // LoRA's change has as many singular values as its rank: the third is rounding.
    const std::string values = text_of(out / "singular_values.csv");
    const auto value = [&](const std::string& start) {
        const size_t at = values.find("\n" + start);
        REQUIRE(at != std::string::npos);
        return std::stod(values.substr(at + 1 + start.size()));
    };
    CHECK(value("lora,layers.2,2,") > 1e-3);
    CHECK(value("lora,layers.2,3,") < 1e-5);
    CHECK(value("full,layers.2,3,") > 1e-4);
    CHECK(value("full,layers.2,1,") >= value("full,layers.2,2,"));

    for (const std::vector<std::string>& wrong :
         {std::vector<std::string>{}, {"ranks"}, {"rank", "weights"}})
        check_words(run(wrong).err, {"it must be rank or weights"});
    CHECK(run({"rank", "--ranks", "0"}).status == 1);
    check_words(run({"rank", "--label", "kind"}).err, {"--label: there is no such option"});
}

}  // namespace slim
