// Reads tests/reference/*.txt. See reference.h; the format is at the head of make_reference.py.
#include "tests/reference/reference.h"

#include <fstream>
#include <sstream>

#include "core/ops.h"

namespace slim {

// `name dims... : values`
static Tensor parse_line(const std::string& line, std::string& name) {
    std::istringstream in(line);
    in >> name;
    Shape shape;
    std::string word;
    while (in >> word && word != ":") shape.push_back(std::stoll(word));
    std::vector<real> values;
    while (in >> word) values.push_back(real(std::stod(word)));
    return tensor(values, shape);  // checks that the count fits the shape
}

Reference::Reference(const std::string& file) : file_("tests/reference/" + file) {
    std::ifstream in(file_);
    check(in.good(), "reference: cannot read ", file_,
          ". hint: run the tests from the root of the repository");
    std::string line, name;
    while (std::getline(in, line)) {
        if (line.empty() || line[0] == '#') continue;
        Tensor value = parse_line(line, name);
        tensors_[name] = value;
    }
}

Tensor Reference::operator[](const std::string& name) const {
    const auto found = tensors_.find(name);
    check(found != tensors_.end(), "reference: ", file_, " has no tensor named ", name);
    return clone(found->second);
}

std::vector<int> Reference::integers(const std::string& name) const {
    std::vector<int> result;
    for (real value : (*this)[name].to_vector()) result.push_back(int(value));
    return result;
}

}  // namespace slim
