// Regular expressions for module names: Python's meaning, and time that is bounded.
#include "nn/adapters/pattern.h"

#include <chrono>

#include "tests/testing.h"

namespace slim {

namespace {

bool matches(const std::string& pattern, const std::string& name) {
    return Pattern(pattern).matches(name);
}

}  // namespace

// Each row holds for Python's re.fullmatch, too.
TEST_CASE("fault: patterns mean what they mean in Python") {
    struct Row {
        const char *pattern, *yes, *no;
    };
    const Row rows[] = {
        {"fc1", "fc1", "fc10"},
        {"fc1", "fc1", "xfc1"},
        {".*fc1", "encoder.fc1", "fc1.x"},
        {"layers\\.\\d+\\.fc", "layers.12.fc", "layers.x.fc"},
        {"layers\\.\\d+", "layers.0", "layersx0"},
        {"(q|k|v)_proj", "k_proj", "qk_proj"},
        {"(?:a|b)+c", "abbac", "c"},
        {"^fc1$", "fc1", "fc"},
        {"(.*\\.)?(^fc1)", "fc1", "encoder.fc1"},
        {"a$b|ab", "ab", "a"},
        {"[abc]x", "bx", "dx"},
        {"[^abc]x", "dx", "ax"},
        {"[a-c0-9_]+", "a1_c", "d"},
        {"[]a]+", "]a", "b"},
        {"[^]a]", "b", "]"},
        {"[a-]+", "a-", "b"},
        {"[\\d.]+", "1.2", "a"},
        {"[\\D]", "a", "1"},
        {"[^\\W\\d]+", "ab_", "a1"},
        {"\\w+\\W\\w+", "ab.cd", "abcd"},
        {"\\S+\\s\\S+", "a b", "ab"},
        {"a{2}", "aa", "aaa"},
        {"a{2,}", "aaaa", "a"},
        {"a{,2}", "", "aaa"},
        {"a{1,3}", "aaa", "aaaa"},
        {"a{}", "a{}", "a"},
        {"a{x}", "a{x}", "aa"},
        {"{", "{", ""},
        {"a*?b+?c??", "aabbc", "aac"},
        {"(a*)*b", "aab", "aaa"},
        {"(|a)b", "ab", "aab"},
        {"", "", "a"},
        {"a|", "", "b"},
        {"()", "", "a"},
        {".", "\xc3\xa9", "ab"},       // one character of two bytes
        {"[\xc3\xa9]", "\xc3\xa9", "e"},
        {"\\w", "\xc3\xa9", "."},
        {"a.b", "axb", "a\nb"},
        {"a$\\n", "a\n", "a"},
        {"\\[\\]\\(\\)\\{\\}\\*\\+\\?\\|\\^\\$\\\\", "[](){}*+?|^$\\", ""},
        {"a\\-b\\_c", "a-b_c", "ab_c"},
    };
    for (const Row& row : rows) {
        INFO(std::string(row.pattern));
        CHECK(matches(row.pattern, row.yes));
        CHECK(!matches(row.pattern, row.no));
    }
    for (const std::string name : {"a.b", "layers.0", "x+y(z)[1]", "^$|\\", "a b", "plain_1"}) {
        INFO(name);
        CHECK(matches(escape_pattern(name), name));
        CHECK(!matches(escape_pattern(name), name + "x"));
    }
    CHECK(!matches(escape_pattern("a.b"), "axb"));
}

TEST_CASE("fault: what is beyond the matcher is refused by its name") {
    const std::pair<const char*, const char*> refused[] = {
        {"(?i)fc", "flag"},          {"(?i:fc)", "flag"},           {"(?P<b>x)", "named group"},
        {"(?P=b)", "reference"},     {"fc\\Z", "\\Z"},              {"\\Afc", "\\A"},
        {"(?<=a)b", "lookbehind"},   {"(?<!a)b", "lookbehind"},     {"a(?=b)", "lookahead"},
        {"a(?!b)", "lookahead"},     {"(a)\\1", "reference"},       {"\\bfc", "word boundary"},
        {"(?#x)a", "comment"},       {"(?>a)", "atomic"},           {"(a)?(?(1)b)", "conditional"},
        {"a*+", "possessive"},       {"\\x41", "number"},           {"\\u0041", "number"},
        {"a**", "repetition of a"},  {"a{2}{3}", "repetition of a"}, {"*a", "nothing to repeat"},
        {"^*", "nothing to repeat"}, {"(|*)", "nothing to repeat"}, {"a{2,1}", "greater"},
        {"(fc", "not closed"},       {"fc)", "without its ("},      {"[a", "not closed"},
        {"[", "not closed"},         {"a\\", "backslash"},          {"\\q", "\\q"},
        {"[b-a]", "range"},          {"[a-\\d]", "range"},          {"a{2000}", "1000"}};
    for (const auto& [pattern, word] : refused) {
        INFO(std::string(pattern));
        CHECK_ERROR(Pattern(pattern), std::string(pattern), std::string(word));
    }
}

TEST_CASE("fault: no pattern takes long, or deep recursion, whatever the name") {
    const auto start = std::chrono::steady_clock::now();
    const std::string letters(Pattern::kMaxName, 'a');
    CHECK(!matches("(a+)+b", letters));
    CHECK(!matches("(((((((.*)*)*)*)*)*)*)*x", letters));
    CHECK(!matches("(a|a|aa)*(a|aa)*[^a]", letters));
    CHECK(matches("(x*)*(a?){500}a{500}", letters));
    CHECK(matches(std::string(100, '(') + "fc" + std::string(100, ')'), "fc"));
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    CHECK(seconds < 2);

    CHECK_ERROR(Pattern(std::string(101, '(') + "fc" + std::string(101, ')')), "nested");
    CHECK_ERROR(Pattern(std::string(60000, '(')), "nested");
    CHECK(!matches("((((a{1000}){1000}){1000}){1000}){1000}", letters));
    CHECK(matches("((((((){1000}){1000}){1000}){1000}){1000})a*", letters));
    std::string nested = "a";
    for (int i = 0; i < 40; i++) nested = "(" + nested + "|b)*";
    CHECK(!matches(nested + "c", letters));
    CHECK_ERROR(Pattern(std::string(Pattern::kMaxLength + 1, 'a')), "65537 bytes");
    CHECK_ERROR(matches("a*", letters + "a"), "1001 bytes", "at most 1000");
    CHECK(matches(std::string(1000, '.'), letters));
}

}  // namespace slim
