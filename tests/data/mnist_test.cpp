// data/mnist.h: finding the files, and whether they belong together.
#include "data/mnist.h"

#include "tests/data/scratch.h"
#include "tests/data/write_idx.h"
#include "tests/testing.h"

namespace slim {

namespace {

struct SmallSet : ScratchFolder {
    SmallSet() {
        write_idx(*this / "train-images-idx3-ubyte", {3, 1, 2}, "abcdef");
        write_idx(*this / "train-labels-idx1-ubyte", {3}, "\x07\x01\x09");
        write_idx(*this / "t10k-images.idx3-ubyte", {1, 2, 2}, "wxyz");
        write_idx(*this / "t10k-labels.idx1-ubyte", {1}, std::string(1, '\0'));
    }
};

}  // namespace

TEST_CASE("mnist: both splits, both spellings of the names") {
    SmallSet folder;
    const DataSet train = load_mnist(folder.path, Split::kTrain);
    CHECK(train.count == 3);
    CHECK(train.rows == 1);
    CHECK(train.cols == 2);
    CHECK(train.features() == 2);
    CHECK(as_text(train.pixels) == "abcdef");
    CHECK(train.labels == Bytes{7, 1, 9});
    const DataSet test = load_mnist(folder.path, Split::kTest);
    CHECK(test.count == 1);
    CHECK(test.features() == 4);
    CHECK(as_text(test.pixels) == "wxyz");
    CHECK(test.labels == Bytes{0});
}

TEST_CASE("mnist: what is missing, and what to do") {
    SmallSet folder;
    CHECK_ERROR(load_mnist(folder / "nowhere", Split::kTrain), folder / "nowhere",
                "no such folder", "make data");
    CHECK_ERROR(load_mnist(folder / "train-labels-idx1-ubyte", Split::kTrain), "is not a folder");
    const std::string labels = folder / "train-labels-idx1-ubyte";
    std::filesystem::remove(labels);
    CHECK_ERROR(load_mnist(folder.path, Split::kTrain), labels, "no such file", "make data");
    write_file(labels + ".gz", {"\x1f\x8b"});
    CHECK_ERROR(load_mnist(folder.path, Split::kTrain), "hint: gunzip " + labels + ".gz");
    write_file(labels, {"\x1f\x8b\x08"});
    CHECK_ERROR(load_mnist(folder.path, Split::kTrain), labels, "looks like a gzip file");
}

TEST_CASE("mnist: files that do not belong together") {
    SmallSet folder;
    const std::string images = folder / "train-images-idx3-ubyte";
    const std::string labels = folder / "train-labels-idx1-ubyte";
    const auto load = [&] { return load_mnist(folder.path, Split::kTrain); };

    write_idx(labels, {2}, "\x07\x01");
    CHECK_ERROR(load(), labels, "2 labels", "3 images", images);
    write_idx(labels, {4}, "\x07\x01\x01\x01");
    CHECK_ERROR(load(), labels, "4 labels", "3 images", images);
    write_idx(labels, {3, 1}, "\x07\x01\x01");
    CHECK_ERROR(load(), labels, "(3, 1)", "labels have 1 dimensions");

    std::filesystem::copy_file(images, folder / "kept");
    std::filesystem::rename(images, labels);
    CHECK_ERROR(load(), images, "no such file");
    std::filesystem::copy_file(folder / "kept", images);
    CHECK_ERROR(load(), labels, "(3, 1, 2)", "images where labels belong", "swapped");
    write_idx(images, {3}, "\x07\x01\x01");
    CHECK_ERROR(load(), images, "(3)", "labels where images belong", "swapped");
}

TEST_CASE("fault: mnist: torchvision's layout, EMNIST's names and classes") {
    SmallSet folder;
    const ScratchFolder root;
    std::filesystem::create_directories(root / "MNIST");
    std::filesystem::copy(folder.path, root / "MNIST/raw");
    CHECK(load_mnist(root.path, Split::kTrain).count == 3);

    const std::string images = folder / "train-images-idx3-ubyte";
    std::filesystem::rename(images, folder / "emnist-digits-train-images-idx3-ubyte");
    CHECK_ERROR(load_mnist(folder.path, Split::kTrain), images, "no such file",
                "hint: ln -s emnist-digits-train-images-idx3-ubyte " + images);
    std::filesystem::rename(folder / "emnist-digits-train-images-idx3-ubyte", images);
    write_idx(folder / "train-labels-idx1-ubyte", {3}, "\x07\x10\x01");
    CHECK(load_mnist(folder.path, Split::kTrain).classes() == 17);
}

TEST_CASE("mnist: rows of floats, in two dimensions") {
    SmallSet folder;
    std::filesystem::remove(folder / "train-images-idx3-ubyte");
    const std::string path = folder / "train-images-idx2-float";
    write_file(path, {std::string("\0\0\x0d\x02\0\0\0\3\0\0\0\1\x3f\x80\0\0", 16),
                      std::string(8, '\0')});
    const DataSet set = load_mnist(folder.path, Split::kTrain);
    CHECK(set.values == std::vector<float>{1, 0, 0});
    CHECK(set.pixels.empty());
    CHECK(set.count == 3);
    CHECK(set.features() == 1);
}

TEST_CASE("mnist: sets without pixels") {
    SmallSet folder;
    for (const Shape& shape : {Shape{0, 28, 28}, Shape{3, 0, 2}, Shape{3, 2, 0}}) {
        write_idx(folder / "train-images-idx3-ubyte", shape, "");
        CHECK_ERROR(load_mnist(folder.path, Split::kTrain), "no images", to_text(shape));
    }
}

TEST_CASE("mnist: the real files" * doctest::skip(!file_exists("data/mnist"))) {
    const DataSet train = load_mnist("data/mnist", Split::kTrain);
    const DataSet test = load_mnist("data/mnist", Split::kTest);
    CHECK(train.count == 60'000);
    CHECK(test.count == 10'000);
    CHECK(train.features() == 784);
    CHECK(Bytes(train.labels.begin(), train.labels.begin() + 5) == Bytes{5, 0, 4, 1, 9});
    CHECK(Bytes(test.labels.begin(), test.labels.begin() + 5) == Bytes{7, 2, 1, 0, 4});
    double sum = 0;
    for (uint8_t pixel : train.pixels) sum += pixel;
    CHECK(sum / 255 / double(train.pixels.size()) == relative(0.1307, 0.001));
}

}  // namespace slim
