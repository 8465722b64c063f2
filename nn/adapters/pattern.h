// Regular expressions for module names, as PEFT's configurations have them, in bounded time.
//
// They come from untrusted files. std::regex recurses over the name and can take exponential time;
// POSIX's regcomp lacks \d and (?:. This matcher keeps the set of all positions that a part of the
// expression can end at, so it never goes back, and it counts its work.
//
// What is understood has the meaning that it has in Python's re. (\d and \s are for ASCII; \w also
// takes every character beyond ASCII.)
//
//     .  \d \D \w \W \s \S  [a-z_] [^0-9]      one character
//     * + ? {2} {2,} {,5} {2,5}, also lazy     repetition
//     a|b  (...)  (?:...)                      choice and grouping
//     ^ $                                      the beginning and the end of the name
//     \. and other escaped punctuation         the character itself
//     \a \f \n \r \t \v                        control characters
//
// The rest of Python's syntax is refused with an error that names it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace slim {

class Pattern {
public:
    static constexpr size_t kMaxLength = 65536;  // of an expression, in bytes
    static constexpr size_t kMaxName = 1000;     // of a name, in bytes
    static constexpr int64_t kMaxSteps = 20'000'000;  // about two seconds

    explicit Pattern(const std::string& text);  // throws an Error that names what it cannot read

    // Whether the pattern matches the whole name. (Python: re.fullmatch) Adds the work to *steps,
    // which several calls can share, and throws where that exceeds kMaxSteps.
    bool matches(const std::string& name, int64_t* steps = nullptr) const;

    struct Expression;

private:
    std::shared_ptr<const Expression> expression_;
};

// The pattern that matches just this text: "a.b" -> "a\.b".
std::string escape_pattern(const std::string& text);

}  // namespace slim
