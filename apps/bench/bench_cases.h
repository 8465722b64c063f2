// What bench times: pieces of work, and which is compared with which.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace slim {

using Work = std::function<void()>;  // one call is one step, one forward, one epoch ...

struct Case {
    std::string group;                    // a word of --case
    std::string a, b;                     // names of the two works
    std::function<Work()> make_a, make_b;
    bool one_thread_for_b = false;        // whatever --threads says

    std::string name() const { return group + " " + a; }
};

std::vector<Case> all_cases();

}  // namespace slim
