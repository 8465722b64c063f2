// Adapters in files, worked into a base.
#include <limits>

#include "tests/nn/adapter_folder.h"

namespace slim {

// ---- merging files ------------------------------------------------------------------------------

TEST_CASE("merge_into: the same weights as merging the modules, for all kinds of adapters") {
    for (const Method method : {Method::kLoRA, Method::kDoRA})
        for (const BiasTraining bias : {BiasTraining::kNone, BiasTraining::kAll}) {
            ScratchFolder folder;
            Rng rng(19);
            Net net(rng);
            save_parameters(net, folder / "base");
            const AdapterConfig config{.method = method,
                                       .rank = 3, .alpha = 2,
                                       .target_modules = {"embed", "fc1"},
                                       .rank_pattern = {{"encoder.fc1", 1}},
                                       .alpha_pattern = {{"embed", 5}},
                                       .bias = bias};
            AdapterSet adapters(net);
            adapters.add("a", config, rng);
            perturb_trained(net, rng);
            save_adapter(folder / "a", adapters);
            adapters.merge_and_unload();  // plain modules

            const TensorFile base = read_safetensors(folder / "base");
            const TensorFile merged = merge_into(base, load_adapter(folder / "a"));
            CHECK(merged.metadata.at("format") == "pt");
            CHECK(merged.tensors.size() == base.tensors.size());
            for (const auto& entry : net.state_dict()) {
                const auto& [name, tensor] = entry;
                INFO(entry.first);
                CHECK(merged.stored(name).dtype == kRealDtype);
                check_answers(merged.tensor(name), tensor);
                const bool same = merged.stored(name).bytes == base.stored(name).bytes;
                const bool is_other = name.starts_with("encoder.fc2.") || name == "head.weight";
                CHECK(same == (name.ends_with("bias") ? bias == BiasTraining::kNone : is_other));
            }
            write_safetensors(folder / "merged", merged);
            Net plain(rng);
            load_parameters(plain, folder / "merged");
            check_answers(plain.answer(), net.answer());
        }
}

TEST_CASE("merge_into: a row of zeros under DoRA stays finite") {
    AdapterFolder folder(true);
    TensorFile base;
    Tensor W = ones({7, 5}), head = ones({2, 4});
    std::fill_n(W.mutable_data() + 5, 5, real(0));
    base.tensors["encoder.fc1.weight"] = store(W);
    base.tensors["head.weight"] = store(head);
    Tensor B = ones({7, 2});
    std::fill_n(B.mutable_data() + 2, 2, real(0));
    folder.put("encoder.fc1.lora_B.weight", B);
    const Tensor merged = merge_into(base, folder.load()).tensor("encoder.fc1.weight");
    for (int64_t j = 0; j < 5; j++) CHECK(merged.at({1, j}) == 0);
    for (real v : merged.to_vector()) CHECK(std::isfinite(v));
}

TEST_CASE("fault: merge_into keeps the base's dtypes, and what is not adapted to the byte") {
    const AdapterFolder folder;
    TensorFile base;
    base.metadata = {{"author", "me"}};
    base.tensors["encoder.fc1.weight"] = {"BF16", {7, 5}, Bytes(70)};  // zeros
    base.tensors["head.weight"] = store(zeros({2, 4}), "F64");
    base.tensors["other"] = {"F16", {3}, {1, 2, 3, 4, 5, 6}};
    base.tensors["ids"] = store(std::vector<int64_t>{1, 2});
    const LoadedAdapter adapter = folder.load();
    const TensorFile merged = merge_into(base, adapter);
    CHECK(merged.stored("encoder.fc1.weight").dtype == "BF16");
    CHECK(merged.stored("head.weight").dtype == "F64");
    CHECK(merged.stored("other").bytes == base.stored("other").bytes);
    CHECK(merged.stored("ids").bytes == base.stored("ids").bytes);
    CHECK(merged.metadata.at("author") == "me");
    // Zero plus s B A, with s = 6 / 2.
    const Tensor want = 3 * matmul(adapter.B(adapter.layers[1]), adapter.A(adapter.layers[1]));
    check_close(merged.tensor("head.weight"), want, 1e-6, 1e-6);
}

TEST_CASE("merge_into: another base, and what is not finite, are refused") {
    const AdapterFolder folder;
    TensorFile base;
    base.path = "base.safetensors";
    base.tensors["encoder.fc1.weight"] = store(ones({7, 5}));
    base.tensors["head.weigth"] = store(ones({2, 4}));
    CHECK_ERROR(merge_into(base, folder.load()), "base.safetensors", "head.weight", folder.path,
                "the most similar is head.weigth");
    base.tensors["head.weight"] = store(ones({4, 2}));
    CHECK_ERROR(merge_into(base, folder.load()), "base.safetensors", "head.weight", "(4, 2)",
                "(2, 4)");
    base.tensors["head.weight"] = {"I64", {2, 4}, Bytes(64)};
    CHECK_ERROR(merge_into(base, folder.load()), "head.weight", "I64");
    for (const double poison :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        base.tensors["head.weight"] = store(full({2, 4}, poison));
        CHECK_ERROR(merge_into(base, folder.load()), folder.path, "head.weight", "not finite");
        base.tensors["head.weight"] = store(ones({2, 4}));
        for (const std::string name : {"head.lora_A.weight", "head.lora_B.weight"}) {
            AdapterFolder spoiled;
            spoiled.put(name, full(spoiled.file.tensors.at(kPrefix + name).shape, poison));
            CHECK_ERROR(merge_into(base, spoiled.load()), "head.weight", "not finite");
        }
    }
    AdapterFolder bias;
    bias.config["bias"] = "all";
    bias.put("fc1.bias", full({4}, std::numeric_limits<double>::quiet_NaN()));
    base.tensors["fc1.bias"] = store(ones({4}));
    CHECK_ERROR(merge_into(base, bias.load()), "fc1.bias", "not finite");
    bias.put("fc1.bias", ones({4}));
    base.tensors["fc1.bias"] = store(ones({5}));
    CHECK_ERROR(merge_into(base, bias.load()), "fc1.bias", "(5)", "(4)");
    base.tensors["fc1.bias"] = store(zeros({4}));
    CHECK(merge_into(base, bias.load()).tensor("fc1.bias").to_vector() == std::vector<real>(4, 1));
}

}  // namespace slim
