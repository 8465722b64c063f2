// The C++ half of llama_test.py, which drives it. A job is a JSON file:
//
//     model         a folder to load, or sizes under "new": a Llama of random parameters
//     save          the folder to write it to
//     input         safetensors: ids [rows], sequences of `context` ids
//     adapter       a folder of PEFT's to attach
//     steps, lr     training steps with AdamW, on next [rows] of the input
//     save_adapter  the folder to write
//     out           safetensors: logits; of the training: losses, logits_after; merged_logits
//
// Prints the seconds of the last step, and the most memory that the process has had, in bytes.
//
// run:  build/llama_peer JOB
#include <sys/resource.h>  // getrusage

#include <cstdio>
#include <ctime>

#include "apps/program.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "data/json.h"
#include "data/safetensors.h"
#include "nn/llama/pretrained.h"
#include "nn/peft/peft.h"
#include "optim/adam.h"

using namespace slim;

namespace {

std::string text(const Json& job, const std::string& key) {
    const Json* value = job.find(key);
    return value ? value->as_string(key) : "";
}

std::unique_ptr<LlamaForCausalLM> make_new(const Json& sizes) {
    const auto size = [&](const char* key) { return sizes.at(key, "new").as_int(key); };
    LlamaConfig c;
    c.vocab_size = size("vocab_size");
    c.hidden_size = size("hidden_size");
    c.num_attention_heads = size("num_attention_heads");
    c.num_key_value_heads = size("num_key_value_heads");
    c.tie_word_embeddings = sizes.at("tie_word_embeddings", "new").as_bool("tie");
    c.rope_theta = 500;
    Rng rng(1);
    auto model = std::make_unique<LlamaForCausalLM>(c, &rng);
    for (Tensor p : model->parameters())
        for (int64_t i = 0; i < p.size(); i++) p.mutable_data()[i] += real(0.1 * rng.normal());
    return model;
}

std::vector<int> ids_of(const TensorFile& file, const std::string& name) {
    const std::vector<int64_t> ids = file.integers(name);
    return {ids.begin(), ids.end()};
}

double cpu_seconds() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

int llama_peer(int argc, char** argv) {
    check(argc == 2, "expected the path of a job");
    const Json job = parse_json(as_text(read_file(argv[1], 1 << 24)), argv[1]);
    const Json* sizes = job.find("new");
    const auto model = sizes ? make_new(*sizes) : load_pretrained(text(job, "model"));
    const TensorFile input = read_safetensors(text(job, "input"));
    const std::vector<int> ids = ids_of(input, "ids");
    model->set_context(job.at("context", "job").as_int("context"));
    if (job.find("save")) save_pretrained(text(job, "save"), *model);

    Rng rng(3);
    AdapterSet adapters(*model);
    if (job.find("adapter"))
        adapters = attach_adapter(*model, load_adapter(text(job, "adapter")), rng);
    TensorFile out;
    const auto logits = [&] {
        const EvalMode evaluating(*model);
        const NoGrad no_grad;
        return store(model->lookup(ids));
    };
    out.tensors["logits"] = logits();
    double seconds = 0;
    if (const Json* steps = job.find("steps")) {
        const std::vector<int> next = ids_of(input, "next");
        AdamW adam(model->parameters(), {.lr = job.at("lr", "job").as_double("lr")});
        std::vector<real> losses;
        for (int64_t i = 0; i < steps->as_int("steps"); i++) {
            const double start = cpu_seconds();
            adam.zero_grad();
            const Tensor loss = cross_entropy(model->lookup(ids), next);
            backward(loss);
            adam.step();
            losses.push_back(loss.item());
            seconds = cpu_seconds() - start;
        }
        out.tensors["losses"] = store(tensor(losses));
        out.tensors["logits_after"] = logits();
    }
    if (job.find("save_adapter")) save_adapter(text(job, "save_adapter"), adapters, "base");
    if (!adapters.active().empty()) {
        adapters.merge();
        out.tensors["merged_logits"] = logits();
    }
    write_safetensors(text(job, "out"), out);
    rusage use;
    getrusage(RUSAGE_SELF, &use);
    std::printf("%.4f %ld\n", seconds, use.ru_maxrss * 1024);
    return 0;
}

}  // namespace

int main(int argc, char** argv) { return run_program(argc, argv, llama_peer); }
