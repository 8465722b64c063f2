// The program adapter, from outside.
#include <algorithm>  // count

#include "tests/apps/run.h"
#include "tests/nn/adapter_folder.h"

namespace slim {

TEST_CASE("fault: build/adapter: inspect, check, diff, merge; bad input is a sentence, status 1") {
    const std::string program = built_program("adapter");
    if (!file_exists(program)) {
        MESSAGE(program << " is not there, so this test did nothing. hint: make all");
        return;
    }
    const AdapterFolder folder;
    folder.write();
    const ScratchFolder& scratch = folder.scratch;
    const auto adapter = [&](const std::string& arguments, int wanted) {
        const Finished done = run(program + " " + arguments);
        INFO(arguments << "\n" << done.out << done.err);
        CHECK(done.status == wanted);
        CHECK(std::count(done.err.begin(), done.err.end(), '\n') == wanted);  // a sentence, or none
        return wanted == 0 ? done.out : done.err;
    };
    check_words(adapter("inspect " + folder.path, 0), {"LoRA on 2 modules", "head.lora_A.weight"});
    check_words(adapter("check " + folder.path, 0), {"PeftModel.from_pretrained"});
    CHECK(adapter("diff " + folder.path + " " + folder.path, 0) == "no difference\n");

    Rng rng(21);
    Net net(rng);
    save_parameters(net, scratch / "base");
    const std::string merge = "merge " + folder.path + " --base " + scratch / "base" + " --out ";
    check_words(adapter(merge + scratch / "merged", 0),
                {"encoder.fc1.weight: merged\n", "head.weight: merged\n", "8 tensors"});
    Net adapted(rng), merged(rng);
    adapted.load_state_dict(net.state_dict());
    attach_adapter(adapted, load_adapter(folder.path), rng);
    load_parameters(merged, scratch / "merged");
    check_close(merged.answer(), adapted.answer(), 1e-4, 1e-5);

    check_words(adapter("", 1), {"the command is missing", "inspect, check", "--help"});
    check_words(adapter("inspect", 1), {"--help"});
    check_words(adapter("inspect a b", 1), {"2 folders"});
    check_words(adapter("explode " + folder.path, 1), {"\"explode\""});
    check_words(adapter("inspect " + scratch / "none", 1), {"none/adapter_config.json"});
    check_words(adapter("merge " + folder.path, 1), {"--base", "--out"});
    check_words(adapter(merge + scratch / "base", 1), {"replace the base"});
    std::filesystem::create_hard_link(scratch / "base", scratch / "other_name");
    std::filesystem::create_symlink(scratch / "base", scratch / "link");
    for (const std::string name : {"other_name", "link", "adapter/../base"})
        check_words(adapter(merge + scratch / name, 1), {"replace the base"});
    check_words(adapter(merge + "/dev/full", 1), {"/dev/full", "no space"});
    check_words(adapter("--explode", 1), {"--explode"});

    // What is ignored is said by every command, and so is what the base's dtype loses.
    AdapterFolder noted;
    noted.config["bias"] = "lora_only";
    noted.write();
    for (const std::string command : {"inspect ", "check "})
        check_words(adapter(command + noted.path, 0), {"note: ", "peft#3306"});
    TensorFile base = read_safetensors(scratch / "base");
    base.tensors["head.weight"] = store(net.state_dict().at("head.weight"), "BF16");
    write_safetensors(scratch / "short", base);
    const Finished done = run(program + " merge " + noted.path + " --base " + scratch / "short" +
                              " --out " + scratch / "merged");
    CHECK(done.status == 0);
    check_words(done.err, {"note: ", "peft#3306", "short: head.weight is BF16", "off by up to"});
    CHECK(read_safetensors(scratch / "merged").stored("head.weight").dtype == "BF16");
}

}  // namespace slim
