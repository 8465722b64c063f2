// Texts as ids: bytes, files of ids, the held-out part, windows.
#include "data/text.h"

#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace slim {

TEST_CASE("read_bytes: every byte is an id; an empty text is an error") {
    const ScratchFolder folder;
    write_file(folder / "text", {std::string("a\n\xff\0b", 5)});
    CHECK(read_bytes(folder / "text") == std::vector<int>{97, 10, 255, 0, 98});
    write_file(folder / "empty", {""});
    CHECK_ERROR(read_bytes(folder / "empty"), "empty: the text is empty");
    CHECK_ERROR(read_bytes(folder / "none"), "none");
}

TEST_CASE("read_ids: whole numbers below the vocabulary, anything else is named") {
    const ScratchFolder folder;
    const auto ids_of = [&](const std::string& text) {
        write_file(folder / "ids", {text});
        return read_ids(folder / "ids", 100);
    };
    CHECK(ids_of(" 3 99\n0\t7\r\n") == std::vector<int>{3, 99, 0, 7});
    CHECK(ids_of("5") == std::vector<int>{5});
    CHECK_ERROR(ids_of("1 100 2"), "entry 1", "\"100\"", "between 0 and 99", "hint");
    CHECK_ERROR(ids_of("1 -2"), "\"-2\"");
    CHECK_ERROR(ids_of("1 2.5"), "\"2.5\"");
    CHECK_ERROR(ids_of("[1, 2]"), "entry 0", "\"[1,\"");
    CHECK_ERROR(ids_of("99999999999999999999999"), "\"99999999999999999999\"");
    CHECK_ERROR(ids_of(" \n"), "no ids");
}

TEST_CASE("split_text: the last tenth is held out, and must be longer than the context") {
    std::vector<int> ids;
    for (int i = 0; i < 105; i++) ids.push_back(i);
    const Text text = split_text("x", ids, 9);
    CHECK(text.train.size() == 95);
    CHECK(text.train.back() == 94);
    CHECK(text.held_out.size() == 10);
    CHECK(text.held_out.front() == 95);
    CHECK(split_text("x", std::vector<int>(1200000, 1), 9).held_out.size() == 100000);
    CHECK_ERROR(split_text("x", ids, 10), "x: has 105 ids", "10 are held out", "--context");
    const std::vector<int> long_text(3'000'000, 1);
    CHECK_ERROR(split_text("x", long_text, 150'000), "100000 are held out", "context, 150000");
}

TEST_CASE("windows: ids and the ids that follow them, everywhere in the text") {
    const std::vector<int> text{5, 6, 7, 8, 9};
    Rng rng(1);
    std::vector<bool> seen(10, false);
    for (int i = 0; i < 50; i++) {
        const Windows w = random_windows(text, 2, 3, rng);
        REQUIRE(w.ids.size() == 6);
        REQUIRE(w.next.size() == 6);
        for (size_t k = 0; k < 6; k++) {
            CHECK(w.next[k] == w.ids[k] + 1);
            seen[size_t(w.ids[k])] = true;
        }
        CHECK(w.ids[2] == w.ids[0] + 2);
        CHECK(w.ids[5] == w.ids[3] + 2);
    }
    for (size_t id : {5, 6, 7, 8}) CHECK(seen[id]);
    CHECK(!seen[9]);  // nothing follows it
    CHECK_ERROR(random_windows(text, 1, 5, rng), "windows of 5", "text of 5");
}

}  // namespace slim
