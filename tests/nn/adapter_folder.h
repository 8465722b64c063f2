// What the tests of adapters in files share.
#pragma once

#include <string>
#include <vector>

#include "nn/peft/peft.h"
#include "nn/state_file.h"
#include "tests/data/scratch.h"
#include "tests/nn/net.h"
#include "tests/testing.h"

namespace slim {

using Names = std::vector<std::string>;

inline const std::string kPrefix = "base_model.model.";

inline std::shared_ptr<Linear> linear(int64_t in, int64_t out, Rng& rng) {
    return std::make_shared<Linear>(in, out, rng);
}

// An adapter folder of a Net, made by hand: every test can spoil what it likes. Ranks 2, alpha 6.
struct AdapterFolder {
    ScratchFolder scratch;
    std::string path = scratch / "adapter";
    Json::Object config{{"peft_type", "LORA"},
                        {"r", 2},
                        {"lora_alpha", 6},
                        {"use_dora", false},
                        {"target_modules", Json::List{"encoder.fc1", "head"}}};
    TensorFile file;

    explicit AdapterFolder(bool dora = false) {
        Rng rng(99);
        file.metadata = {{"format", "pt"}};
        config["use_dora"] = dora;
        for (const auto& [name, in, out] : {std::tuple("encoder.fc1", 5, 7), {"head", 4, 2}}) {
            put(std::string(name) + ".lora_A.weight", normal({2, in}, 0, 1, rng));
            put(std::string(name) + ".lora_B.weight", normal({out, 2}, 0, 1, rng));
            if (dora) put(std::string(name) + ".lora_magnitude_vector", uniform({out}, 1, 2, rng));
        }
    }

    void put(const std::string& name, const Tensor& x) {
        file.tensors[kPrefix + name] = store(x, "F32");
    }
    void write() const {
        make_folders(path);
        write_file(path + "/adapter_config.json", {Json(config).dump()});
        write_safetensors(path + "/adapter_model.safetensors", file);
    }
    LoadedAdapter load() const {
        write();
        return load_adapter(path);
    }
};

// In the float build files hold exactly what is in memory; in the double build, what fits into F32.
inline void check_answers(const Tensor& got, const Tensor& want) {
    if (kDouble)
        check_close(got, want, 1e-5, 1e-5);
    else
        CHECK(same_bits(got, want));
}

}  // namespace slim
