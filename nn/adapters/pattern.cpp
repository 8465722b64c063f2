// Regular expressions for module names: the parser and the matcher. See pattern.h.
#include "nn/adapters/pattern.h"

#include <algorithm>  // any_of
#include <bitset>
#include <cctype>     // isdigit, ispunct
#include <vector>

#include "core/check.h"

namespace slim {

namespace {

struct Range {
    char32_t first, last;
};
using Ranges = std::vector<Range>;
constexpr char32_t kLastCharacter = 0x10ffff;
constexpr int kMaxNesting = 100;  // of groups: the parser recurses
constexpr int64_t kMaxRepeat = 1000;

// UTF-8 as code points, so that one character is one step. Bytes that are not UTF-8 become some
// character: nothing is thrown.
std::u32string code_points(const std::string& text) {
    std::u32string points;
    for (size_t i = 0; i < text.size();) {
        const auto byte = [&](size_t at) { return at < text.size() ? uint8_t(text[at]) : 0; };
        const int more = byte(i) >= 0xf0 ? 3 : byte(i) >= 0xe0 ? 2 : byte(i) >= 0xc0 ? 1 : 0;
        char32_t point = more ? byte(i) & (0x3f >> more) : byte(i);
        i++;
        for (int k = 0; k < more && (byte(i) & 0xc0) == 0x80; k++)
            point = point << 6 | (byte(i++) & 0x3f);
        points += point;
    }
    return points;
}

}  // namespace

struct Pattern::Expression {
    enum Kind { kCharacter, kBegin, kEnd, kSequence, kChoice, kRepeat } kind;
    Ranges ranges = {};                    // kCharacter: those that match
    bool negated = false;                  // or: those that do not
    std::vector<Expression> parts = {};    // kSequence, kChoice, kRepeat (one)
    int64_t least = 0, most = 0;           // kRepeat; most -1: without limit
};

namespace {

using Expression = Pattern::Expression;

// ---- parsing ------------------------------------------------------------------------------------

struct Parser {
    const std::string& text;
    size_t at = 0;
    int nesting = 0;

    [[noreturn]] void refuse(const std::string& what) const {
        fail("the pattern \"", text.substr(0, 60), text.size() > 60 ? "..." : "",
             "\", at byte ", at + 1, ": ", what);
    }
    bool more() const { return at < text.size(); }
    bool sees(const std::string& next) const { return text.compare(at, next.size(), next) == 0; }
    bool take(const std::string& next) {
        if (!sees(next)) return false;
        at += next.size();
        return true;
    }

    Expression choice() {
        Expression choice{Expression::kChoice};
        do choice.parts.push_back(sequence());
        while (take("|"));
        return choice;
    }

    Expression sequence() {
        Expression sequence{Expression::kSequence};
        while (more() && !sees("|") && !sees(")")) sequence.parts.push_back(repeated());
        return sequence;
    }

    Expression repeated() {
        const Expression piece = atom();
        int64_t least, most;
        if (!quantifier(least, most)) return piece;
        if (piece.kind == Expression::kBegin || piece.kind == Expression::kEnd)
            refuse("there is nothing to repeat");
        if (sees("+")) refuse("possessive repetition (such as a*+) is not supported");
        take("?");  // lazy: the same matches, found in another order
        const size_t second = at;
        if (int64_t unused; quantifier(unused, unused)) {
            at = second;
            refuse("a repetition of a repetition");
        }
        return {.kind = Expression::kRepeat, .parts = {piece}, .least = least, .most = most};
    }

    // * + ? {n} {n,} {,m} {n,m}. As in Python, a brace that is none of these is itself.
    bool quantifier(int64_t& least, int64_t& most) {
        if (take("*")) return least = 0, most = -1, true;
        if (take("+")) return least = 1, most = -1, true;
        if (take("?")) return least = 0, most = 1, true;
        if (!sees("{")) return false;
        const size_t start = at++;
        const auto number = [&](int64_t otherwise) {
            int64_t n = 0;
            const size_t first = at;
            while (more() && std::isdigit(uint8_t(text[at]))) {
                n = std::min(n * 10 + text[at++] - '0', kMaxRepeat + 1);
            }
            return at == first ? otherwise : n;
        };
        const bool counted = at < text.size() && std::isdigit(uint8_t(text[at]));
        least = number(0);
        most = take(",") ? number(-1) : counted ? least : -2;
        if (most == -2 || !take("}")) return at = start, false;
        if (least > kMaxRepeat || most > kMaxRepeat)
            refuse("a repetition of more than " + to_text(kMaxRepeat) + " times");
        if (most >= 0 && most < least) refuse("the least repetition is greater than the most");
        return true;
    }

    Expression atom() {
        if (take("^")) return {Expression::kBegin};
        if (take("$")) return {Expression::kEnd};
        if (take(".")) return characters({{'\n', '\n'}}, true);
        if (sees("(")) return group();
        if (take("[")) return set();
        if (sees("\\")) {
            bool negated = false;
            const Ranges ranges = escape(negated);
            return characters(ranges, negated);
        }
        if (sees("*") || sees("+") || sees("?")) refuse("there is nothing to repeat");
        const char32_t c = character();
        return characters({{c, c}});
    }

    static Expression characters(Ranges ranges, bool negated = false) {
        return {Expression::kCharacter, std::move(ranges), negated};
    }

    char32_t character() {  // one, which may have several bytes
        size_t end = at + 1;
        while (end < text.size() && (uint8_t(text[end]) & 0xc0) == 0x80) end++;
        const std::u32string points = code_points(text.substr(at, end - at));
        at = end;
        return points[0];
    }

    Expression group() {
        static const struct {
            const char *start, *name;
        } kRefused[] = {{"(?P<", "a named group, (?P<name>...),"},
                        {"(?P=", "a reference to a group, (?P=name),"},
                        {"(?P", "(?P"},
                        {"(?=", "a lookahead, (?=...),"},
                        {"(?!", "a lookahead, (?!...),"},
                        {"(?<=", "a lookbehind, (?<=...),"},
                        {"(?<!", "a lookbehind, (?<!...),"},
                        {"(?#", "a comment, (?#...),"},
                        {"(?>", "an atomic group, (?>...),"},
                        {"(?(", "a conditional group, (?(...)...),"}};
        for (const auto& [start, name] : kRefused)
            if (sees(start)) refuse(std::string(name) + " is not supported");
        const size_t start = at;
        if (sees("(?") && !sees("(?:")) refuse("a flag, such as (?i), is not supported");
        if (!take("(?:")) take("(");
        if (++nesting > kMaxNesting)
            refuse("groups are nested more than " + to_text(kMaxNesting) + " deep");
        Expression inside = choice();
        nesting--;
        if (!take(")")) {
            at = start;
            refuse("this group is not closed; it is not a regular expression");
        }
        return inside;
    }

    // After a backslash: a class such as \d, or the character itself.
    Ranges escape(bool& negated) {
        static const Ranges kDigits{{'0', '9'}}, kSpaces{{'\t', '\r'}, {' ', ' '}},
            kWord{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}, {0x80, kLastCharacter}};
        static const struct {
            char letter;
            const char* name;
        } kRefused[] = {{'A', "the beginning of the text, \\A,"},
                        {'Z', "the end of the text, \\Z,"},
                        {'b', "a word boundary, \\b,"},
                        {'B', "a word boundary, \\B,"},
                        {'x', "a character by its number, \\x,"},
                        {'u', "a character by its number, \\u,"},
                        {'U', "a character by its number, \\U,"},
                        {'N', "a character by its name, \\N,"}};
        if (at + 1 >= text.size()) refuse("a backslash at the end; it is not a regular expression");
        const char c = text[at + 1];
        for (const auto& [letter, name] : kRefused)
            if (c == letter) refuse(std::string(name) + " is not supported");
        if (std::isdigit(uint8_t(c)))
            refuse("a reference to a group or a character by its number, \\" + std::string(1, c) +
                   ", is not supported");
        at += 2;
        negated = c == 'D' || c == 'W' || c == 'S';
        switch (c) {
            case 'd': case 'D': return kDigits;
            case 'w': case 'W': return kWord;
            case 's': case 'S': return kSpaces;
            case 'a': return {{'\a', '\a'}};
            case 'f': return {{'\f', '\f'}};
            case 'n': return {{'\n', '\n'}};
            case 'r': return {{'\r', '\r'}};
            case 't': return {{'\t', '\t'}};
            case 'v': return {{'\v', '\v'}};
            default: break;
        }
        at -= 1;
        if (std::isalpha(uint8_t(c)))
            refuse("the escape \\" + std::string(1, c) + " means nothing in a regular expression");
        const char32_t itself = character();
        return {{itself, itself}};
    }

    // [...], after the bracket.
    Expression set() {
        const size_t start = at - 1;
        const bool negated = take("^");
        Ranges ranges;
        const auto unclosed = [&] {
            at = start;
            refuse("this set of characters is not closed; it is not a regular expression");
        };
        for (bool first = true; first || !sees("]"); first = false) {
            if (!more()) unclosed();
            const Ranges low = member();
            const bool is_range = sees("-") && at + 1 < text.size() && text[at + 1] != ']';
            if (!is_range) {
                ranges.insert(ranges.end(), low.begin(), low.end());
                continue;
            }
            at++;
            const Ranges high = member();
            const auto is_one = [](const Ranges& r) {
                return r.size() == 1 && r[0].first == r[0].last;
            };
            if (!is_one(low) || !is_one(high) || low[0].first > high[0].first)
                refuse("a range needs one character at each end, in ascending order");
            ranges.push_back({low[0].first, high[0].first});
        }
        at++;
        return characters(ranges, negated);
    }

    Ranges member() {
        if (!more()) refuse("a set of characters is not closed; it is not a regular expression");
        if (sees("\\")) {
            bool negated = false;
            const Ranges ranges = escape(negated);
            return negated ? complement(ranges) : ranges;
        }
        const char32_t c = character();
        return {{c, c}};
    }

    static Ranges complement(const Ranges& ranges) {  // sorted ones
        Ranges others;
        char32_t next = 0;
        for (const auto& [first, last] : ranges) {
            if (first > next) others.push_back({next, first - 1});
            next = last + 1;
        }
        if (next <= kLastCharacter) others.push_back({next, kLastCharacter});
        return others;
    }
};

// ---- matching -----------------------------------------------------------------------------------

bool takes(const Expression& e, char32_t c) {
    return e.negated != std::any_of(e.ranges.begin(), e.ranges.end(), [&](const Range& r) {
               return r.first <= c && c <= r.last;
           });
}

struct Matcher {
    const std::u32string text;
    int64_t& steps;
    using Positions = std::bitset<Pattern::kMaxName + 1>;

    // Returns where the expression can end when it begins at one of the given positions.
    Positions match(const Expression& e, const Positions& starts) {
        steps += 1 + int64_t(text.size() / 16 + starts.count() * (1 + e.ranges.size()));
        check(steps < Pattern::kMaxSteps, "the patterns of this configuration take too long to ",
              "match. hint: write shorter ones, or lists of names");
        Positions ends;
        switch (e.kind) {
            case Expression::kCharacter:
                for (size_t at = 0; at < text.size(); at++)
                    if (starts[at] && takes(e, text[at])) ends.set(at + 1);
                return ends;
            case Expression::kBegin: return starts & Positions(1);
            case Expression::kEnd:
                ends.set(text.size());
                if (text.ends_with(U'\n')) ends.set(text.size() - 1);
                return starts & ends;
            case Expression::kSequence:
                ends = starts;
                for (const Expression& part : e.parts) ends = match(part, ends);
                return ends;
            case Expression::kChoice:
                for (const Expression& part : e.parts) ends |= match(part, starts);
                return ends;
            case Expression::kRepeat: return repeat(e, starts);
        }
        return ends;
    }

    Positions repeat(const Expression& e, Positions now) {
        for (int64_t i = 0; i < e.least; i++) {
            const Positions next = match(e.parts[0], now);
            if (next == now) return now;  // more rounds change nothing
            now = next;
        }
        Positions ends = now;
        for (int64_t i = e.least; i != e.most && now.any(); i++) {
            now = match(e.parts[0], now) & ~ends;  // what fewer rounds do not reach
            ends |= now;
        }
        return ends;
    }
};

}  // namespace

Pattern::Pattern(const std::string& text) {
    check(text.size() <= kMaxLength, "a pattern of ", text.size(), " bytes; at most ",
          kMaxLength, " are allowed");
    Parser parser{text};
    expression_ = std::make_shared<Expression>(parser.choice());
    if (parser.more()) parser.refuse("a ) without its (; it is not a regular expression");
}

bool Pattern::matches(const std::string& name, int64_t* steps) const {
    check(name.size() <= kMaxName, "a name of ", name.size(), " bytes, \"", name.substr(0, 60),
          "...\"; at most ", kMaxName, " are allowed");
    int64_t unused = 0;
    Matcher matcher{code_points(name), steps ? *steps : unused};
    return matcher.match(*expression_, 1)[matcher.text.size()];  // from position 0
}

std::string escape_pattern(const std::string& text) {
    std::string pattern;
    for (char c : text) {
        if (std::ispunct(uint8_t(c)) && c != '_' && c != '-') pattern += '\\';
        pattern += c;
    }
    return pattern;
}

}  // namespace slim
