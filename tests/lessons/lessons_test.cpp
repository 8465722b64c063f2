// Runs every lesson and compares what it prints with the "Expected output" in its header, and runs
// the README's walk through gdb. To be run from the root of the repository.
#include <doctest/doctest.h>

#include <cctype>
#include <cmath>
#include <cstdlib>
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

// Whether the texts are equal, except that numbers may differ by a share of themselves, or by so
// many points: figures of training depend on the processor in their last digits.
bool same_text(const std::string& a, const std::string& b, double share, double points = 0) {
    const char *p = a.c_str(), *q = b.c_str();
    while (*p && *q) {
        if (share > 0 && std::isdigit(*p) && std::isdigit(*q)) {
            char *p_end, *q_end;
            const double x = std::strtod(p, &p_end), y = std::strtod(q, &q_end);
            const double allowed = std::fmax(points, share * std::fmax(std::fabs(x), std::fabs(y)));
            if (std::fabs(x - y) > allowed) return false;
            p = p_end, q = q_end;
        } else if (share > 0 && *p == ' ' && *q == ' ') {  // 9.9 is shorter than 10.1
            while (*p == ' ') p++;
            while (*q == ' ') q++;
        } else if (*p++ != *q++) {
            return false;
        }
    }
    return *p == *q;
}

// The lessons are built beside the test program, with the same switches.
void check_lesson(const std::string& name, double share = 0, double points = 0) {
    const std::string source = "apps/lessons/" + name + ".cpp";
    std::string text;
    for (const std::string& line : lines_of(source)) text += line + "\n";
    if (text.find("\"data/mnist\"") != std::string::npos &&
        !fs::exists("data/mnist/train-images-idx3-ubyte")) {
        MESSAGE("data/mnist is not there, so lesson " << name << " was left out");
        return;
    }
    const std::string program = built_program("lessons/" + name);
    REQUIRE_MESSAGE(fs::exists(program), program << " is not there. hint: make lessons");
    const Finished lesson = run(program);
    CHECK(lesson.status == 0);
    const std::string expected = expected_output(source);
    if (!same_text(lesson.out, expected, share, points)) CHECK(lesson.out == expected);
}

TEST_CASE("figures in a lesson's output may vary by their share, words may not") {
    CHECK(same_text("loss 0.25", "loss 0.26", 0.05));
    CHECK(!same_text("loss 0.25", "loss 0.30", 0.05));
    CHECK(same_text("at  9.9 %", "at 10.1 %", 0.05));
    CHECK(!same_text("loss 0.25", "lost 0.25", 0.05));
    CHECK(same_text("at  3.7 %", "at  7.2 %", 0.1, 8));
    CHECK(!same_text("at  3.7 %", "at 13.7 %", 0.1, 8));
    CHECK(!same_text("loss 0.25", "loss 0.26", 0));
    CHECK(!same_text("loss 0.25", "loss 0.25 more", 0.05));
}

TEST_CASE("lesson 1") { check_lesson("01_gradients_by_hand"); }
TEST_CASE("lesson 2") { check_lesson("02_why_order_matters"); }
TEST_CASE("lesson 3") { check_lesson("03_gradient_check"); }
TEST_CASE("lesson 4") { check_lesson("04_matrix_product"); }
TEST_CASE("lesson 5") { check_lesson("05_regression_and_xor"); }
TEST_CASE("lesson 6") { check_lesson("06_mnist", 0.1); }
TEST_CASE("lesson 7") { check_lesson("07_lora"); }
TEST_CASE("lesson 8") { check_lesson("08_dora"); }
TEST_CASE("lesson 9") { check_lesson("09_merge_and_swap", 0.9); }
TEST_CASE("lesson 10") { check_lesson("10_adapting", 0.1, 8); }
TEST_CASE("lesson 11") { check_lesson("11_what_adapters_do", 0.6); }
TEST_CASE("lesson 12") { check_lesson("12_your_own_picture", 0.2); }
TEST_CASE("lesson 13") { check_lesson("13_attention", 0.5); }
TEST_CASE("the appendix: factored DoRA") { check_lesson("appendix_factored_dora"); }

TEST_CASE("the lessons: each of at most 120 lines, and with a header that make can use") {
    for (const fs::directory_entry& entry : fs::directory_iterator("apps/lessons")) {
        if (entry.path().extension() != ".cpp") continue;
        const std::string name = entry.path().filename().string();
        const std::string number = name.substr(0, name.find('_'));
        INFO(entry.path().string());
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
        CHECK(header.find("// Do:  make ex-" + number + "\n") != std::string::npos);
    }
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

    const std::string lesson = lesson_in_gdb("05_regression_and_xor");
    if (lesson.empty()) return;
    const Finished gdb = run(kGdb + "-x tests/lessons/walk.gdb " + lesson + " 2>&1");
    check_in_order(gdb.out, shown);
}

// An adapted layer as training runs it: its forward, what it left for backward, and after backward
// the gradients of what is trained.
void walk_through_layer(const std::string& lesson, const std::string& layer,
                        const std::vector<std::string>& trained,
                        const std::vector<std::string>& shown) {
    const std::string program = lesson_in_gdb(lesson);
    if (program.empty()) return;
    std::string command = kGdb + "-ex 'break slim::" + layer + "::forward' -ex run -ex 'print x' "
                          "-ex delete -ex finish -ex 'graph $' "
                          "-ex 'break slim::backward(slim::Tensor const&)' -ex continue -ex finish";
    for (const std::string& name : trained) command += " -ex 'grad " + name + "'";
    check_in_order(run(command + " -ex 'graph 1' " + program + " 2>&1").out, shown);
}

TEST_CASE("gdb walks through a LoRA layer: forward, graph, backward, gradients") {
    walk_through_layer("07_lora", "LinearWithLoRA", {"A", "B"},
                       {"slim::LinearWithLoRA::forward (this=", "nn/adapters/lora.cpp:",
                        "$1 = Tensor (64, 8) leaf, grad no, [",
                        "Value returned is $2 = ", "Tensor (64, 6) ",
                        "$t0 = ", "(2, 8), requires_grad\n", "(6, 2), requires_grad\n",
                        "slim::backward (loss=", "07_lora.cpp:", "gradient (2, 8) [",
                        "gradient (6, 2) [", "1 is a int; it must be a slim::Tensor"});
}

TEST_CASE("gdb walks through a DoRA layer: forward, graph, backward, gradients") {
    walk_through_layer("08_dora", "LinearWithDoRA", {"p.A", "p.B", "p.m"},
                       {"slim::LinearWithDoRA::forward (this=", "nn/adapters/dora.cpp:",
                        "$1 = Tensor (3, 2) leaf, grad no, [",
                        "Value returned is $2 = ", "Tensor (3, 2) ",
                        "$t0 = ", "leaf (1, 2), requires_grad\n", "slim::backward (loss=",
                        "08_dora.cpp:", "gradient (1, 2) [", "gradient (2, 1) [",
                        "gradient (2) ["});
}

}  // namespace

}  // namespace slim
