// answer: right
static Gradient gradient_of_f(double a, double b) {
    const double d_sin = std::cos(a * b);
    return {2 * a * b + d_sin * b, a * a + d_sin * a};
}
// answer: one of the two places
// says: df/da at a = 2, b = 3: expected 14.8805, got 12
// says: a occurs in sin(a b) too
static Gradient gradient_of_f(double a, double b) { return {2 * a * b, a * a}; }
// answer: no chain rule
// says: a b gains b per unit of a: the chain rule
static Gradient gradient_of_f(double a, double b) {
    return {2 * a * b + std::cos(a * b), a * a + std::cos(a * b)};
}
// answer: df/da twice
// says: df/db at a = 2, b = 3: expected
// says: this is df/da
static Gradient gradient_of_f(double a, double b) {
    const double da = 2 * a * b + b * std::cos(a * b);
    return {da, da};
}
// answer: swapped
// says: this is df/db
static Gradient gradient_of_f(double a, double b) {
    return {a * a + a * std::cos(a * b), 2 * a * b + b * std::cos(a * b)};
}
// answer: df/db without a^2 b
// says: b occurs in a^2 b too
static Gradient gradient_of_f(double a, double b) {
    return {2 * a * b + b * std::cos(a * b), a * std::cos(a * b)};
}
