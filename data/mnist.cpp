// Finds the files of a data set, and checks that images and labels belong together. See mnist.h.
#include "data/mnist.h"

#include <algorithm>  // find_if
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
          ": there is no such folder. hint: make data fetches MNIST into data/mnist");
    if (!similar_file(folder, "-ubyte").empty()) return folder;
    for (const char* below : {"/MNIST/raw", "/FashionMNIST/raw", "/KMNIST/raw"})
        if (file_exists(folder + below)) return folder + below;
    return folder;
}

// The same file goes by several names: with '-' before idx in the original, with '.' in archives.
std::string locate(const std::string& folder, const std::string& name, const std::string& type) {
    const std::string dashed = folder + "/" + name + "-" + type;
    const std::string dotted = folder + "/" + name + "." + type;
    for (const std::string& path : {dashed, dotted}) {
        if (file_exists(path)) return path;
        check(!file_exists(path + ".gz"), path, ": only the packed file is there. hint: gunzip ",
              path, ".gz");
    }
    const std::string similar = similar_file(folder, name + "-" + type);
    fail(dashed, ": there is no such file. hint: ",
         similar.empty() ? "make data fetches MNIST into data/mnist"
                         : "ln -s " + std::filesystem::path(similar).filename().string() + " " +
                               dashed);
}

IdxFile read(const std::string& path, size_t dims, const char* wanted) {
    IdxFile file = read_idx(path);
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

ImageSet load_mnist(const std::string& root, Split split) {
    const std::string prefix = split == Split::kTrain ? "train" : "t10k";
    const std::string folder = data_folder(root);
    const std::string image_path = locate(folder, prefix + "-images", "idx3-ubyte");
    const std::string label_path = locate(folder, prefix + "-labels", "idx1-ubyte");
    IdxFile images = read(image_path, 3, "images");
    IdxFile labels = read(label_path, 1, "labels");

    ImageSet set;
    set.count = images.shape[0];
    set.rows = images.shape[1];
    set.cols = images.shape[2];
    check(!images.values.empty(), image_path, ": no images: the shape is ", images.shape);
    check(labels.shape[0] == set.count, label_path, ": ", labels.shape[0], " labels for the ",
          set.count, " images of ", image_path, "; each image needs one");
    const auto bad = std::find_if(labels.values.begin(), labels.values.end(),
                                  [](uint8_t label) { return label > 9; });
    if (bad != labels.values.end())
        fail(label_path, ": label ", int(*bad), " at index ", bad - labels.values.begin(),
             "; the model here has ten classes, 0 to 9",
             ". hint: use a set of ten classes; of EMNIST, that is emnist-digits or emnist-mnist");
    set.pixels = std::move(images.values);
    set.labels = std::move(labels.values);
    return set;
}

}  // namespace slim
