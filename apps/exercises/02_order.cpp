// Exercise 2: an order without numbers.
//
// Lesson 2 sorts by the order of creation. Here no such number exists, as in many engines: a Number
// knows only its inputs. The function below lists the numbers as it finds them, and the gradients
// come out wrong. Mend it: each number must come after all numbers that use it, and only once.
//
// Check: make ex-02    Hint: make hint-02
#include <algorithm>
#include <set>

#include "apps/exercises/check.h"

using namespace slim;
struct Number {
    std::string name;
    std::vector<Number*> inputs;  // what it is the sum of
    double grad = 0;
};

// ---- your part: mend it -------------------------------------------------------------------------

static void visit(Number* y, std::set<Number*>& seen, std::vector<Number*>& order) {
    if (!seen.insert(y).second) return;
    order.push_back(y);
    for (Number* input : y->inputs) visit(input, seen, order);
}

static std::vector<Number*> order_from(Number* y) {
    std::set<Number*> seen;
    std::vector<Number*> order;
    visit(y, seen, order);
    return order;
}

// ---- the check ----------------------------------------------------------------------------------

static void check_order(Number& y, Number& a, double expected) {
    y.grad = 1;
    std::set<Number*> passed;
    for (Number* x : order_from(&y)) {
        require(passed.insert(x).second, x->name + " comes twice: it passes its gradient on twice");
        for (Number* input : x->inputs) {
            require(!passed.count(input), "d" + y.name + "/d" + a.name + ": " + input->name +
                                              " has passed its gradient on before " + x->name +
                                              ", which uses it, has added its part");
            input->grad += x->grad;
        }
    }
    expect("d" + y.name + "/d" + a.name, a.grad, expected);
}

static void check_both() {
    Number a{"a", {}}, b{"b", {&a, &a}}, c{"c", {&b, &b}}, d{"d", {&b, &c}}, e{"e", {&a, &d}};
    check_order(e, a, 7);  // b = 2 a, c = 4 a, d = 6 a, e = 7 a
    Number s{"s", {}}, p{"p", {}}, r{"r", {}}, t{"t", {}}, q{"q", {}};  // their order tells nothing
    t.inputs = {&r}, p.inputs = {&t}, s.inputs = {&p, &r}, q.inputs = {&r, &s, &t};
    check_order(q, r, 4);  // p = t = r, s = 2 r, q = 4 r
}

int main() { return run_exercise(__FILE__, check_both); }
