// build/tokens: adapts an Embedding and Linears to another text, merges, unmerges, switches off.
#include <regex>

#include "tests/apps/run.h"
#include "tests/testing.h"

namespace slim {

namespace {

// The two figures of a line that begins with these words: on the first and on the second text.
std::vector<double> figures(const std::string& out, const std::string& words) {
    std::smatch m;
    const std::regex line(words + " +(\\d+\\.\\d+) on the first text, (\\d+\\.\\d+) on the second");
    REQUIRE_MESSAGE(std::regex_search(out, m, line), words << " in:\n" << out);
    return {std::stod(m[1]), std::stod(m[2])};
}

}  // namespace

TEST_CASE("fault: tokens: LoRA on an Embedding follows another text, merged or not") {
    const ScratchFolder folder;
    std::string first, second;
    for (int i = 0; i < 600; i++) {
        first += "the cat sat on the mat. ";
        second += "int x = f(y); return x; ";
    }
    write_file(folder / "first", {first});
    write_file(folder / "second", {second});
    const std::string program = built_program("tokens") + " --text " + (folder / "first") +
                                " --adapt " + (folder / "second") + " --steps 100 --batch 32";
    const Finished done = run(program);
    CHECK(done.status == 0);
    CHECK(done.err == "");
    const auto pretrained = figures(done.out, "pretrained"), on = figures(done.out, "adapter on"),
               merged = figures(done.out, "adapter merged"), off = figures(done.out, "adapter off");
    CHECK(pretrained[0] < 1);
    CHECK(pretrained[1] > 4);
    CHECK(on[1] < pretrained[1] - 2);
    CHECK(off == pretrained);
    for (int i : {0, 1}) CHECK(merged[i] == relative(on[i], 0.002));
    check_words(done.out, {"trainable params: 28,928 ||", "gradient norm", "KB, at most"});

    // Gradient checkpointing changes the memory and no figure.
    const Finished again = run(program + " --recompute --accumulate 2");
    CHECK(again.status == 0);
    CHECK(figures(run(program + " --recompute").out, "adapter on") == on);
}

TEST_CASE("tokens: a text that is missing or too short is one sentence") {
    const ScratchFolder folder;
    write_file(folder / "short", {"too short"});
    const std::string program = built_program("tokens");
    const Finished missing = run(program + " --text " + (folder / "none"));
    CHECK(missing.status == 1);
    check_words(missing.err, {folder / "none"});
    const Finished small = run(program + " --adapt " + (folder / "short"));
    CHECK(small.status == 1);
    check_words(small.err, {"has 9 bytes", "at least 1600", "hint"});
}

}  // namespace slim
