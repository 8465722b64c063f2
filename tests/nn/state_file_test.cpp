// Parameters in files: back to the bit, and what is refused.
#include "nn/state_file.h"

#include "tests/nn/adapter_folder.h"

namespace slim {

TEST_CASE("save_parameters, load_parameters: back to the bit, also adapted") {
    ScratchFolder folder;
    for (bool adapted : {false, true}) {
        Rng rng(1);
        Net from(rng), to(rng);
        if (adapted)
            for (Net* net : {&from, &to})
                attach(*net, {.method = Method::kDoRA, .rank = 2, .alpha = 6}, rng);
        perturb_trained(from, rng);
        CHECK(largest_difference(from.answer(), to.answer()) > 0);
        save_parameters(from, folder / "state");
        load_parameters(to, folder / "state");
        CHECK(same_bits(from.answer(), to.answer()));
        CHECK(snapshot(from) == snapshot(to));
        const TensorFile file = read_safetensors(folder / "state");
        CHECK(file.metadata == std::map<std::string, std::string>{{"format", "pt"}});
        CHECK(file.stored("embed.weight").dtype == kRealDtype);
        CHECK(file.tensors.count(adapted ? "fc1.lora.A" : "fc1.weight") == 1);
    }
}

TEST_CASE("load_parameters: another precision is converted") {
    ScratchFolder folder;
    Rng rng(2);
    Linear linear(2, 1, rng);
    TensorFile file;
    file.tensors["weight"] = store(tensor({1.5, -2}, {1, 2}), kDouble ? "F32" : "F64");
    file.tensors["bias"] = {"BF16", {1}, {0x40, 0x40}};  // 3
    write_safetensors(folder / "state", file);
    load_parameters(linear, folder / "state");
    CHECK(linear.weight.to_vector() == std::vector<real>{1.5, -2});
    CHECK(linear.bias.item() == 3);
}

TEST_CASE("load_parameters: a name or a shape that differs is an error with the file's name") {
    ScratchFolder folder;
    Rng rng(3);
    const std::string path = folder / "state";
    Net net(rng);
    save_parameters(net, path);
    const TensorFile good = read_safetensors(path);
    const std::string before = snapshot(net);
    const auto refused = [&](const TensorFile& file, const Names& words) {
        write_safetensors(path, file);
        check_words(error_of([&] { load_parameters(net, path); }), words);
        CHECK(snapshot(net) == before);
    };
    TensorFile file = good;
    file.tensors["encoder.fc1.wieght"] = file.tensors["fc1.weight"];
    refused(file,
            {path, "unexpected", "\"encoder.fc1.wieght\"", "did you mean \"encoder.fc1.weight\""});
    file = good;
    file.tensors.erase("head.weight");
    refused(file, {path, "\"head.weight\" of shape (2, 4) is missing"});
    file = good;
    file.tensors["head.weight"].shape = {4, 2};
    refused(file, {path, "\"head.weight\"", "(4, 2)", "(2, 4)"});
    file = good;
    file.tensors["head.weight"] = store(std::vector<int64_t>{1});
    refused(file, {path, "head.weight", "I64"});
    CHECK_ERROR(load_parameters(net, folder / "none"), folder / "none", "no such file");
}

TEST_CASE("save_parameters: refuses a quantised model, whose weights are not in its state") {
    ScratchFolder folder;
    Rng rng(4);
    Net net(rng);
    quantize_linear_layers(net, Quantization::kInt8);
    CHECK_ERROR(save_parameters(net, folder / "state"), folder / "state", "\"encoder.fc1\"",
                "quantised", "hint");
    CHECK(folder.names().empty());
}

}  // namespace slim
