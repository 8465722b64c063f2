// untouched: de/da: a has passed its gradient on before b, which uses it, has added its part
// answer: right
static void visit(Number* y, std::set<Number*>& seen, std::vector<Number*>& order) {
    if (!seen.insert(y).second) return;
    for (Number* input : y->inputs) visit(input, seen, order);
    order.push_back(y);
}

static std::vector<Number*> order_from(Number* y) {
    std::set<Number*> seen;
    std::vector<Number*> order;
    visit(y, seen, order);
    std::reverse(order.begin(), order.end());
    return order;
}
// answer: not reversed
// says: a has passed its gradient on before b, which uses it, has added its part
static void visit(Number* y, std::set<Number*>& seen, std::vector<Number*>& order) {
    if (!seen.insert(y).second) return;
    for (Number* input : y->inputs) visit(input, seen, order);
    order.push_back(y);
}

static std::vector<Number*> order_from(Number* y) {
    std::set<Number*> seen;
    std::vector<Number*> order;
    visit(y, seen, order);
    return order;
}
// answer: each as often as it is found
// says: b comes twice: it passes its gradient on twice
static std::vector<Number*> order_from(Number* y) {
    std::vector<Number*> order{y};
    for (Number* input : y->inputs)
        for (Number* x : order_from(input)) order.push_back(x);
    std::stable_sort(order.begin(), order.end(),
                     [](Number* p, Number* q) { return p->name > q->name; });
    return order;
}
// answer: level by level
// says: has passed its gradient on before
static std::vector<Number*> order_from(Number* y) {
    std::vector<Number*> order{y};
    std::set<Number*> seen{y};
    for (size_t i = 0; i < order.size(); i++)
        for (Number* input : order[i]->inputs)
            if (seen.insert(input).second) order.push_back(input);
    return order;
}
// answer: sorted by name
// says: dq/dr: r has passed its gradient on before
static void visit(Number* y, std::set<Number*>& seen) {
    if (!seen.insert(y).second) return;
    for (Number* input : y->inputs) visit(input, seen);
}

static std::vector<Number*> order_from(Number* y) {
    std::set<Number*> seen;
    visit(y, seen);
    std::vector<Number*> order(seen.begin(), seen.end());
    std::sort(order.begin(), order.end(), [](Number* p, Number* q) { return p->name > q->name; });
    return order;
}
