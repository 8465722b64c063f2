// The benchmark as a program: its figures, and `bench --step`, which bench_torch.py asks for times.
#include <sstream>

#include "data/file.h"
#include "data/json.h"
#include "tests/apps/run.h"
#include "tests/testing.h"

namespace slim {

static bool bench_is_missing() {
    if (file_exists(built_program("bench"))) return false;
    MESSAGE(built_program("bench") << " is not there, so this test did nothing. hint: make all");
    return true;
}

// With this on its standard input.
static Finished bench(const std::string& options, const std::string& input = "") {
    return run("printf -- '" + input + "' | " + built_program("bench") + " " + options);
}

TEST_CASE("bench: --step answers each number of calls with the microseconds of one") {
    if (bench_is_missing()) return;
    const Finished turns = bench("--step 'mnist LoRA'", "1\\n3\\n2\\n");
    INFO(turns.out);
    CHECK(turns.status == 0);
    std::istringstream answers(turns.out);
    int count = 0;
    for (double micros; answers >> micros; count++) {
        CHECK(micros > 1);
        CHECK(micros < 1e6);
    }
    CHECK(count == 3);
}

TEST_CASE("bench: --step refuses cases that are none, and turns of no calls") {
    if (bench_is_missing()) return;
    for (const std::string name : {"mnist", "LoRA", "mnist QLoRA"}) {
        const Finished unknown = bench("--step '" + std::string(name) + "'");
        CHECK(unknown.status != 0);
        check_words(unknown.err, {"--step", std::string("got \"") + name + "\"",
                                     "no such case", "hint: "});
    }
    for (const std::string calls : {"0", "-1", "1.5", "many", ""}) {
        const Finished turn = bench("--step 'mnist LoRA'", calls + std::string("\\n"));
        CHECK(turn.status != 0);
        check_words(turn.err, {"standard input"});
    }
}

TEST_CASE("bench: --case picks one group, and --json holds what the table shows") {
    if (bench_is_missing()) return;
    const ScratchFolder scratch;
    const std::string path = scratch / "figures.json";
    const Finished table = bench("--case parts --pairs 3 --json '" + path + "'");
    REQUIRE(table.status == 0);
    const Bytes bytes = read_file(path);
    const Json figures = parse_json(std::string(bytes.begin(), bytes.end()), path);
    CHECK(figures.at("threads", path).as_int(path) == 1);
    const Json::List& rows = figures.at("rows", path).as_list(path);
    CHECK(rows.size() == 2);
    for (const Json& row : rows) {
        const std::string name = row.at("case", path).as_string(path);
        CHECK(name.starts_with("parts "));
        CHECK(table.out.find(name + " ") != std::string::npos);
        const double ratio = row.at("ratio", path).as_double(path);
        CHECK(row.at("low", path).as_double(path) <= ratio);
        CHECK(row.at("high", path).as_double(path) >= ratio);
    }
}

// A benchmark that is not run can stop working unseen.
TEST_CASE("bench: each group of cases runs, and its ratios are finite") {
    if (bench_is_missing()) return;
    const ScratchFolder scratch;
    const std::string path = scratch / "figures.json";
    for (const auto& [group, count] : {std::pair("mnist", 9), {"batch", 6}, {"evaluation", 2},
                                       {"data", 2}}) {
        const Finished table =
            bench("--pairs 1 --case " + std::string(group) + " --json '" + path + "'");
        INFO(table.err);
        REQUIRE(table.status == 0);
        const Json figures = parse_json(text_of(path), path);
        const Json::List& rows = figures.at("rows", path).as_list(path);
        CHECK(int(rows.size()) == count);
        for (const Json& row : rows) {
            const double ratio = row.at("ratio", path).as_double(path);
            CHECK(ratio > 0.02);
            CHECK(ratio < 50);
        }
    }
    for (const std::string name : {"gpt attention", "gpt DoRA per output"}) {
        const Finished turn = bench("--step '" + std::string(name) + "'", "1\\n");
        CHECK(turn.status == 0);
        CHECK(std::stod(turn.out) > 100);
    }
}

}  // namespace slim
