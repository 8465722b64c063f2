// Runs every lesson and compares what it prints with the "Expected output" in its header, and runs
// the README's walk through gdb. To be run from the root of the repository.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/apps/run.h"

namespace slim {

namespace {

namespace fs = std::filesystem;

std::vector<std::string> lines_of(const std::string& path) {
    std::ifstream file(path);
    REQUIRE_MESSAGE(file.is_open(), path << " is not there: run the tests from the root");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
}

// What the header promises: the comment lines after "Expected output:" and an empty one, up to the
// end of the comment, without "//   ".
std::string expected_output(const std::string& source) {
    const std::vector<std::string> lines = lines_of(source);
    size_t i = 0;
    while (i < lines.size() && lines[i] != "// Expected output:") i++;
    REQUIRE(i + 2 < lines.size());
    REQUIRE(lines[i + 1] == "//");
    std::string text;
    for (i += 2; i < lines.size() && lines[i].starts_with("//"); i++) {
        REQUIRE_MESSAGE((lines[i] == "//" || lines[i].starts_with("//   ")), lines[i]);
        text += (lines[i] == "//" ? "" : lines[i].substr(5)) + "\n";
    }
    return text;
}

// The lessons are built beside the test program, with the same switches.
void check_lesson(const std::string& name, bool needs_digits = false) {
    if (needs_digits && !(fs::exists("data/mnist/train-images-idx3-ubyte") &&
                          fs::exists("data/mnist/t10k-images-idx3-ubyte"))) {
        MESSAGE("data/mnist is not there, so lesson " << name << " was left out");
        return;
    }
    const std::string program = built_program("lessons/" + name);
    REQUIRE_MESSAGE(fs::exists(program), program << " is not there. hint: make lessons");
    const Finished lesson = run(program);
    CHECK(lesson.status == 0);
    CHECK(lesson.out == expected_output("apps/lessons/" + name + ".cpp"));
}

TEST_CASE("lesson 1") { check_lesson("01_gradients_by_hand"); }
TEST_CASE("lesson 2") { check_lesson("02_why_order_matters"); }
TEST_CASE("lesson 3") { check_lesson("03_gradient_check"); }
TEST_CASE("lesson 4") { check_lesson("04_linear_regression"); }
TEST_CASE("lesson 5") { check_lesson("05_xor"); }
TEST_CASE("lesson 6") { check_lesson("06_mnist", true); }
TEST_CASE("lesson 7") { check_lesson("07_lora"); }
TEST_CASE("lesson 8") { check_lesson("08_dora"); }
TEST_CASE("lesson 9") { check_lesson("09_merge_and_swap"); }
TEST_CASE("lesson 10") { check_lesson("10_factored_dora"); }
TEST_CASE("lesson 11") { check_lesson("11_new_op"); }
TEST_CASE("lesson 12") { check_lesson("12_your_own_picture", true); }

TEST_CASE("the lessons: twelve, each of at most 120 lines, and with a header that make can use") {
    int count = 0;
    for (const fs::directory_entry& entry : fs::directory_iterator("apps/lessons")) {
        if (entry.path().extension() != ".cpp") continue;
        const std::string number = entry.path().filename().string().substr(0, 2);
        INFO(entry.path().string());
        count++;
        const std::vector<std::string> lines = lines_of(entry.path().string());
        CHECK(lines.size() <= 120);
        std::string header;
        for (const std::string& line : lines) {
            if (!line.starts_with("//")) break;
            header += line + "\n";
        }
        CHECK(header.find("// You will learn: ") != std::string::npos);
        CHECK(header.find("// Run: make lesson-" + number + "    (make gdb-" + number +
                          " stops in ") != std::string::npos);
    }
    CHECK(count == 12);
}

// ---- the debugger -------------------------------------------------------------------------------

const std::string kGdb = "gdb -batch -nx -iex 'set auto-load local-gdbinit off' -x .gdbinit ";

// The lesson as it is built for gdb; "" if the test is left out.
std::string lesson_in_gdb(const std::string& lesson) {
    const std::string program = built_program("gdb/" + lesson);
    if (run("command -v gdb").status != 0) {
        MESSAGE("gdb is not there, so this test did nothing");
        return "";
    }
    if (!fs::exists(program)) {  // with other switches than make's own
        MESSAGE(program << " is not there, so this test did nothing");
        return "";
    }
    return program;
}

// Each of the words occurs in the text, after the one before it.
void check_in_order(const std::string& text, const std::vector<std::string>& words) {
    INFO(text);
    size_t at = 0;
    for (const std::string& word : words) {
        INFO("looking for: " << word);
        const size_t found = text.find(word, at);
        REQUIRE(found != std::string::npos);
        at = found + word.size();
    }
}

TEST_CASE("the README's walk: in gdb from relu through its backward to the weight's gradient") {
    std::vector<std::string> shown, typed;
    for (const std::string& line : lines_of("tests/lessons/walk.gdb")) {
        if (line.starts_with("#> ")) shown.push_back(line.substr(3));
        else if (!line.empty() && line[0] != '#') typed.push_back("(gdb) " + line + "\n");
    }
    REQUIRE(typed.size() == 10);
    typed.erase(typed.begin(), typed.begin() + 2);  // `make gdb-05` types those
    std::string readme;
    for (const std::string& line : lines_of("README.md")) readme += line + "\n";
    check_in_order(readme, typed);

    const std::string lesson = lesson_in_gdb("05_xor");
    if (lesson.empty()) return;
    const Finished gdb = run(kGdb + "-x tests/lessons/walk.gdb " + lesson + " 2>&1");
    check_in_order(gdb.out, shown);
}

TEST_CASE("gdb stops in LoRA's forward, and shows the layer's tensors") {
    const std::string lesson = lesson_in_gdb("07_lora");
    if (lesson.empty()) return;
    const Finished gdb = run(kGdb + "-ex 'break slim::LoRALayer::forward' -ex run -ex 'print x' "
                             "-ex 'print B' -ex finish -ex 'print $.impl._M_ptr->node' "
                             "-ex 'graph $1' -ex 'grad $1' -ex 'graph 1' " + lesson + " 2>&1");
    check_in_order(gdb.out,
                   {"slim::LoRALayer::forward (this=", "nn/lora.cpp:",
                    "$1 = Tensor (64, 8) leaf, grad no, [", "...] nan: 0",
                    "$2 = Tensor (6, 2) leaf, requires_grad, grad no, [0, 0, 0, 0, 0, 0, ...] nan:",
                    "Value returned is $3 = Tensor (64, 6) scale, requires_grad, grad no, [",
                    "$4 = scale #", " of (64, 6) matmul_nt", "$t0 = leaf (64, 8)\n",
                    "no gradient\n", "1 is a int; it must be a slim::Tensor"});
}

}  // namespace

}  // namespace slim
