// What build/adapter says about adapters in files.
#include "apps/report/adapter_report.h"

#include <limits>

#include "tests/nn/adapter_folder.h"

namespace slim {

TEST_CASE("describe_adapter: the configuration, every tensor and every module") {
    AdapterFolder folder(true);
    folder.config["alpha_pattern"] = Json::Object{{"head", 5}};
    folder.config["novelty"] = 1;
    folder.put("head.lora_A.weight", tensor({1, 2, 0, 0, 0, 0, 0, 0}, {2, 4}));
    folder.put("head.lora_B.weight", tensor({3, 0, 4, 0}, {2, 2}));
    folder.put("head.lora_magnitude_vector", tensor({1.5, 0.25}));
    // A has norm sqrt(5), B has 5, and B A, of rank 1, 5 sqrt(5); s = 5 / 2.
    check_words(
        describe_adapter(folder.load()),
        {folder.path + ": DoRA on 2 modules, 6 tensors, trainable params: 45\n",
         "\"lora_alpha\": 6",
         "head.lora_A.weight                               (2, 4)         F32        2.23607\n",
         "head.lora_B.weight                               (2, 2)         F32              5\n",
         "head.lora_magnitude_vector                       (2)            F32        1.52069\n",
         "\nhead                                  2        5      2.5      27.9508  0.25 to 1.5\n",
         "\nencoder.fc1                           2        6        3", "note: ", "novelty"});
}

TEST_CASE("check_adapter: what PEFT would do, and a tensor that is not finite") {
    AdapterFolder folder(true);
    folder.file.metadata.clear();
    check_words(check_adapter(folder.load()),
                {"DoRA on 2 modules", "PeftModel.from_pretrained(base, \"" + folder.path + "\")",
                 "metadata", "all zeros is NaN in PEFT"});
    AdapterFolder plain;
    const std::string text = check_adapter(plain.load());
    for (const std::string word : {"metadata", "NaN", "bias", "dropout", "padding", "16-bit"})
        CHECK(text.find(word) == std::string::npos);
    plain.config["bias"] = "lora_only";
    check_words(check_adapter(plain.load()), {"note: ", "peft#3306"});
    plain.put("encoder.fc1.base_layer.bias", ones({7}));
    check_words(check_adapter(plain.load()), {"leaves them out", "does not put those back"});

    AdapterFolder embed;
    embed.config["lora_dropout"] = 0.1;
    embed.config["target_modules"] = Json::List{"embed"};
    embed.file.tensors.clear();
    embed.put("embed.lora_embedding_A", ones({2, 11}));
    embed.file.tensors[kPrefix + "embed.lora_embedding_B"] = {"F16", {5, 2}, Bytes(20)};
    check_words(check_adapter(embed.load()), {"ignores lora_dropout on an Embedding", "16-bit"});

    folder.put("head.lora_magnitude_vector",
               tensor({1, real(std::numeric_limits<double>::quiet_NaN())}));
    CHECK_ERROR(check_adapter(folder.load()), folder.path, "head.lora_magnitude_vector",
                "element 1", "nan", "finite");
}

TEST_CASE("compare_adapters: nothing for equals, else each key and tensor that differs") {
    AdapterFolder a, b;
    CHECK(compare_adapters(a.load(), b.load()).empty());
    CHECK(compare_adapters(a.load(), a.load()).empty());
    a.put("head.lora_A.weight", tensor({3, 4, 0, 0, 0, 0, 0, 0}, {2, 4}));
    b.put("head.lora_A.weight", tensor({3, 4, 0, 0, 0, -0.5, 0, 0}, {2, 4}));
    b.config["lora_alpha"] = 7;
    b.config["bias"] = "none";
    b.config["target_modules"] = Json::List{"encoder.fc1", "head", "embed"};
    b.put("embed.lora_embedding_A", ones({2, 11}));
    b.put("embed.lora_embedding_B", ones({5, 2}));
    b.put("encoder.fc1.lora_A.weight", ones({2, 6}));
    CHECK(compare_adapters(a.load(), b.load()) ==
          "bias: absent | \"none\"\n"
          "lora_alpha: 6 | 7\n"
          "target_modules: [\"encoder.fc1\",\"head\"] | [\"encoder.fc1\",\"head\",\"embed\"]\n"
          "embed.lora_embedding_A: only in " +
              b.path + "\n" + "embed.lora_embedding_B: only in " + b.path + "\n" +
              "encoder.fc1.lora_A.weight: (2, 5) | (2, 6)\n"
              "head.lora_A.weight: largest difference 0.5, relative 0.1\n");
}

}  // namespace slim
