// Finds the files of a data set, and checks that images and labels belong together. See mnist.h.
#include "data/mnist.h"

#include <filesystem>

#include "data/idx.h"

namespace slim {

namespace {

// A file of another name that ends like this one, such as emnist-digits-train-images-idx3-ubyte.
std::string similar_file(const std::string& folder, const std::string& name) {
    std::error_code unreadable;  // then the range is empty, and the file is missing
    for (const auto& entry : std::filesystem::directory_iterator(folder, unreadable))
        if (entry.path().filename().string().ends_with(name)) return entry.path();
    return "";
}

// The folder itself, or, if it holds no IDX file, where torchvision puts them below its root.
std::string data_folder(const std::string& folder) {
    check(std::filesystem::is_directory(folder), folder,
          file_exists(folder) ? ": is not a folder" : ": there is no such folder",
          "; images are in a folder of four IDX files. hint: make data fetches MNIST into "
          "data/mnist");
    if (!similar_file(folder, "-ubyte").empty()) return folder;
    for (const char* below : {"/MNIST/raw", "/FashionMNIST/raw", "/KMNIST/raw"})
        if (file_exists(folder + below)) return folder + below;
    return folder;
}

// The same file goes by several names: with '-' before idx in the original, with '.' in archives.
// Files of floats end in idx2-float or idx3-float.
std::string locate(const std::string& folder, const std::string& name,
                   const std::vector<std::string>& types) {
    const std::string usual = folder + "/" + name + "-" + types[0];
    for (const std::string& type : types)
        for (const char* dot : {"-", "."}) {
            const std::string path = folder + "/" + name + dot + type;
            if (file_exists(path)) return path;
            check(!file_exists(path + ".gz"), path, ": only the packed file is there",
                  ". hint: gunzip ", path, ".gz");
        }
    const std::string similar = similar_file(folder, name + "-" + types[0]);
    fail(usual, ": there is no such file. hint: ",
         similar.empty() ? "make data fetches MNIST into data/mnist; files of your own need "
                           "its names"
                         : "ln -s " + std::filesystem::path(similar).filename().string() + " " +
                               usual);
}

IdxFile read(const std::string& path, size_t dims, const char* wanted) {
    IdxFile file = read_idx(path);
    if (!file.floats.empty()) dims = file.shape.size();  // of floats, any will do
    check(file.shape.size() == dims, path, ": wrong shape: ", file.shape, "; ", wanted,
          " have ", dims, " dimensions",
          dims == 3 && file.shape.size() == 1
              ? ". hint: these are labels where images belong: are two files swapped?"
          : dims == 1 && file.shape.size() == 3
              ? ". hint: these are images where labels belong: are two files swapped?"
              : "");
    return file;
}

}  // namespace

DataSet load_mnist(const std::string& root, Split split) {
    const std::string prefix = split == Split::kTrain ? "train" : "t10k";
    const std::string folder = data_folder(root);
    const std::string image_path = locate(
        folder, prefix + "-images", {"idx3-ubyte", "idx2-ubyte", "idx2-float", "idx3-float"});
    const std::string label_path = locate(folder, prefix + "-labels", {"idx1-ubyte"});
    IdxFile images = read(image_path, image_path.find("idx2") != std::string::npos ? 2 : 3,
                          "images");
    IdxFile labels = read(label_path, 1, "labels");
    const Shape& shape = images.shape;
    const bool is_float = !images.floats.empty();
    check(is_float || !images.values.empty(), image_path, ": no images: the shape is ", shape);
    check(labels.floats.empty(), label_path, ": labels are bytes, and these are floats");
    check(labels.shape[0] == shape[0], label_path, ": ", labels.shape[0], " labels for the ",
          shape[0], " images of ", image_path, "; each image needs one");
    DataSet set{std::move(images.values), std::move(labels.values), shape[0], 1, 0,
                std::move(images.floats)};
    if (shape.size() == 3 && !is_float) set.rows = shape[1];
    set.cols = int64_t(is_float ? set.values.size() : set.pixels.size()) / set.count / set.rows;
    return set;
}

}  // namespace slim
