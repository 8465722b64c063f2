// build/gpt: pretrains and adapts a tiny Llama, saves everything, resumes, refuses what is wrong.
#include <algorithm>  // count, max, min
#include <cstdio>
#include <map>

#include "data/json.h"
#include "nn/llama/pretrained.h"
#include "nn/peft/peft.h"
#include "tests/apps/run.h"
#include "tests/testing.h"

namespace slim {

namespace {

struct Texts {
    ScratchFolder folder;
    std::string arguments;

    Texts() {
        std::string first, second;
        for (int i = 0; i < 120; i++) {
            first += "the cat sat on the mat. ";
            second += "int x = f(y); return x; ";
        }
        write_file(folder / "first", {first});
        write_file(folder / "second", {second});
        arguments = " --text " + (folder / "first") + " --adapt " + (folder / "second") +
                    " --layers 2 --dim 32 --heads 2 --context 16 --batch 8 --steps 100"
                    " --adapt-steps 100 --sample 20 --prompt the --json " + (folder / "json") +
                    " --save " + (folder / "out");
    }
    std::map<std::string, Json> rows() const {
        std::map<std::string, Json> found;
        const Json json = parse_json(text_of(folder / "json"), "json");
        for (const Json& row : json.at("rows", "json").as_list("rows"))
            found[row.at("method", "row").as_string("method")] = row;
        return found;
    }
};

double number(const Json& row, const std::string& key) { return row.at(key, "row").as_double(key); }

}  // namespace

TEST_CASE("gpt: the table of four ways to adapt, and every file") {
    const Texts texts;
    const Finished done = run(built_program("gpt") + texts.arguments);
    CHECK(done.err == "");
    REQUIRE(done.status == 0);
    check_words(done.out, {"tokens/s", "held-out loss", "lora-qv", "---- dora-all writes:\nthe"});
    const std::map<std::string, Json> rows = texts.rows();
    REQUIRE(rows.size() == 5);
    const Json& base = rows.at("base");
    CHECK(number(base, "old_loss") < 0.5);
    CHECK(number(base, "new_loss") > 3);
    for (const auto& [name, row] : rows) {
        INFO(name);
        CHECK(number(row, "bytes") > 1000);
        CHECK(number(row, "ms_per_step") > 0);
        if (name == "base") continue;
        CHECK(number(row, "new_loss") < (name == "full" ? 1 : number(base, "new_loss") - 0.1));
        CHECK(number(row, "old_loss") > number(base, "old_loss"));
        CHECK((number(row, "trained") < number(base, "trained")) == (name != "full"));
    }
    // What was saved is what was measured.
    const auto loaded = load_pretrained(texts.folder / "out/base");
    Rng rng(1);
    for (const char* name : {"lora-qv", "lora-all", "dora-all"}) {
        AdapterSet adapters =
            attach_adapter(*loaded, load_adapter(texts.folder / "out/" + name), rng);
        CHECK(adapters.places().size() == (std::string(name) == "lora-qv" ? 4 : 15));
        adapters.remove("default");
    }
    const Finished again = run(built_program("gpt") + texts.arguments + " --base " +
                               (texts.folder / "out/base") + " --adapter " +
                               (texts.folder / "out/lora-all") + " --dim 0 --layers 0");
    CHECK(again.err == "");
    const double adapted = number(texts.rows().at("adapter"), "new_loss");
    CHECK(adapted == relative(number(rows.at("lora-all"), "new_loss"), 1e-4));
    const Finished in_4_bits = run(built_program("gpt") + texts.arguments + " --base " +
                                   (texts.folder / "out/base") + " --adapter " +
                                   (texts.folder / "out/lora-all") +
                                   " --dim 0 --layers 0 --quantize nf4");
    CHECK(in_4_bits.status == 0);
    CHECK(number(texts.rows().at("adapter"), "new_loss") != adapted);
    CHECK(number(texts.rows().at("adapter"), "new_loss") == relative(adapted, 0.3));
}

TEST_CASE("gpt: a stopped run goes on to the same figures; NF4 and checkpointed layers") {
    const Texts whole, stopped;
    const std::string options = " --method lora --quantize nf4 --checkpoint-layers";
    CHECK(run(built_program("gpt") + whole.arguments + options).status == 0);
    const std::string command = built_program("gpt") + stopped.arguments + options;
    // Stops after the first checkpoint is there, wherever that is.
    const Finished first = run("( exec " + command + " ) & pid=$!; while [ ! -f " +
                               (stopped.folder / "out/base.checkpoint") +
                               " ]; do sleep 0.01; done; kill -TERM $pid; wait $pid");
    CHECK(first.status == 1);
    check_words(first.err, {"--resume"});
    const Finished second = run(command + " --resume");
    CHECK(second.err == "");
    REQUIRE(second.status == 0);
    for (const char* name : {"base", "lora"})
        for (const char* key : {"new_loss", "old_loss"})
            CHECK(number(stopped.rows().at(name), key) == number(whole.rows().at(name), key));
}

TEST_CASE("gpt: two seeds give a mean and a range; the page has a curve for each") {
    const Texts texts;
    const Finished done = run(built_program("gpt") + texts.arguments + " --steps 20 --adapt-steps "
                              "20 --seeds 2 --method lora --report " + (texts.folder / "page"));
    CHECK(done.err == "");
    REQUIRE(done.status == 0);
    const Json json = parse_json(text_of(texts.folder / "json"), "json");
    const Json::List& rows = json.at("rows", "json").as_list("rows");
    REQUIRE(rows.size() == 3);
    const double a = number(rows[1], "new_loss"), b = number(rows[2], "new_loss");
    CHECK(a != b);
    CHECK(number(rows[2], "seed") == 2);
    char line[100];
    std::snprintf(line, sizeof line, "%.3f (%.3f to %.3f)", (a + b) / 2, std::min(a, b),
                  std::max(a, b));
    check_words(done.out, {line});
    // What was measured last while training is what the table says.
    const Json& held_out = rows[2].at("held_out", "row");
    REQUIRE(held_out.as_list("held_out").size() == 10);
    CHECK(held_out.as_list("held_out").back().as_double("loss") == doctest::Approx(b));
    const std::string page = text_of(texts.folder / "page");
    check_words(page, {"<h1>A Llama, adapted</h1>", "lora, step 20: ", line, "lora writes"});
    size_t curves = 0;
    for (size_t at = 0; (at = page.find("class=\"curve\"", at)) != page.npos; at++) curves++;
    CHECK(curves == 2);
}

TEST_CASE("gpt: wrong uses are one sentence, before any work") {
    const Texts texts;
    const auto refused = [&](const std::string& more, const std::vector<std::string>& words) {
        const Finished done = run(built_program("gpt") + texts.arguments + " " + more);
        CHECK(done.status == 1);
        CHECK(done.out.find("epoch") == std::string::npos);
        check_words(done.err, words);
        CHECK(std::count(done.err.begin(), done.err.end(), '\n') == 1);
    };
    write_file(texts.folder / "empty", {""});
    write_file(texts.folder / "ids", {"3 999"});
    refused("--text " + (texts.folder / "empty"), {"empty", "is empty"});
    refused("--text " + (texts.folder / "none"), {"none"});
    refused("--ids --text " + (texts.folder / "ids"), {"entry 1", "999", "between 0 and 255"});
    refused("--context 1000", {"--context"});
    refused("--json " + (texts.folder / "no/json"), {"no/json", "no folder", "mkdir -p"});
    refused("--report " + texts.folder.path, {texts.folder.path, "is a folder"});
    refused("--method lora --target q_prj", {"q_prj"});
    refused("--base " + (texts.folder / "none"), {"--dim"});
    refused("--adapter " + (texts.folder / "none"), {"--base"});
    refused("--prompt ''", {"--prompt"});
    refused("--heads 3", {"num_attention_heads: 3"});
}

}  // namespace slim
