// Numbers that PyTorch computed, to compare with. make_reference.py made them and explains their
// names:
//
//     Reference torch("ops.txt");
//     Tensor x = torch["linear.x"];
//
// The tests are run from the root of the repository, where tests/reference/ is found.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace slim {

class Reference {
public:
    explicit Reference(const std::string& file);  // a file in tests/reference/

    // A fresh copy, which the test may write to. An unknown name is an error.
    Tensor operator[](const std::string& name) const;
    std::vector<int> integers(const std::string& name) const;  // labels and ids

private:
    std::string file_;
    std::map<std::string, Tensor> tensors_;
};

}  // namespace slim
