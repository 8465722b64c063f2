// Lesson 2: why backward needs an order.
//
// You will learn: a value that is used twice gets its gradient in two parts, and it must not pass
//   anything on before both have come in. Visiting the newest value first guarantees that. The
//   whole of an autograd engine is in this file, for numbers that can only be added.
//
// Run: make lesson-02    (make gdb-02 stops in main)
// Do:  make ex-02
//
// Expected output:
//
//   b = a + a, c = b + b:  c is 4 a, so dc/da must be 4
//     at once, without an order:   dc/da = 6
//     newest first:                dc/da = 4
//
//   d = b + c:             d is 6 a, so dd/da must be 6
//     each once, as found:         dd/da = 2
//     newest first:                dd/da = 6
//
//   the nodes behind them, numbered as they were made: b 1, c 2, d 3
//   slim::backward()               dd/da = 6
#include <algorithm>
#include <cstdio>
#include <set>
#include <vector>

#include "core/autograd.h"
#include "core/ops.h"

// A number that remembers what it is the sum of. `made` counts upwards.
struct Number {
    int made;
    std::vector<Number*> inputs;
    double grad = 0;  // what the result gains per unit of this number

    // A sum passes its gradient on to each of its inputs, unchanged. It is *added* there: if the
    // input is used in two places, both have a share in it.
    void pass_on() {
        for (Number* input : inputs) input->grad += grad;
    }
};

// Wrong: whenever a share comes in, hand on at once all that is there. The shares that came before
// are handed on a second time.
static void at_once(Number& y) {
    for (Number* input : y.inputs) {
        input->grad += y.grad;
        at_once(*input);
    }
}

// Wrong: visit each number only once, but in the order in which we happen to find them. A number
// that is found early hands on what it has by then, and what comes in later is lost.
static void as_found(Number& y, std::set<Number*>& seen) {
    if (!seen.insert(&y).second) return;
    y.pass_on();
    for (Number* input : y.inputs) as_found(*input, seen);
}

static void collect(Number& y, std::set<Number*>& seen) {
    if (!seen.insert(&y).second) return;
    for (Number* input : y.inputs) collect(*input, seen);
}

// Right: newest first. A number can only be used by numbers that are made after it. So when its
// turn comes, every user has had its turn already, and the gradient is complete.
static void newest_first(Number& y) {
    std::set<Number*> seen;
    collect(y, seen);
    std::vector<Number*> order(seen.begin(), seen.end());
    std::sort(order.begin(), order.end(), [](Number* p, Number* q) { return p->made > q->made; });
    for (Number* x : order) x->pass_on();
}

int main() {
    Number a{0, {}}, b{1, {&a, &a}}, c{2, {&b, &b}}, d{3, {&b, &c}};
    const auto start_from = [&](Number& y) {  // dy/dy = 1, and nothing has come in elsewhere
        for (Number* x : {&a, &b, &c, &d}) x->grad = 0;
        y.grad = 1;
    };

    // c has b twice. `at_once` gives b 1, which goes to a twice (2); then b gets its second 1 and
    // has 2, which goes to a twice (4 more): 6. The first share was counted double.
    std::printf("b = a + a, c = b + b:  c is 4 a, so dc/da must be 4\n");
    start_from(c);
    at_once(c);
    std::printf("  at once, without an order:   dc/da = %g\n", a.grad);
    start_from(c);
    newest_first(c);
    std::printf("  newest first:                dc/da = %g\n\n", a.grad);

    // d finds b first, with a gradient of 1, and b hands that on to a. The 2 that b gets from c
    // afterwards never reach a.
    std::printf("d = b + c:             d is 6 a, so dd/da must be 6\n");
    std::set<Number*> seen;
    start_from(d);
    as_found(d, seen);
    std::printf("  each once, as found:         dd/da = %g\n", a.grad);
    start_from(d);
    newest_first(d);
    std::printf("  newest first:                dd/da = %g\n\n", a.grad);

    // The library does the same: `number` in its nodes is our `made`. See core/autograd.cpp.
    slim::Tensor ta = slim::scalar(1).set_requires_grad();
    slim::Tensor tb = ta + ta, tc = tb + tb, td = tb + tc;
    const auto number = [](const slim::Tensor& x) { return int(x.impl->node->number); };
    std::printf("the nodes behind them, numbered as they were made: b %d, c %d, d %d\n", number(tb),
                number(tc), number(td));
    backward(td);  // runs d 3, c 2, b 1; each is freed then: a second backward fails
    std::printf("slim::backward()               dd/da = %g\n", double(ta.grad().item()));
}
