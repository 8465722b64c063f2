// Adapters in files that were damaged: never a crash.
#include <fstream>

#include "tests/nn/adapter_folder.h"

namespace slim {

// Over what the file holds: to empty it first, or write_file(), would wait for the disk, which is
// too long for a loop over the bytes of a file.
static void overwrite(const std::string& path, std::string_view text) {
    std::ofstream(path, std::ios::in) << text;
}

TEST_CASE("load_adapter: files cut off at any byte, and configurations with any byte changed") {
    AdapterFolder folder(true);
    folder.config["rank_pattern"] = Json::Object{{"he.*", 2}};
    folder.write();
    const std::string config_path = folder.path + "/adapter_config.json";
    const std::string tensor_path = folder.path + "/adapter_model.safetensors";
    const std::string config = text_of(config_path);
    for (size_t n = config.size(); n-- > 0;) {
        std::filesystem::resize_file(config_path, n);
        CHECK_ERROR(load_adapter(folder.path), config_path);
    }
    // Any other byte may still be a valid configuration, but never a crash.
    for (size_t n = 0; n < config.size(); n++)
        for (const char byte : {'\0', '"', '{', '9', '-', '\x80', char(config[n] ^ 1)}) {
            std::string changed = config;
            changed[n] = byte;
            overwrite(config_path, changed);
            try {
                load_adapter(folder.path);
            } catch (const Error& e) {
                CHECK(std::string(e.what()).find("adapter_") != std::string::npos);
            }
        }
    overwrite(config_path, config);
    for (size_t n = text_of(tensor_path).size(); n-- > 0;) {
        std::filesystem::resize_file(tensor_path, n);
        CHECK_ERROR(load_adapter(folder.path), tensor_path);
    }
}

TEST_CASE("fault: a configuration of more than 16 MB is refused before it is parsed") {
    const AdapterFolder folder(true);
    folder.write();
    const std::string path = folder.path + "/adapter_config.json";
    const std::string config = text_of(path);
    overwrite(path, config + std::string((1 << 24) - config.size(), ' '));
    load_adapter(folder.path);  // 16 MB, and still the same JSON
    overwrite(path, config + std::string((1 << 24) - config.size() + 1, ' '));
    CHECK_ERROR(load_adapter(folder.path), path, "too large", "16777217", "16777216");
}

}  // namespace slim
