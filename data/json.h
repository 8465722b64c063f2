// JSON values, for adapter_config.json, the headers of safetensors files and --json output. The
// parser is nlohmann's, and json.cpp is the only file that includes it.
//
//     Json config = Json::Object{{"r", 8}, {"bias", "none"}, {"modules", Json::List{"fc1"}}};
//     write_file("adapter_config.json", {config.dump()});
//     int64_t r = parse_json(text, "adapter_config.json").at("r", "config").as_int("config: r");
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace slim {

struct Json {
    using List = std::vector<Json>;
    using Object = std::map<std::string, Json>;  // so keys are always sorted

    Json() = default;  // null
    Json(bool b) : value(b) {}
    Json(int n) : value(int64_t(n)) {}
    Json(int64_t n) : value(n) {}
    Json(double x) : value(x) {}
    Json(const char* s) : value(std::string(s)) {}
    Json(std::string s) : value(std::move(s)) {}
    Json(List list) : value(std::move(list)) {}
    Json(Object object) : value(std::move(object)) {}

    bool operator==(const Json&) const = default;  // 1 and 1.0 differ

    // Returns the value as this type; throws if it is of another. The message calls it by the
    // name, such as "adapter_config.json: r".
    bool is_null() const { return std::holds_alternative<std::monostate>(value); }
    bool as_bool(const std::string& name) const;
    int64_t as_int(const std::string& name) const;
    double as_double(const std::string& name) const;  // integers too
    const std::string& as_string(const std::string& name) const;
    const List& as_list(const std::string& name) const;
    const Object& as_object(const std::string& name) const;

    // Returns a member of an object. If there is none, at() throws and find() returns null.
    const Json& at(const std::string& key, const std::string& name) const;
    const Json* find(const std::string& key) const;

    // Returns the text, keys sorted, one item per line; indent -1 writes one line without spaces.
    // NaN and infinity, which JSON lacks, become null. Throws when a string is not UTF-8.
    std::string dump(int indent = 2) const;

    std::variant<std::monostate, bool, int64_t, double, std::string, List, Object> value;
};

// Parses strictly: one value and nothing after it, UTF-8, no key twice in an object, at most 32
// levels deep and a million values in all. Errors begin with the name of the text; those of syntax
// also say line and column.
Json parse_json(std::string_view text, const std::string& name);

}  // namespace slim
