// Json on top of nlohmann's parser and printer. See json.h.
#include "data/json.h"

#include <nlohmann/json.hpp>

#include "core/check.h"

namespace slim {

namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxValues = 1'000'000;  // bounds the memory that a hostile text can ask for

// The parser calls one function for each thing that it meets. We put the thing into the innermost
// list or object that is still open.
struct Builder : nlohmann::json_sax<json> {
    explicit Builder(const std::string& name) : name(name) {}

    // Returns the place where the value now is.
    Json& put(Json value) {
        check(++values <= kMaxValues, name, ": not readable: more than ", kMaxValues, " values");
        if (open.empty()) return root = std::move(value);
        if (auto* list = std::get_if<Json::List>(&open.back()->value))
            return list->emplace_back(std::move(value));
        return std::get<Json::Object>(open.back()->value)[member] = std::move(value);
    }
    bool start(Json container) {
        check(open.size() < kMaxDepth, name, ": not readable: nested deeper than ", kMaxDepth);
        open.push_back(&put(std::move(container)));
        return true;
    }
    bool end() {
        open.pop_back();
        return true;
    }

    bool null() override { return put({}), true; }
    bool boolean(bool b) override { return put(b), true; }
    bool number_integer(int64_t n) override { return put(n), true; }
    bool number_unsigned(uint64_t n) override {
        return put(n <= uint64_t(INT64_MAX) ? Json(int64_t(n)) : Json(double(n))), true;
    }
    bool number_float(double x, const std::string&) override { return put(x), true; }
    bool string(std::string& s) override { return put(std::move(s)), true; }
    bool binary(json::binary_t&) override { return false; }  // not in JSON texts
    bool start_array(size_t) override { return start(Json::List()); }
    bool end_array() override { return end(); }
    bool start_object(size_t) override { return start(Json::Object()); }
    bool end_object() override { return end(); }
    bool key(std::string& key) override {
        check(open.back()->find(key) == nullptr, name, ": not readable: the key \"", key,
              "\" is there twice in one object");
        member = std::move(key);
        return true;
    }
    bool parse_error(size_t, const std::string&, const json::exception& e) override {
        const std::string text = e.what();  // "[json.exception.parse_error.101] parse error at ..."
        fail(name, ": not JSON: ", text.substr(std::min(text.find("] ") + 2, text.size())));
    }

    const std::string& name;
    Json root;
    size_t values = 0;
    std::vector<Json*> open;  // from the root inwards; valid, as only the innermost list grows
    std::string member;  // the key of the value to come
};

json to_nlohmann(const Json& j) {
    if (auto* b = std::get_if<bool>(&j.value)) return *b;
    if (auto* n = std::get_if<int64_t>(&j.value)) return *n;
    if (auto* x = std::get_if<double>(&j.value)) return *x;
    if (auto* s = std::get_if<std::string>(&j.value)) return *s;
    if (auto* list = std::get_if<Json::List>(&j.value)) {
        json out = json::array();
        for (const Json& item : *list) out.push_back(to_nlohmann(item));
        return out;
    }
    if (auto* object = std::get_if<Json::Object>(&j.value)) {
        json out = json::object();
        for (const auto& [key, item] : *object) out[key] = to_nlohmann(item);
        return out;
    }
    return nullptr;
}

template <class T>
const T& get(const Json& j, const std::string& name, const char* wanted) {
    if (auto* value = std::get_if<T>(&j.value)) return *value;
    std::string got = j.dump(-1);
    if (got.size() > 60) got = got.substr(0, 57) + "...";
    fail(name, ": wrong type: ", got, "; it must be ", wanted);
}

}  // namespace

bool Json::as_bool(const std::string& name) const {
    return get<bool>(*this, name, "true or false");
}
int64_t Json::as_int(const std::string& name) const {
    return get<int64_t>(*this, name, "a whole number");
}
double Json::as_double(const std::string& name) const {
    if (auto* n = std::get_if<int64_t>(&value)) return double(*n);
    return get<double>(*this, name, "a number");
}
const std::string& Json::as_string(const std::string& name) const {
    return get<std::string>(*this, name, "a text in quotes");
}
const Json::List& Json::as_list(const std::string& name) const {
    return get<List>(*this, name, "a list [...]");
}
const Json::Object& Json::as_object(const std::string& name) const {
    return get<Object>(*this, name, "an object {...}");
}

const Json& Json::at(const std::string& key, const std::string& name) const {
    as_object(name);  // throws if it is none
    const Json* found = find(key);
    check(found != nullptr, name, ": there is no \"", key, "\" in it");
    return *found;
}

const Json* Json::find(const std::string& key) const {
    const Object* object = std::get_if<Object>(&value);
    if (!object) return nullptr;
    const auto found = object->find(key);
    return found == object->end() ? nullptr : &found->second;
}

std::string Json::dump(int indent) const {
    try {
        return to_nlohmann(*this).dump(indent);
    } catch (const json::exception&) {
        fail("json: a string is not valid UTF-8; JSON texts are");
    }
}

Json parse_json(std::string_view text, const std::string& name) {
    // The parser would take a zero byte for the end of the text and ignore what follows.
    check(text.find('\0') == text.npos, name, ": not JSON: there is a zero byte in it");
    Builder builder(name);
    json::sax_parse(text.begin(), text.end(), &builder);
    return std::move(builder.root);
}

}  // namespace slim
