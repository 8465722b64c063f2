// A text as ids of tokens (its bytes, or ids that a tokenizer has written to a file), its split in
// two, and windows of it to train on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/random.h"

namespace slim {

struct Text {
    std::string path;           // for messages
    std::vector<int> train;
    std::vector<int> held_out;  // by split_text: the last tenth, at most 100,000 ids
};

// Each byte of the file is an id, 0 to 255. Throws when the file is empty.
std::vector<int> read_bytes(const std::string& path);

// A file of decimal ids, separated by white space. In Python, with the tokenizer of a model:
//     print(*tokenizer(open("book.txt").read()).input_ids, file=open("book.ids", "w"))
// Throws unless each is below vocab_size.
std::vector<int> read_ids(const std::string& path, int64_t vocab_size);

// Splits a text in two: the end is held out. Throws unless the held-out part is longer than
// `context`.
Text split_text(const std::string& path, std::vector<int> ids, int64_t context);

// Windows of a text: ids [count * length], and for each the id that follows it in the text.
struct Windows {
    std::vector<int> ids, next;
};

// Adds the window that begins at `start`; there must be an id after it.
void add_window(Windows& windows, const std::vector<int>& text, int64_t start, int64_t length);

// Windows that begin anywhere in the text, drawn from rng.
Windows random_windows(const std::vector<int>& text, int64_t count, int64_t length, Rng& rng);

}  // namespace slim
