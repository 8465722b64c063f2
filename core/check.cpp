// to_text(): values as text, for messages. See check.h.
#include "core/check.h"

#include <cstdio>  // snprintf

namespace slim {

std::string to_text(const char* s) { return s; }
std::string to_text(const std::string& s) { return s; }
std::string to_text(int number) { return std::to_string(number); }
std::string to_text(long number) { return std::to_string(number); }
std::string to_text(unsigned number) { return std::to_string(number); }
std::string to_text(unsigned long number) { return std::to_string(number); }

std::string to_text(double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", number);
    return text;
}

std::string to_text(const Shape& shape) {
    std::string text = "(";
    for (size_t i = 0; i < shape.size(); i++) {
        if (i > 0) text += ", ";
        text += std::to_string(shape[i]);
    }
    return text + ")";
}

}  // namespace slim
