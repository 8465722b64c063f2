// The texts of errors, and what the templates of check.h do with their arguments.
#include "core/check.h"

#include "tests/testing.h"

namespace slim {

TEST_CASE("check: a true condition does nothing, a false one throws the parts in order") {
    CHECK_NOTHROW(check(true, "never ", "seen"));
    CHECK(error_of([] { check(false, "op: ", 3, " and ", Shape{2, 5}, "; ", 0.5); }) ==
          "op: 3 and (2, 5); 0.5");
}

TEST_CASE("check: an Error is a std::runtime_error, so that a plain catch block sees the text") {
    try {
        fail("file: ", std::string("weights.bin"), " is missing");
    } catch (const std::runtime_error& e) {
        CHECK(std::string(e.what()) == "file: weights.bin is missing");
    }
    CHECK_THROWS_AS(fail("anything"), Error);
}

TEST_CASE("to_text: shapes look like PyTorch's, with nothing behind the last number") {
    CHECK(to_text(Shape{}) == "()");
    CHECK(to_text(Shape{7}) == "(7)");
    CHECK(to_text(Shape{2, 3}) == "(2, 3)");
    CHECK(to_text(Shape{1, 0, -4}) == "(1, 0, -4)");
}

TEST_CASE("to_text: numbers of every type") {
    CHECK(to_text(-3) == "-3");
    CHECK(to_text(9000000000L) == "9000000000");
    CHECK(to_text(4000000000u) == "4000000000");
    CHECK(to_text(18446744073709551615ul) == "18446744073709551615");
    CHECK(to_text(0.25) == "0.25");
    CHECK(to_text(1e-9) == "1e-09");
    CHECK(to_text(INFINITY) == "inf");
    CHECK(to_text("text") == "text");
}

}  // namespace slim
