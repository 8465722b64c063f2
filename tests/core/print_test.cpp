// Printing, against what PyTorch 1.13 prints for the same tensor. Every literal below is its
// output, except grad_fn=<add>, where PyTorch names its own classes (grad_fn=<AddBackward0>).
#include <sstream>

#include "tests/testing.h"

namespace slim {

static const real kNan = std::numeric_limits<real>::quiet_NaN();
static const real kInf = std::numeric_limits<real>::infinity();

// torch.arange(n).reshape(shape) * step
static Tensor counting(const Shape& shape, double step = 1) {
    Tensor x = zeros(shape);
    for (int64_t i = 0; i < x.size(); i++) x.mutable_data()[i] = real(double(i) * step);
    return x;
}

// A literal of several lines begins behind a line break, which does not count.
static void check_prints(const Tensor& x, const std::string& expected) {
    CHECK(to_string(x) == (expected[0] == '\n' ? expected.substr(1) : expected));
}

TEST_CASE("print: whole numbers have a point and nothing behind it") {
    check_prints(tensor({1, 2, 30}), "tensor([ 1.,  2., 30.])");
    check_prints(tensor({-1, 2}), "tensor([-1.,  2.])");
    check_prints(tensor({0, 0}), "tensor([0., 0.])");
    check_prints(tensor({0, 10}), "tensor([ 0., 10.])");
    check_prints(tensor({1, 1000}), "tensor([   1., 1000.])");
    check_prints(tensor({100000000, 100000000}), "tensor([100000000., 100000000.])");
}

TEST_CASE("print: fractions have four digits, and all numbers one width") {
    check_prints(tensor({1.5, -2.25, 100}), "tensor([  1.5000,  -2.2500, 100.0000])");
    check_prints(tensor({real(0x1p-13), real(0x1p-12)}), "tensor([0.0001, 0.0002])");
    check_prints(tensor({real(-0.0), 1.5}), "tensor([-0.0000, 1.5000])");
    check_prints(tensor({real(-0.0), 1}), "tensor([-0., 1.])");
}

TEST_CASE("print: very large, very small and very different numbers are scientific") {
    check_prints(tensor({real(1e-5), 1}), "tensor([1.0000e-05, 1.0000e+00])");
    check_prints(tensor({1, real(1e9)}), "tensor([1.0000e+00, 1.0000e+09])");
    check_prints(tensor({real(1e-5)}), "tensor([1.0000e-05])");
    check_prints(tensor({real(0x1p-14), real(0x1p-12)}), "tensor([6.1035e-05, 2.4414e-04])");
    check_prints(tensor({1, 1001.5}), "tensor([1.0000e+00, 1.0015e+03])");
    check_prints(tensor({1, 1001}), "tensor([1.0000e+00, 1.0010e+03])");
    check_prints(tensor({real(2e8), real(2e8)}), "tensor([2.0000e+08, 2.0000e+08])");
    check_prints(tensor({real(0.99999), real(0.00011)}), "tensor([9.9999e-01, 1.1000e-04])");
    check_prints(tensor({real(-1e-6), 2.5, real(-3e5)}),
                 "tensor([-1.0000e-06,  2.5000e+00, -3.0000e+05])");
}

TEST_CASE("print: scalars") {
    check_prints(scalar(1), "tensor(1.)");
    check_prints(scalar(0.5), "tensor(0.5000)");
    check_prints(scalar(-3.25), "tensor(-3.2500)");
    check_prints(scalar(1e10), "tensor(1.0000e+10)");
    check_prints(scalar(1e-10), "tensor(1.0000e-10)");
}

TEST_CASE("print: nothing") {
    check_prints(tensor({}), "tensor([])");
    check_prints(zeros({0, 3}), "tensor([], size=(0, 3))");
    check_prints(zeros({2, 0}), "tensor([], size=(2, 0))");
    check_prints(zeros({0, 3}).set_requires_grad(), "tensor([], size=(0, 3), requires_grad=True)");
    CHECK(to_string(Tensor()) == "tensor(undefined)");
}

TEST_CASE("print: NaN and infinity do not set the width, and NaN has no sign") {
    check_prints(tensor({kNan, 1}), "tensor([nan, 1.])");
    check_prints(tensor({std::copysign(kNan, real(-1))}), "tensor([nan])");
    check_prints(tensor({kInf, -kInf, 1}), "tensor([inf, -inf, 1.])");
    check_prints(tensor({-kInf, kInf}), "tensor([-inf, inf])");
    check_prints(tensor({kInf, -kInf, 1.25, 10.5}), "tensor([    inf,    -inf,  1.2500, 10.5000])");
    check_prints(tensor({real(1e-5), kInf}), "tensor([1.0000e-05,        inf])");
    check_prints(scalar(double(kNan)), "tensor(nan)");
    check_prints(scalar(-INFINITY), "tensor(-inf)");
}

// `n` times `word`, `per_line` of them in each line.
static std::string repeated(const std::string& word, int n, int per_line) {
    std::string text = "tensor([";
    for (int i = 0; i < n; i++) {
        if (i > 0) text += i % per_line == 0 ? ",\n        " : ", ";
        text += word;
    }
    return text + "])";
}

TEST_CASE("fault: print: without a finite nonzero element, lines break as PyTorch breaks them") {
    // PyTorch starts at a width of 1, so a line has floor((80 - 7) / 3) = 24 elements.
    check_prints(zeros({24}), repeated("0.", 24, 24));
    check_prints(zeros({40}), repeated("0.", 40, 24));
    check_prints(full({50}, kNan), repeated("nan", 50, 24));
    check_prints(full({25}, kInf), repeated("inf", 25, 24));
    check_prints(full({25}, -kInf), repeated("-inf", 25, 24));
    check_prints(full({25}, -0.0), repeated("-0.", 25, 24));
    // A matrix's rows begin one column further right, and still hold floor((80 - 8) / 3) = 24.
    const std::string text = to_string(zeros({2, 25}).set_requires_grad());
    check_words(text, {"0., 0.,\n         0.],\n        [0., ", "0.]], requires_grad=True)"});
    CHECK(text.find('\n') == 9 + 24 * 4 - 1);
    check_prints(full({}, kNan), "tensor(nan)");
}

TEST_CASE("print: two axes") {
    check_prints(tensor({1, 2, 3, 4, 5, 6}, {2, 3}), R"(
tensor([[1., 2., 3.],
        [4., 5., 6.]]))");
    check_prints(tensor({1, -2.5, 0.125, 4}, {2, 2}), R"(
tensor([[ 1.0000, -2.5000],
        [ 0.1250,  4.0000]]))");
    check_prints(tensor({7}, {1, 1}), "tensor([[7.]])");
}

TEST_CASE("print: three axes and four have empty lines between their blocks") {
    check_prints(counting({2, 3, 2}), R"(
tensor([[[ 0.,  1.],
         [ 2.,  3.],
         [ 4.,  5.]],

        [[ 6.,  7.],
         [ 8.,  9.],
         [10., 11.]]]))");
    check_prints(add_scalar(counting({2, 3, 2}, 0.25), -1), R"(
tensor([[[-1.0000, -0.7500],
         [-0.5000, -0.2500],
         [ 0.0000,  0.2500]],

        [[ 0.5000,  0.7500],
         [ 1.0000,  1.2500],
         [ 1.5000,  1.7500]]]))");
    check_prints(counting({2, 2, 1, 2}), R"(
tensor([[[[0., 1.]],

         [[2., 3.]]],


        [[[4., 5.]],

         [[6., 7.]]]]))");
}

TEST_CASE("print: long rows go on in the next line, at 80 columns") {
    check_prints(counting({30}), R"(
tensor([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12., 13.,
        14., 15., 16., 17., 18., 19., 20., 21., 22., 23., 24., 25., 26., 27.,
        28., 29.]))");
    check_prints(counting({20}, 0.125), R"(
tensor([0.0000, 0.1250, 0.2500, 0.3750, 0.5000, 0.6250, 0.7500, 0.8750, 1.0000,
        1.1250, 1.2500, 1.3750, 1.5000, 1.6250, 1.7500, 1.8750, 2.0000, 2.1250,
        2.2500, 2.3750]))");
    check_prints(counting({2, 20}, 0.125), R"(
tensor([[0.0000, 0.1250, 0.2500, 0.3750, 0.5000, 0.6250, 0.7500, 0.8750, 1.0000,
         1.1250, 1.2500, 1.3750, 1.5000, 1.6250, 1.7500, 1.8750, 2.0000, 2.1250,
         2.2500, 2.3750],
        [2.5000, 2.6250, 2.7500, 2.8750, 3.0000, 3.1250, 3.2500, 3.3750, 3.5000,
         3.6250, 3.7500, 3.8750, 4.0000, 4.1250, 4.2500, 4.3750, 4.5000, 4.6250,
         4.7500, 4.8750]]))");
    check_prints(counting({2, 1, 30}), R"(
tensor([[[ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12., 13.,
          14., 15., 16., 17., 18., 19., 20., 21., 22., 23., 24., 25., 26., 27.,
          28., 29.]],

        [[30., 31., 32., 33., 34., 35., 36., 37., 38., 39., 40., 41., 42., 43.,
          44., 45., 46., 47., 48., 49., 50., 51., 52., 53., 54., 55., 56., 57.,
          58., 59.]]]))");
}

TEST_CASE("print: more than a thousand elements are shortened to three at either end") {
    check_prints(counting({1001}), "tensor([   0.,    1.,    2.,  ...,  998.,  999., 1000.])");
    check_prints(counting({40, 50}), R"(
tensor([[0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 4.7000e+01, 4.8000e+01,
         4.9000e+01],
        [5.0000e+01, 5.1000e+01, 5.2000e+01,  ..., 9.7000e+01, 9.8000e+01,
         9.9000e+01],
        [1.0000e+02, 1.0100e+02, 1.0200e+02,  ..., 1.4700e+02, 1.4800e+02,
         1.4900e+02],
        ...,
        [1.8500e+03, 1.8510e+03, 1.8520e+03,  ..., 1.8970e+03, 1.8980e+03,
         1.8990e+03],
        [1.9000e+03, 1.9010e+03, 1.9020e+03,  ..., 1.9470e+03, 1.9480e+03,
         1.9490e+03],
        [1.9500e+03, 1.9510e+03, 1.9520e+03,  ..., 1.9970e+03, 1.9980e+03,
         1.9990e+03]]))");
    check_prints(counting({501, 2}), R"(
tensor([[0.0000e+00, 1.0000e+00],
        [2.0000e+00, 3.0000e+00],
        [4.0000e+00, 5.0000e+00],
        ...,
        [9.9600e+02, 9.9700e+02],
        [9.9800e+02, 9.9900e+02],
        [1.0000e+03, 1.0010e+03]]))");
}

TEST_CASE("print: the format is chosen from what is shown, not from what is left out") {
    Tensor x = full({1006}, 1e9);
    for (int64_t i = 0; i < 3; i++) x.mutable_data()[i] = x.mutable_data()[1003 + i] = real(i);
    check_prints(x, "tensor([0., 1., 2.,  ..., 0., 1., 2.])");
}

TEST_CASE("print: three axes, of which the first and the last are shortened") {
    check_prints(add_scalar(counting({8, 2, 70}), 1000), R"(
tensor([[[1000., 1001., 1002.,  ..., 1067., 1068., 1069.],
         [1070., 1071., 1072.,  ..., 1137., 1138., 1139.]],

        [[1140., 1141., 1142.,  ..., 1207., 1208., 1209.],
         [1210., 1211., 1212.,  ..., 1277., 1278., 1279.]],

        [[1280., 1281., 1282.,  ..., 1347., 1348., 1349.],
         [1350., 1351., 1352.,  ..., 1417., 1418., 1419.]],

        ...,

        [[1700., 1701., 1702.,  ..., 1767., 1768., 1769.],
         [1770., 1771., 1772.,  ..., 1837., 1838., 1839.]],

        [[1840., 1841., 1842.,  ..., 1907., 1908., 1909.],
         [1910., 1911., 1912.,  ..., 1977., 1978., 1979.]],

        [[1980., 1981., 1982.,  ..., 2047., 2048., 2049.],
         [2050., 2051., 2052.,  ..., 2117., 2118., 2119.]]]))");
}

TEST_CASE("print: what requires a gradient says so, on a line of its own if it must") {
    check_prints(tensor({1, 2}).set_requires_grad(), "tensor([1., 2.], requires_grad=True)");
    check_prints(zeros({2, 2}).set_requires_grad(), R"(
tensor([[0., 0.],
        [0., 0.]], requires_grad=True))");
    check_prints(counting({6}, 0.125).set_requires_grad(),
                 "tensor([0.0000, 0.1250, 0.2500, 0.3750, 0.5000, 0.6250], requires_grad=True)");
    check_prints(counting({7}, 0.125).set_requires_grad(), R"(
tensor([0.0000, 0.1250, 0.2500, 0.3750, 0.5000, 0.6250, 0.7500],
       requires_grad=True))");
    check_prints(counting({10}, 0.125).set_requires_grad(), R"(
tensor([0.0000, 0.1250, 0.2500, 0.3750, 0.5000, 0.6250, 0.7500, 0.8750, 1.0000,
        1.1250], requires_grad=True))");
    check_prints(counting({16}, 0.125).set_requires_grad(), R"(
tensor([0.0000, 0.1250, 0.2500, 0.3750, 0.5000, 0.6250, 0.7500, 0.8750, 1.0000,
        1.1250, 1.2500, 1.3750, 1.5000, 1.6250, 1.7500, 1.8750],
       requires_grad=True))");
    const Tensor x = tensor({1, 2}).set_requires_grad();
    CHECK(to_string(x + x) == "tensor([2., 4.], grad_fn=<add>)");
    CHECK(to_string(sum(x)) == "tensor(3., grad_fn=<sum>)");
}

TEST_CASE("print: a stream gets the same text") {
    std::ostringstream out;
    out << tensor({1, 2}) << " and " << scalar(3);
    CHECK(out.str() == "tensor([1., 2.]) and tensor(3.)");
}

}  // namespace slim
