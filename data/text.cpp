// Texts as ids. See text.h.
#include "data/text.h"

#include <algorithm>  // min
#include <charconv>   // from_chars

#include "core/check.h"
#include "data/file.h"

namespace slim {

std::vector<int> read_bytes(const std::string& path) {
    const Bytes bytes = read_file(path);
    check(!bytes.empty(), path, ": the text is empty");
    return {bytes.begin(), bytes.end()};
}

std::vector<int> read_ids(const std::string& path, int64_t vocab_size) {
    const Bytes bytes = read_file(path);
    const std::string_view text = as_text(bytes);
    const char* const white = " \t\r\n";
    std::vector<int> ids;
    for (size_t at = text.find_first_not_of(white); at != text.npos;
         at = text.find_first_not_of(white, at)) {
        const size_t end = std::min(text.find_first_of(white, at), text.size());
        int id = -1;
        const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, id);
        if (error != std::errc() || stop != text.data() + end || id < 0 || id >= vocab_size)
            fail(path, ": entry ", ids.size(), " is \"",
                 std::string(text.substr(at, std::min(end - at, size_t(20)))),
                 "\"; ids are whole numbers between 0 and ", vocab_size - 1,
                 ", the model's vocabulary, separated by white space",
                 ". hint: use the tokenizer of this model");
        ids.push_back(id);
        at = end;
    }
    check(!ids.empty(), path, ": there are no ids in it");
    return ids;
}

Text split_text(const std::string& path, std::vector<int> ids, int64_t context) {
    const int64_t size = int64_t(ids.size()), held_out = std::min(size / 10, int64_t(100'000));
    check(held_out > context, path, ": has ", size, " ids, of which ", held_out,
          " are held out; that must be more than the context, ", context,
          ". hint: name a longer text, or a smaller --context");
    Text text{path, {}, {ids.end() - held_out, ids.end()}};
    ids.resize(ids.size() - text.held_out.size());
    text.train = std::move(ids);
    return text;
}

void add_window(Windows& windows, const std::vector<int>& text, int64_t start, int64_t length) {
    const auto first = text.begin() + start;
    windows.ids.insert(windows.ids.end(), first, first + length);
    windows.next.insert(windows.next.end(), first + 1, first + length + 1);
}

Windows random_windows(const std::vector<int>& text, int64_t count, int64_t length, Rng& rng) {
    const int64_t starts = int64_t(text.size()) - length;
    check(starts > 0, "random_windows: windows of ", length, " ids from a text of ", text.size(),
          "; the text must be longer");
    Windows windows;
    for (int64_t i = 0; i < count; i++) add_window(windows, text, rng.below(starts), length);
    return windows;
}

}  // namespace slim
