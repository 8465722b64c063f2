// Works on adapters in files, the folders that save_adapter() and Hugging Face PEFT write.
//
// run:  build/adapter inspect DIR
//       build/adapter check DIR
//       build/adapter diff DIR OTHER
//       build/adapter merge DIR --base FILE --out FILE
#include <cstdio>
#include <filesystem>  // equivalent

#include "apps/program.h"
#include "apps/report/adapter_report.h"
#include "nn/peft/peft.h"

namespace slim {

namespace {

// Writes the base with the adapter worked in. The tensors that changed are listed.
void merge(const std::string& folder, const std::string& base_path, const std::string& out_path) {
    check(!base_path.empty() && !out_path.empty(),
          "merge: needs --base FILE, the model's safetensors file, and --out FILE for the result");
    std::error_code none;
    check(base_path != out_path && !std::filesystem::equivalent(base_path, out_path, none),
          "merge: --out would replace the base, ", base_path, ", and a merge cannot be undone",
          ". hint: choose another name");
    const TensorFile base = read_safetensors(base_path);
    const TensorFile merged = merge_into(base, load_adapter(folder));
    write_safetensors(out_path, merged);
    for (const auto& [name, stored] : merged.tensors) {
        const StoredTensor& before = base.stored(name);
        if (before.bytes != stored.bytes)
            std::printf("%s: merged\n", name.c_str());
    }
    std::printf("%s: written, %zu tensors\n", out_path.c_str(), merged.tensors.size());
}

}  // namespace

int adapter(int argc, char** argv) {
    std::string base, out;
    Options options(
        "Works on adapter folders (adapter_config.json and adapter_model.safetensors):\n"
        "  inspect DIR       what is in it, and how much it changes each module\n"
        "  check DIR         whether it is valid, and what PEFT would do with it\n"
        "  diff DIR OTHER    in what two of them differ\n"
        "  merge DIR         merges it into --base and writes the result to --out");
    options.add("base", base, "merge: the model that was adapted, safetensors", "FILE");
    options.add("out", out, "merge: where to write the merged model", "FILE");
    const std::vector<std::string> words = options.parse(argc, argv);
        check(!words.empty(), "the command is missing; it must be inspect, check, diff or merge. ",
          "hint: see --help");
    const std::string command = words[0];
    const size_t folders = words.size() - 1;

    if (command == "inspect" && folders == 1) {
        std::printf("%s", describe_adapter(load_adapter(words[1])).c_str());
    } else if (command == "check" && folders == 1) {
        std::printf("%s", check_adapter(load_adapter(words[1])).c_str());
    } else if (command == "diff" && folders == 2) {
        const std::string text = compare_adapters(load_adapter(words[1]), load_adapter(words[2]));
        std::printf("%s", text.empty() ? "no difference\n" : text.c_str());
    } else if (command == "merge" && folders == 1) {
        merge(words[1], base, out);
    } else {
        fail("got \"", command, "\" with ", folders, folders == 1 ? " folder" : " folders",
             "; it must be inspect, check or merge with one, or diff with two. ",
             "hint: see --help");
    }
    return 0;
}

}  // namespace slim
