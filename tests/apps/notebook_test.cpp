// The notebook in C++, on a small data set: its output, with what may vary masked.
#include <regex>

#include "core/random.h"
#include "tests/apps/run.h"
#include "tests/data/write_idx.h"
#include "tests/testing.h"

namespace slim {

namespace {

// Images 28 x 28 with a bright block at one of ten places, which is the label.
void write_blocks(const ScratchFolder& folder, const std::string& name, int64_t count) {
    Rng rng(1);
    std::string pixels(size_t(count * 784), '\0'), labels;
    for (int64_t i = 0; i < count; i++) {
        const int label = int(rng.uniform(0, 10));
        labels += char(label);
        for (int64_t row = 12; row < 16; row++)
            for (int64_t col = 0; col < 2; col++)
                pixels[size_t(i * 784 + row * 28 + 4 + 2 * label + col)] = char(200);
    }
    write_idx(folder / (name + "-images-idx3-ubyte"), {count, 28, 28}, pixels);
    write_idx(folder / (name + "-labels-idx1-ubyte"), {count}, labels);
}

const std::string kTraining =
    "Epoch 001/001 | Batch 000/401 | Loss: N\n"
    "Epoch 001/001 | Batch 400/401 | Loss: N\n"
    "Epoch: 001/001 training accuracy: N%\n"
    "Time elapsed: N min\n"
    "Total Training Time: N min\n";

}  // namespace

TEST_CASE("fault: the notebook prints the lines of the source, its listing with m first") {
    const ScratchFolder folder;
    write_blocks(folder, "train", 400 * 64 + 10);
    write_blocks(folder, "t10k", 100);
    const Finished done =
        run(built_program("notebook") + " --epochs 1 --data " + folder.path);
    CHECK(done.status == 0);
    CHECK(done.err == "");

    // The five layers print the same numbers before training, and each its own op.
    std::smatch first;
    const std::string head = done.out.substr(0, done.out.find("\n\n"));
    REQUIRE(std::regex_search(head, first, std::regex("tensor\\(\\[\\[.*?\\]\\]")));
    size_t same = 0;
    for (size_t at = head.find(first.str()); at != std::string::npos;
         at = head.find(first.str(), at + 1))
        same++;
    CHECK(same == 5);

    const std::string masked = std::regex_replace(
        done.out.substr(head.size() + 2), std::regex("\\d+\\.\\d+"), "N");
    std::string adapted, listing;
    for (const std::string i : {"0", "1", "2", "3", "4"}) {
        const std::string sizes = i == "0"   ? "in_features=784, out_features=128"
                                  : i == "2" ? "in_features=128, out_features=256"
                                             : "in_features=256, out_features=10";
        if (i == "1" || i == "3") {
            adapted += "    (" + i + "): ReLU()\n";
            continue;
        }
        adapted += "    (" + i + "): LinearWithDoRAMerged(\n      (linear): Linear(" + sizes +
                   ", bias=True)\n      (lora): LoRALayer()\n    )\n";
        for (const std::string name : {"m: True", "linear.weight: False", "linear.bias: False",
                                       "lora.A: True", "lora.B: True"})
            listing += "layers." + i + "." + name + "\n";
    }
    CHECK(masked == kTraining +
                        "Test accuracy: N%\n\n"
                        "MultilayerPerceptron(\n"
                        "  (layers): Sequential(\n"
                        "    (0): Linear(in_features=784, out_features=128, bias=True)\n"
                        "    (1): ReLU()\n"
                        "    (2): Linear(in_features=128, out_features=256, bias=True)\n"
                        "    (3): ReLU()\n"
                        "    (4): Linear(in_features=256, out_features=10, bias=True)\n"
                        "  )\n"
                        ")\n\n"
                        "MultilayerPerceptron(\n  (layers): Sequential(\n" + adapted +
                        "  )\n)\n\n" + listing + kTraining +
                        "Test accuracy: N%\nTest accuracy DoRA finetune: N%\n");

    // It learns: the blocks are easy.
    std::smatch accuracy;
    REQUIRE(std::regex_search(done.out, accuracy, std::regex("DoRA finetune: (\\d+\\.\\d+)%")));
    CHECK(std::stod(accuracy[1]) > 99);
}

}  // namespace slim
