// data/json.h: what is accepted, what is refused, and that dump() and parse_json() are inverse.
#include "data/json.h"

#include <functional>

#include "tests/testing.h"

namespace slim {

using namespace std::literals;

namespace {

Json parse(std::string_view text) { return parse_json(text, "text.json"); }

std::string error_for(std::string_view text) {
    return error_of([&] { parse(text); });
}

std::string nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("json: every kind of value") {
    CHECK(parse("null").is_null());
    CHECK(parse("true") == Json(true));
    CHECK(parse("false") == Json(false));
    CHECK(parse("-12") == Json(-12));
    CHECK(parse("0.05") == Json(0.05));
    CHECK(parse("16.0") == Json(16.0));
    CHECK(parse("1e3") == Json(1000.0));
    CHECK(parse("\"a\\n\\u00e9\\ud83d\\ude00\\u0000b\"") == Json("a\né😀\0b"s));
    CHECK(parse("\"é\"") == Json("é"));
    CHECK(parse(" [1, [], {}] \r\n\t") == Json(Json::List{1, Json::List{}, Json::Object{}}));
    CHECK(parse("{\"b\": 1, \"a\": {\"c\": null}}") ==
          Json(Json::Object{{"a", Json::Object{{"c", {}}}}, {"b", 1}}));
    CHECK(parse("{\"\": 1}") == Json(Json::Object{{"", 1}}));
    CHECK(!(Json(1) == Json(1.0)));
    CHECK(!(Json("1") == Json(1)));
}

TEST_CASE("json: whole numbers are exact up to 64 bits") {
    CHECK(parse("9223372036854775807").as_int("n") == INT64_MAX);
    CHECK(parse("-9223372036854775808").as_int("n") == INT64_MIN);
    CHECK(parse("9223372036854775808") == Json(0x1p63));
    CHECK(parse("18446744073709551614") == Json(0x1p64));
    CHECK(parse("-9223372036854775809") == Json(-0x1p63));
    CHECK(parse(Json(int64_t(9007199254740993)).dump()) == Json(int64_t(9007199254740993)));
}

TEST_CASE("json: dump sorts keys and indents by 2, and parse gives the same back") {
    const Json config = Json::Object{
        {"use_dora", true},
        {"r", 8},
        {"lora_dropout", 0.05},
        {"lora_alpha", 16.0},
        {"task_type", {}},
        {"target_modules", Json::List{"layers.0", "fc \"2\"\n"}},
        {"rank_pattern", Json::Object{}},
    };
    CHECK(config.dump() == R"({
  "lora_alpha": 16.0,
  "lora_dropout": 0.05,
  "r": 8,
  "rank_pattern": {},
  "target_modules": [
    "layers.0",
    "fc \"2\"\n"
  ],
  "task_type": null,
  "use_dora": true
})");
    CHECK(config.dump(-1) ==
          R"({"lora_alpha":16.0,"lora_dropout":0.05,"r":8,"rank_pattern":{},)"
          R"("target_modules":["layers.0","fc \"2\"\n"],"task_type":null,"use_dora":true})");
    CHECK(parse(config.dump()) == config);
    CHECK(parse(config.dump(-1)) == config);
    CHECK(Json(std::nan("")).dump() == "null");
    CHECK(Json(-HUGE_VAL).dump() == "null");
    CHECK(Json("a\xff").is_null() == false);
    CHECK_ERROR(Json("a\xff").dump(), "json", "UTF-8");
}

TEST_CASE("json: random values survive dump and parse") {
    Rng rng(7);
    const std::function<Json(int)> random_value = [&](int depth) -> Json {
        switch (rng.below(depth > 0 ? 7 : 5)) {
            case 0: return {};
            case 1: return rng.below(2) == 0;
            case 2: return int64_t(rng.bits());
            case 3: return std::ldexp(rng.normal(), int(rng.below(600)) - 300);
            case 4: {
                std::string text;
                for (int64_t n = rng.below(6); n > 0; n--) text += char(rng.below(128));
                return text;
            }
            case 5: {
                Json::List list;
                for (int64_t n = rng.below(4); n > 0; n--) list.push_back(random_value(depth - 1));
                return list;
            }
            default: {
                Json::Object object;
                for (int64_t n = rng.below(4); n > 0; n--)
                    object[std::to_string(rng.below(100))] = random_value(depth - 1);
                return object;
            }
        }
    };
    for (int i = 0; i < 500; i++) {
        const Json value = random_value(4);
        CHECK(parse(value.dump()) == value);
        CHECK(parse(value.dump(-1)) == value);
    }
}

TEST_CASE("json: what is not JSON is refused, with the place") {
    check_words(error_for("{\n  \"r\": 8,\n}"), {"text.json: not JSON", "line 3"});
    for (std::string_view text :
         {""sv, " "sv, "nul"sv, "[1,]"sv, "[1 2]"sv, "{1: 2}"sv, "{'a': 1}"sv, "{\"a\" 1}"sv,
          "[1"sv, "{\"a\": 1"sv, "\"open"sv, "\"\x01\""sv, "\"\\x\""sv, "\"\\ud800\""sv, "01"sv,
          "+1"sv, ".5"sv, "1."sv, "1e"sv, "NaN"sv, "Infinity"sv, "1e400"sv, "{} {}"sv, "1 2"sv,
          "[1]//"sv, "{}\0"sv, "\0"sv, "[1]\0garbage"sv, "]"sv, "\"\xff\""sv, "\"\xc0\xaf\""sv,
          "\"\xed\xa0\x80\""sv, "\"\xf4\x90\x80\x80\""sv, "\"\xc3\""sv, "[\xc3\xa9]"sv}) {
        INFO("text: " << std::string(text));
        check_words(error_for(text), {"text.json: not JSON"});
    }
}

TEST_CASE("json: no key twice, not too deep, not too many") {
    check_words(error_for("{\"r\": 8, \"a\": 1, \"r\": 8}"), {"text.json", "\"r\"", "twice"});
    check_words(error_for("[{\"a\": {\"b\": 1, \"\\u0062\": 2}}]"), {"\"b\"", "twice"});
    CHECK_NOTHROW(parse("[{\"a\": 1}, {\"a\": 2, \"b\": {\"a\": 3}}]"));

    CHECK_NOTHROW(parse(nested(32)));
    check_words(error_for(nested(33)), {"text.json", "deeper than 32"});
    check_words(error_for(std::string(1'000'000, '[')), {"deeper than 32"});

    std::string zeros = "[0";
    for (int i = 0; i < 999'998; i++) zeros += ",0";
    CHECK(parse(zeros + "]").as_list("zeros").size() == 999'999);
    check_words(error_for(zeros + ",0]"), {"text.json", "more than 1000000 values"});
}

TEST_CASE("json: asking for a type") {
    const Json object = parse("{\"r\": 8, \"alpha\": 0.5, \"name\": \"fc\", \"list\": [1, 2]}");
    CHECK(object.at("r", "t").as_int("r") == 8);
    CHECK(object.at("r", "t").as_double("r") == 8.0);
    CHECK(object.at("alpha", "t").as_double("alpha") == 0.5);
    CHECK(object.at("name", "t").as_string("name") == "fc");
    CHECK(object.at("list", "t").as_list("list").size() == 2);
    CHECK(Json(true).as_bool("b"));
    CHECK(object.find("r") == &object.at("r", "t"));
    CHECK(object.find("nothing") == nullptr);
    CHECK(Json(1).find("r") == nullptr);

    CHECK_ERROR(object.at("nothing", "c.json"), "c.json: there is no \"nothing\"");
    CHECK_ERROR(Json(1).at("r", "c.json"), "c.json: wrong type: 1; it must be an object");
    CHECK_ERROR(Json("8").as_int("c.json: r"), "c.json: r: wrong type: \"8\"", "whole number");
    CHECK_ERROR(Json(8.0).as_int("r"), "r: wrong type: 8.0", "whole number");
    CHECK_ERROR(Json(1).as_bool("b"), "true or false");
    CHECK_ERROR(Json(true).as_double("x"), "wrong type: true", "a number");
    CHECK_ERROR(Json().as_string("s"), "wrong type: null", "text");
    CHECK_ERROR(Json(1).as_list("l"), "a list");
    CHECK_ERROR(Json(std::string(1000, 'x')).as_int("r"), "xxx...;");
}

}  // namespace slim
