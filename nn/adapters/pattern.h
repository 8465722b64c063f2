// Regular expressions for module names, as PEFT's configurations have them, in bounded time.
//
// They come from untrusted files. std::regex recurses over the name and can take exponential time.
// POSIX's regcomp lacks \d and (?:. So this is a matcher of our own, after Thompson (1968): the
// expression becomes a small program, and all paths through it are followed at once, character by
// character. The work is at most the program's size times the name's length.
//
// What is understood has the meaning that it has in Python's re:
//
//     .  \d \D \w \W \s \S  [a-z_] [^0-9]      one character
//     * + ? {2} {2,} {,5} {2,5}, also lazy     repetition
//     a|b  (...)  (?:...)                      choice and grouping
//     ^ $                                      the beginning and the end of the name
//     \. and other escaped punctuation         the character itself
//
// The rest of Python's syntax is refused by its name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace slim {

class Pattern {
public:
    static constexpr size_t kMaxLength = 65536;  // of an expression, in bytes
    static constexpr size_t kMaxSize = 100000;   // of its program, in steps
    static constexpr size_t kMaxName = 1000;     // of a name, in bytes

    explicit Pattern(const std::string& text);  // throws a sentence about what it cannot read

    // Whether the pattern matches the whole name. (Python: re.fullmatch) Adds the steps taken.
    bool matches(const std::string& name, int64_t* steps = nullptr) const;

    // A step of the program; public for the parser alone.
    struct Range {
        char32_t first, last;
    };
    struct Step {
        enum Kind { kCharacter, kSplit, kBegin, kEnd, kMatch } kind;
        size_t next = 0, other = 0;        // where to go on; kSplit goes on at both
        std::vector<Range> ranges = {};    // kCharacter: what it takes
        bool negated = false;              // or, all but that
    };

private:
    std::vector<Step> program_;
    size_t start_ = 0;
};

// The pattern that matches just this text: "a.b" -> "a\.b".
std::string escape_pattern(const std::string& text);

}  // namespace slim
