// A Llama on the CPU: pretrained on one text, adapted to another, in full, with LoRA and with DoRA.
//
// Run: make gpt    (ARGS='--text FILE --adapt FILE' for texts of your own)
//
// The table compares, for each way of adapting: the parameters that are trained, the loss on the
// held-out part of the new text and, to see what is forgotten, of the old one, the time of a step,
// and the size of what has to be stored. Then each model goes on writing from the same prompt.
// Everything is saved: models as folders for transformers, adapters as folders for PEFT.
//
//     build/gpt --base DIR --ids --text A.ids --adapt B.ids    # adapts a Llama from elsewhere
#include <cmath>  // NAN
#include <cstdio>
#include <filesystem>  // file_size
#include <map>

#include "apps/program.h"
#include "apps/report/text_report.h"
#include "core/gemm.h"
#include "data/file.h"
#include "data/json.h"
#include "nn/llama/generate.h"
#include "nn/llama/pretrained.h"
#include "nn/peft/peft.h"
#include "optim/adam.h"
#include "optim/schedule.h"
#include "optim/text_set.h"

using namespace slim;

namespace {

struct Settings {
    std::string text = "data/text/kjv.txt", adapt = "data/text/devil.txt", val, preset = "small";
    std::string method = "all", target = "q_proj,v_proj", quantize = "none", base, adapter;
    std::string save = "out/gpt", prompt = "LOVE, n.  ", json, report, threads = "1";
    int64_t layers = 0, dim = 0, heads = 4, kv_heads = 0, context = 0, batch = 8, accumulate = 1;
    int64_t steps = 1800, adapt_steps = 200, rank = 6, sample = 300, top_k = 40, seed = 1;
    int64_t seeds = 1;
    double lr = 0.004, adapt_lr = 0, alpha = 8, temperature = 0.8;
    bool ids = false, checkpoint_layers = false, resume = false;
};

// One way of training: a row of the table.
struct Way {
    std::string name;  // of the row, and of its files in --save
    double lr;
    Method method = Method::kLoRA;
    std::vector<std::string> targets = {};  // none: full
    std::map<std::string, int64_t> rank_pattern = {};
};

struct Run {
    Settings s;
    Text text, new_text;
    std::unique_ptr<LlamaForCausalLM> base;
    std::vector<TextRow> rows = {};

    Text read(const std::string& path, const std::string& held_out) const;
    TextRow fit(LlamaForCausalLM& model, const std::string& name, const Text& on, int64_t steps,
                double lr, int64_t seed);
    void evaluate(LlamaForCausalLM& model, TextRow row);
    void adapt(const Way& way, AdapterSet& adapters, int64_t seed);
};

int64_t file_bytes(const std::string& path) { return int64_t(std::filesystem::file_size(path)); }

Text Run::read(const std::string& path, const std::string& held_out) const {
    const auto ids_of = [&](const std::string& file) {
        return s.ids ? read_ids(file, base->config.vocab_size) : read_bytes(file);
    };
    check(s.ids || base->config.vocab_size >= 256, s.base, ": a vocabulary of ",
          base->config.vocab_size, " has no room for 256 bytes. hint: add --ids");
    if (held_out.empty()) return split_text(path, ids_of(path), base->context->length);
    return {path, ids_of(path), ids_of(held_out)};
}

// Trains what requires a gradient. Prints about ten lines, each after the same number of steps; the
// total is rounded up to fit. With each line a checkpoint is written, from which --resume goes on.
TextRow Run::fit(LlamaForCausalLM& model, const std::string& name, const Text& on, int64_t steps,
                 double lr, int64_t seed) {
    Rng rng{uint64_t(seed)};  // so that all ways of adapting see the same windows
    const int64_t context = model.context->length, per_line = std::max(int64_t(1), steps / 10);
    TextSet set(on.train, s.batch, context, per_line * s.accumulate);
    AdamW adam(model.parameters(), {.lr = lr, .beta2 = 0.99, .weight_decay = 0.1});
    TrainOptions o{.epochs = int((steps + per_line - 1) / per_line),
                   .batch_size = s.batch * s.accumulate * context, .accumulate = s.accumulate,
                   .clip_norm = 1};
    const int64_t total = o.epochs * per_line;
    o.schedule = [total](int64_t step) {
        return cosine_with_warmup(step + 1, {.warmup = total / 20, .total = total + 1});
    };
    o.label = name.c_str();
    o.checkpoint = s.save + "/" + name + ".checkpoint";
    if (s.resume && file_exists(o.checkpoint)) o.resume = o.checkpoint;
    o.config = Json(Json::Object{{"row", name}, {"steps", total}, {"accumulate", s.accumulate},
                                 {"seed", seed}, {"lr", lr}}).dump(-1);
    TextRow row{name, seed, count_parameters(model).trainable};
    o.on_epoch = [&](const EpochReport& e) {
        row.curve.push_back({e.epoch * per_line, e.loss,
                             s.report.empty() ? NAN : text_loss(model, on.held_out, context)});
    };
    const TrainReport report = train(model, adam, set, rng, o);
    check(!report.interrupted, "stopped. hint: to go on, repeat the command with --resume");
    row.ms_per_step = 1000 * report.seconds_per_epoch() / double(per_line);
    return row;
}

// Measures the model on both texts and lets it write.
void Run::evaluate(LlamaForCausalLM& model, TextRow row) {
    const int64_t context = model.context->length;
    row.new_loss = text_loss(model, new_text.held_out, context);
    row.old_loss = text_loss(model, text.held_out, context);
    std::vector<int> prompt(s.prompt.begin(), s.prompt.end());
    if (s.ids) prompt.assign(new_text.held_out.begin(), new_text.held_out.begin() + context / 2);
    Rng rng{uint64_t(row.seed)};
    for (int id : generate(model, prompt, s.sample, {s.temperature, s.top_k}, rng))
        row.sample += s.ids ? std::to_string(id) + " " : std::string(1, char(id));
    rows.push_back(row);
}

void Run::adapt(const Way& way, AdapterSet& adapters, int64_t seed) {
    const std::string name = way.name + (s.seeds == 1 ? "" : "-seed" + std::to_string(seed));
    const std::string folder = s.save + "/" + name;
    const double lr = s.adapt_lr > 0 ? s.adapt_lr : way.lr;
    if (way.targets.empty()) {  // full: a copy, for the base must stay
        LlamaForCausalLM copy(base->config);
        copy.set_context(base->context->length);
        copy.model.checkpoint_layers = s.checkpoint_layers;
        copy.load_state_dict(base->state_dict());
        TextRow row = fit(copy, name, new_text, s.adapt_steps, lr, seed);
        row.method = way.name;
        save_pretrained(folder, copy);
        row.bytes = file_bytes(folder + "/model.safetensors");
        return evaluate(copy, row);
    }
    Rng rng{uint64_t(seed)};
    adapters.add(name, {.method = way.method, .rank = s.rank, .alpha = s.alpha,
                        .scaling = Scaling::kAlpha, .target_modules = way.targets,
                        .rank_pattern = way.rank_pattern, .task_type = "CAUSAL_LM"}, rng);
    TextRow row = fit(*base, name, new_text, s.adapt_steps, lr, seed);
    row.method = way.name;
    save_adapter(folder, adapters, s.base.empty() ? s.save + "/base" : s.base);
    row.bytes = file_bytes(folder + "/adapter_model.safetensors");
    evaluate(*base, row);
    adapters.disable();
}

void print(const Run& run) {
    const std::string unit = run.s.ids ? "token" : "byte";
    std::printf("\n%s", text_table(run.rows, unit).c_str());
    for (const TextRow& row : run.rows)
        if (row.seed == run.rows[0].seed)
            std::printf("\n---- %s writes:\n%s%s\n", row.method.c_str(),
                        run.s.ids ? "" : run.s.prompt.c_str(), row.sample.c_str());
    if (!run.s.json.empty()) write_file(run.s.json, {text_json(run.rows)});
    if (!run.s.report.empty()) write_file(run.s.report, {text_page(run.rows, unit)});
}

// The model: loaded from --base, or a new one of the size that the options say.
std::unique_ptr<LlamaForCausalLM> make_base(const Settings& s, Rng& rng) {
    if (!s.base.empty()) {
        check(s.layers + s.dim + s.kv_heads == 0, "--base: the sizes are those of ", s.base,
              ". hint: leave out --layers, --dim and --kv-heads");
        auto model = load_pretrained(s.base);
        if (s.context > 0) model->set_context(s.context);
        return model;
    }
    const bool tiny = s.preset == "tiny";
    LlamaConfig c;
    c.num_hidden_layers = s.layers ? s.layers : tiny ? 3 : 4;
    c.hidden_size = s.dim ? s.dim : tiny ? 96 : 128;
    c.intermediate_size = (c.hidden_size * 8 / 3 + 31) / 32 * 32;
    c.num_attention_heads = s.heads;
    c.num_key_value_heads = s.kv_heads ? s.kv_heads : s.heads;
    c.max_position_embeddings = s.context ? s.context : tiny ? 64 : 128;
    return std::make_unique<LlamaForCausalLM>(c, &rng);
}

std::vector<Way> ways(const Settings& s) {
    const std::vector<std::string> targets = split_list(s.target);
    const std::vector<std::string> qv{"q_proj", "v_proj"}, all = {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"};
    // lm_head changes most, as other characters are frequent in the new text, and attention least.
    // As many parameters, spread evenly (rank 11), follow less well.
    const std::map<std::string, int64_t> ranks{{"(gate|up|down)_proj", 13}, {"lm_head", 32}};
    // The best rates of those tried: 0.002 to 0.007 in full, 0.005 to 0.02 on q and v, 0.004 to
    // 0.007 on all.
    if (s.method == "base" || !s.adapter.empty()) return {};
    if (s.method == "full") return {{"full", 0.004}};
    if (s.method == "lora") return {{"lora", 0.005, Method::kLoRA, targets}};
    if (s.method == "dora") return {{"dora", 0.005, Method::kDoRA, targets}};
    return {{"full", 0.004}, {"lora-qv", 0.02, Method::kLoRA, qv},
            {"lora-all", 0.005, Method::kLoRA, all, ranks},
            {"dora-all", 0.005, Method::kDoRA, all, ranks}};
}

int gpt(int argc, char** argv) {
    Run run;
    Settings& s = run.s;
    Options options("Pretrains a Llama on one text, then adapts it to another.");
    options.add("text", s.text, "text to pretrain on", "FILE");
    options.add("val", s.val, "held-out text for --text; else the last tenth of --text, at most "
                "100,000 tokens", "FILE");
    options.add("adapt", s.adapt, "text to adapt to; its end is held out in the same way", "FILE");
    options.add("ids", s.ids, "the texts are files of ids, not bytes");
    options.add_choice("preset", s.preset, "4 layers of 128, or 3 of 96", "small|tiny");
    options.add("layers", s.layers, "layers; 0: the preset's", 0, 1000);
    options.add("dim", s.dim, "width of the layers; 0: the preset's", 0, 65536);
    options.add("heads", s.heads, "attention heads", 1, 1024);
    options.add("kv-heads", s.kv_heads, "key/value heads; 0: as many as heads", 0, 1024);
    options.add("context", s.context, "length of the windows; 0: the preset's", 0, 1 << 20);
    options.add("batch", s.batch, "windows per forward pass", 1, 100000);
    options.add("accumulate", s.accumulate, "forward passes per step", 1, 1000);
    options.add("steps", s.steps, "steps of pretraining", 1, 1e9);
    options.add("adapt-steps", s.adapt_steps, "steps of adapting", 1, 1e9);
    options.add("lr", s.lr, "learning rate of pretraining (AdamW)", 0, 10);
    options.add("adapt-lr", s.adapt_lr, "of adapting; 0: 0.004 in full, 0.005 with adapters (q and "
                "v of all: 0.02)", 0, 10);
    options.add_choice("method", s.method, "how to adapt", "base|full|lora|dora|all");
    options.add("rank", s.rank, "rank of the adapters (all: 13 in MLPs, 32 in lm_head)", 1, 65536);
    options.add("alpha", s.alpha, "scaling at any rank: PEFT's alpha / rank", 0, 1e6);
    options.add("target", s.target, "modules to adapt, with --method lora or dora", "NAMES");
    options.add_choice("quantize", s.quantize, "the base under adapters", "none|nf4");
    options.add("checkpoint-layers", s.checkpoint_layers, "less memory: recompute layers");
    options.add("base", s.base, "adapt this Llama instead of pretraining one", "DIR");
    options.add("adapter", s.adapter, "evaluate --base with this adapter of PEFT's", "DIR");
    options.add("save", s.save, "where models, adapters and checkpoints go", "DIR");
    options.add("resume", s.resume, "go on from the checkpoints in --save");
    options.add("sample", s.sample, "tokens to write with each model", 0, 1e6);
    options.add("prompt", s.prompt, "what the samples begin with (not with --ids)", "TEXT");
    options.add("temperature", s.temperature, "of the samples", 0, 100);
    options.add("top-k", s.top_k, "draw from the k most likely; 0: from all", 0, 1e9);
    options.add("seed", s.seed, "seed of the random numbers", 0, 1e15);
    options.add("seeds", s.seeds, "adapt with so many seeds: means and ranges", 1, 1000);
    options.add("threads", s.threads, "BLAS threads, or auto", "N");
    options.add("json", s.json, "write every figure to this file", "FILE");
    options.add("report", s.report, "write a page with the held-out curves", "FILE");
    options.parse_strict(argc, argv);
    check(s.adapter.empty() || !s.base.empty(), "--adapter: needs the base that it was made for",
          ". hint: name it with --base DIR");
    check(!s.prompt.empty(), "--prompt: it is empty; it must have at least one byte");
    const int threads = set_threads(s.threads);

    Rng rng{uint64_t(s.seed)};
    run.base = make_base(s, rng);
    LlamaForCausalLM& base = *run.base;
    run.text = run.read(s.text, s.val);
    run.new_text = run.read(s.adapt, "");
    AdapterSet adapters(base);
    const std::vector<Way> wanted = ways(s);
    for (const Way& way : wanted)  // a mistyped --target must not cost the pretraining
        if (!way.targets.empty()) select_modules(base, {.target_modules = way.targets});
    check_outputs({s.save}, {s.json, s.report});
    std::printf("slimgrad gpt: OpenBLAS core %s, threads %d, seed %ld; %ld parameters\n",
                blas_core_name(), threads, long(s.seed), long(count_parameters(base).all));

    base.model.checkpoint_layers = s.checkpoint_layers;
    TextRow row{s.base.empty() ? "base" : s.base, s.seed};
    if (s.base.empty()) {
        row = run.fit(base, "base", run.text, s.steps, s.lr, s.seed);
        save_pretrained(s.save + "/base", base);
        row.bytes = file_bytes(s.save + "/base/model.safetensors");
    }
    run.evaluate(base, row);
    const auto quantize = [&] {  // does nothing the second time
        if (s.quantize == "nf4") quantize_linear_layers(base, Quantization::kNF4, {"lm_head"});
    };
    if (!s.adapter.empty()) {
        quantize();
        adapters = attach_adapter(base, load_adapter(s.adapter), rng);
        run.evaluate(base, {"adapter", s.seed});
    }
    for (const Way& way : wanted) {
        if (!way.targets.empty()) quantize();
        for (int64_t i = 0; i < s.seeds; i++) run.adapt(way, adapters, s.seed + i);
    }
    print(run);
    if (s.base.empty() || !wanted.empty())
        std::printf("\nsaved in %s: models for transformers, adapters for PEFT\n", s.save.c_str());
    return 0;
}

}  // namespace

int main(int argc, char** argv) { return run_program(argc, argv, gpt); }
