// The main job: what the "LoRA and DoRA from scratch" notebooks do in PyTorch, on real MNIST or on
// data of one's own.
//
// A multilayer perceptron is pretrained. Copies of it are then trained for as many epochs again:
// one in full (the control that the notebooks lack), one with LoRA and one with DoRA on its frozen
// layers. The table at the end compares them. With --shift, they learn a changed task (shift.h).
//
// run:  build/mnist --help

#include <algorithm>  // equal, max
#include <cstdio>
#include <map>
#include <utility>  // exchange

#include "apps/shift.h"
#include "core/gemm.h"
#include "core/random.h"
#include "core/trace.h"
#include "data/json.h"
#include "nn/peft/peft.h"
#include "nn/state_file.h"
#include "optim/adam.h"
#include "optim/checkpoint.h"
#include "optim/trainer.h"

namespace slim {

namespace {

bool is_adapter(const std::string& method) { return method == "lora" || method == "dora"; }

struct Settings {
    TaskOptions task;
    std::string method = "all", preset, threads = "1", hidden;
    std::string axis, norm_gradient, init, target = "all-linear", quantize = "none", json;
    std::string base, save, resume, save_adapter, adapter, report, shift;
    int64_t rank = 4, epochs = 0, batch = 64, seed = 1, seeds = 1, classes = 0, samples = 0;
    double alpha = 8, lr = 0, lr_full = 0, lr_adapter = 0, dropout = 0;
    bool shuffle = false, trace = false, sweep = false;
    std::vector<int64_t> widths;  // of the model

    bool wants(const std::string& name) const { return method == name || method == "all"; }

    AdapterConfig adapter_config(const std::string& name) const {
        AdapterConfig o{.rank = rank, .alpha = alpha};  // PEFT's choices
        if (preset == "tutorial") o = tutorial_preset(rank, alpha);
        o.method = name == "lora" ? Method::kLoRA : Method::kDoRA;
        o.target_modules = split_list(target);
        o.dropout = dropout;
        if (axis == "out") o.axis = Axis::kOut;
        if (axis == "in") o.axis = Axis::kIn;
        if (norm_gradient == "exact") o.norm_gradient = NormGradient::kExact;
        if (norm_gradient == "detached") o.norm_gradient = NormGradient::kDetached;
        if (init == "kaiming") o.init = InitA::kKaiming;
        if (init == "gaussian") o.init = InitA::kGaussian;
        if (init == "tutorial") o.init = InitA::kTutorial;
        return o;
    }

    // What a checkpoint must agree with to be resumed. The number of epochs may differ.
    // base_print is the fingerprint of the base, "" for the base's own pretraining.
    std::string run_config(const std::string& name, int64_t of_seed,
                           const std::string& base_print) const {
        Json::Object config{{"method", name}, {"seed", of_seed}, {"batch", batch},
                            {"lr", rate(name)},
                            {"shuffle", shuffle}, {"base", base_print}};
        if (is_adapter(name)) {
            const AdapterConfig o = adapter_config(name);
            config["scaling"] = o.scaling_factor();
            config["rank"] = o.rank;
            config["dropout"] = o.dropout;
            config["target"] = target;
            config["quantize"] = quantize;
            config["axis"] = o.axis == Axis::kOut ? "out" : "in";
            config["norm_gradient"] =
                o.norm_gradient == NormGradient::kExact ? "exact" : "detached";
        }
        return Json(config).dump(-1);
    }

    double rate(const std::string& name) const {
        const double own = is_adapter(name) ? lr_adapter : name == "full" ? lr_full : 0;
        return own > 0 ? own : lr;
    }
};

Row evaluate_row(const std::string& method, Module& model, const Task& data,
                 const Settings& settings, int64_t seed) {
    Row row{.method = method, .seed = seed, .parameters = count_parameters(model)};
    row.test_accuracy = evaluate(model, data.test).accuracy;
    row.train_accuracy = evaluate(model, data.train).accuracy;
    row.rank = is_adapter(method) ? settings.rank : 0;
    if (!settings.report.empty()) row.pictures = picture_model(model, data.test);
    return row;
}

// Trains what is trainable in the model, and evaluates it.
Row fit(const std::string& method, Module& model, const Task& data, const Settings& settings,
        int64_t seed, Rng& rng, const std::string& base_print) {
    Adam adam(model.parameters(), {.lr = settings.rate(method)});
    const std::string label = method + std::string(5 - method.size(), ' ');
    TrainOptions options;
    options.epochs = int(settings.epochs);
    options.batch_size = settings.batch;
    options.shuffle = settings.shuffle;
    options.label = label.c_str();
    if (!settings.report.empty()) options.test = &data.test;
    options.config = settings.run_config(method, seed, base_print);
    options.resume = settings.resume;
    options.frozen_from_checkpoint = settings.base.empty();
    if (!settings.save.empty()) options.checkpoint = settings.save + "/" + method + ".checkpoint";
    const TrainReport report = train(model, adam, data.train, rng, options);
    check(!report.interrupted, "stopped by a signal",
          options.checkpoint.empty()
              ? "; nothing was saved. hint: with --save DIR a run can be resumed"
              : "; to go on, repeat the command with --method " + method + " --resume " +
                    options.checkpoint);
    Row row = evaluate_row(method, model, data, settings, seed);
    row.epochs = report.epochs;
    row.seconds_per_epoch = report.seconds_per_epoch();
    row.collapsed = report.collapsed;
    row.lr = settings.rate(method);
    return row;
}

void quantize(MLP& model, const std::string& kind) {
    if (kind == "none") return;
    const ParameterCount count = count_parameters(model);
    quantize_linear_layers(model, kind == "int8" ? Quantization::kInt8 : Quantization::kNF4);
    int64_t bytes = 0;
    for (const NamedModule& m : model.named_modules())
        if (auto* linear = dynamic_cast<Linear*>(m.module); linear && linear->weight.quantized)
            bytes += linear->weight.quantized->bytes() +
                     linear->bias.size() * int64_t(sizeof(real));
    std::printf("\nbase in %s: %ld bytes instead of %ld\n", kind.c_str(), long(bytes),
                long(count.all * int64_t(sizeof(real))));
}

// The whole comparison from one seed.
void run(const Task& data, const Settings& s, int64_t seed, bool explain, std::vector<Row>& rows) {
    // A generator for each method, so that its result does not depend on which others are run.
    Rng seeds{uint64_t(seed)};
    std::map<std::string, Rng> rngs;
    for (const char* method : {"base", "full", "lora", "dora"})
        rngs.emplace(method, Rng(seeds.bits()));

    Rng& base_rng = rngs.at("base");
    const auto base = std::make_shared<MLP>(s.widths, base_rng);
    const auto save = [&](MLP& model, const std::string& name) {
        if (!s.save.empty()) save_parameters(model, s.save + "/" + name + ".safetensors");
    };
    if (!s.base.empty()) {
        load_parameters(*base, s.base);
        rows.push_back(evaluate_row("base", *base, data, s, seed));
    } else if (s.resume.empty() || s.method == "base") {
        rows.push_back(fit("base", *base, data, s, seed, base_rng, ""));
        save(*base, "base");
    }
    if (!s.shift.empty()) {
        ShiftOptions o{.shifts = split_list(s.shift), .data = s.task, .epochs = s.epochs,
                       .batch = s.batch, .lr_full = s.rate("full"),
                       .lr_adapter = s.rate("lora"), .sweep = s.sweep};
        if (s.samples > 0) o.samples.push_back(s.samples);
        o.config = [&](const std::string& method) { return s.adapter_config(method); };
        for (Row& row : compare_on_shifts(*base, data, o, seed)) rows.push_back(std::move(row));
        return;
    }
    // Resuming without --base takes the base from the checkpoint.
    const std::string base_print =
        s.base.empty() && !s.resume.empty() && s.method != "base"
            ? parse_json(checkpoint_config(s.resume), s.resume)
                  .at("base", s.resume)
                  .as_string(s.resume)
            : fingerprint(*base);
    if (s.quantize != "none" && s.resume.empty()) {
        std::shared_ptr<MLP> model = copy_of(*base, base_rng);
        quantize(*model, s.quantize);
        rows.push_back(evaluate_row(s.quantize, *model, data, s, seed));
    }
    const bool go_on = is_adapter(s.method) && !s.adapter.empty();  // from this adapter
    if (!s.adapter.empty()) {
        std::shared_ptr<MLP> model = copy_of(*base, base_rng);
        quantize(*model, s.quantize);
        AdapterSet adapters = attach_adapter(*model, load_adapter(s.adapter), base_rng);
        rows.push_back(evaluate_row("adapter", *model, data, s, seed));
        if (!go_on) return;
        rows.push_back(fit(s.method, *model, data, s, seed, rngs.at(s.method), base_print));
        if (!s.save_adapter.empty()) save_adapter(s.save_adapter, adapters, s.base);
        return;
    }
    for (const std::string method : {"full", "lora", "dora"}) {
        if (!s.wants(method)) continue;
        Rng& rng = rngs.at(method);
        std::shared_ptr<MLP> model = copy_of(*base, rng);
        AdapterSet adapters(*model);
        if (method != "full") {
            freeze_linear_layers(*model);
            quantize(*model, s.quantize);
            adapters.add(method, s.adapter_config(method), rng);
            if (explain)
                std::printf("\n%s\n\ntrainable:\n%s%s\n", to_string(*model).c_str(),
                            trainable_listing(*model).c_str(), trainable_report(*model).c_str());
        }
        rows.push_back(fit(method, *model, data, s, seed, rng, base_print));
        if (method != "full" && !s.save_adapter.empty())
            save_adapter(s.save_adapter + (s.method == "all" ? "/" + method : ""), adapters,
                         !s.base.empty() || s.save.empty() ? s.base
                                                           : s.save + "/base.safetensors");
        // What --save writes is the merged model: --base and predict read it.
        if (method != "full" && s.quantize == "none") adapters.merge_and_unload();
        if (method == "full" || s.quantize == "none") save(*model, method);
    }
}

void print_table(const std::vector<Row>& rows) {
    std::printf("\n%-8s %18s %18s %18s %14s\n", "method", "trainable params", "test accuracy %",
                "train accuracy %", "s per epoch");
    for (const Row& row : rows)
        std::printf("%-8s %18ld %18.2f %18.2f %14.2f\n", row.method.c_str(),
                    long(row.parameters.trainable), 100 * row.test_accuracy,
                    100 * row.train_accuracy, row.seconds_per_epoch);
}

// Mean, standard deviation and range of the test accuracy over the seeds.
void print_summary(const std::vector<Row>& rows, const Settings& s) {
    std::printf("\n%-8s %8s %12s %12s %12s %12s %12s\n", "method", "seeds", "mean %", "std",
                "lowest %", "highest %", "collapsed");
    const std::vector<std::string> methods{"base", s.quantize, "full", "lora", "dora", "adapter"};
    for (const std::string& method : methods) {
        std::vector<Row> runs;
        for (const Row& row : rows)
            if (row.method == method) runs.push_back(row);
        if (runs.empty()) continue;
        const Spread spread = spread_of(runs, &Row::test_accuracy);
        std::printf("%-8s %8ld %12.2f %12.2f %12.2f %12.2f %12ld\n", method.c_str(),
                    long(spread.count), 100 * spread.mean, 100 * spread.deviation,
                    100 * spread.low, 100 * spread.high, long(spread.collapsed));
    }
}

void write_json(const std::string& path, const std::vector<Row>& rows, const Settings& settings,
                int threads) {
    Json::List list;
    for (const Row& row : rows) {
        Json::List epochs;
        for (const EpochReport& e : row.epochs)
            epochs.push_back(Json::Object{{"epoch", e.epoch},
                                          {"loss", e.loss},
                                          {"accuracy", e.accuracy},
                                          {"test_accuracy", e.test_accuracy ? *e.test_accuracy
                                                                            : Json()},
                                          {"seconds", e.seconds}});
        Json::Object object{{"method", row.method},
                            {"seed", row.seed},
                            {"trainable", row.parameters.trainable},
                            {"all", row.parameters.all},
                            {"lr", row.lr},
                            {"test_accuracy", row.test_accuracy},
                            {"train_accuracy", row.train_accuracy},
                            {"collapsed", row.collapsed},
                            {"epochs", epochs},
                            {"seconds_per_epoch", row.seconds_per_epoch}};
        if (!row.task.empty()) {
            object["task"] = row.task;
            object["old_accuracy"] = row.old_accuracy;
            object.erase("train_accuracy");  // not evaluated
        }
        list.push_back(object);
    }
    const Json all = Json::Object{{"seed", settings.seed},
                                  {"threads", threads},
                                  {"core", blas_core_name()},
                                  {"preset", settings.preset},
                                  {"rows", list}};
    write_file(path, {all.dump()});
}

// A sentence for the top of the report.
std::string describe(const Settings& s) {
    const AdapterConfig o = s.adapter_config("dora");
    std::string widths;
    for (int64_t width : s.widths) widths += (widths.empty() ? "" : "-") + to_text(width);
    return "A perceptron " + widths +
           (s.base.empty() ? " is pretrained on " + s.task.data : " is read from " + s.base) +
           "; copies of it are then trained " + to_text(s.epochs) +
           (s.epochs == 1 ? " epoch" : " epochs") +
           (s.shift.empty() ? " further" : ", on a changed task (" + s.shift + ")") +
           ". Batches of " + to_text(s.batch) +
           (s.shuffle ? ", shuffled" : ", in the order of the file") +
           "; Adam with learning rate " + to_text(s.rate("full")) + ", of adapters " +
           to_text(s.rate("lora")) + "; adapters of rank " + to_text(o.rank) + " with scaling " +
           to_text(o.scaling_factor()) + ", DoRA with a magnitude per " +
           (o.axis == Axis::kOut ? "output" : "input") + "; seed " + to_text(s.seed) + ".";
}

// The defaults that depend on others. Those of --shift are what the sweep chose (see the README).
void complete(Settings& s) {
    const bool shift = !s.shift.empty();
    if (s.preset.empty()) s.preset = shift ? "peft" : "tutorial";
    if (s.preset == "peft") s.shuffle = true;  // the notebooks do not shuffle; everybody else does
    if (s.epochs == 0) s.epochs = shift ? 5 : 10;
    if (s.lr_adapter == 0 && s.lr == 0 && shift) s.lr_adapter = 0.005;
    if (s.lr == 0) s.lr = shift ? 0.002 : 0.005;
}

// ---- what cannot work is refused before hours are spent -----------------------------------------

// Throws "<options>: <why>" if `wrong`.
void refuse(bool wrong, const char* options, const char* why) {
    check(!wrong, options, ": ", why);
}

void check_options(const Settings& s) {
    check(s.seeds == 1 || (s.save + s.resume + s.save_adapter + s.report).empty(), "--seeds: with ",
          s.seeds, " seeds, one run's files would replace another's. hint: save with one seed");
    const bool evaluates = !s.adapter.empty() && !is_adapter(s.method);
    refuse(!s.resume.empty() && s.method == "all", "--resume",
           "a checkpoint is of one method. hint: name it with --method");
    refuse(!s.resume.empty() && s.quantize != "none" && s.base.empty(), "--resume",
           "a checkpoint does not hold the quantised base. hint: name it with --base");
    refuse(!s.adapter.empty() && !(s.resume + s.save).empty(), "--adapter with --resume or --save",
           "training starts from --adapter, and only --save-adapter saves. hint: leave them out");
    refuse(evaluates && !s.save_adapter.empty(), "--adapter with --save-adapter",
           "it is only evaluated. hint: train it further with --method lora or dora");
    refuse(!s.save_adapter.empty() && !is_adapter(s.method) && s.method != "all", "--save-adapter",
           "this --method trains no adapter. hint: use --method lora, dora or all");
    refuse(!s.base.empty() && s.method == "base" && !(s.save + s.resume).empty(),
           "--base with --method base", "nothing is trained that could be saved or resumed");
    refuse(s.samples > 0 && s.shift.empty(), "--samples", "is for --shift");
    refuse(s.sweep && s.shift.empty(), "--sweep", "is for --shift");
    const std::string files = s.resume + s.adapter + s.save_adapter;
    refuse(!s.shift.empty() && (s.method != "all" || !files.empty() || s.quantize != "none"),
           "--shift with --method, --resume, --adapter, --save-adapter or --quantize",
           "it compares all methods, and saves the base alone");
    if (!s.save_adapter.empty() && (s.wants("dora") || s.method == "dora"))
        check(s.adapter_config("dora").axis == Axis::kOut,
              "--save-adapter: PEFT keeps one magnitude per output, this DoRA one per input",
              ". hint: add --axis out, or --preset peft");
}

// An adapter fits only the base that it was trained on. Its folder may name it.
void find_base(Settings& s) {
    if (s.adapter.empty()) return;
    const LoadedAdapter adapter = load_adapter(s.adapter);
    const char* method = adapter.config.method == Method::kDoRA ? "dora" : "lora";
    check(!is_adapter(s.method) || s.method == method, "--method ", s.method, ": the adapter ",
          s.adapter, " is of the other kind. hint: --method ", method);
    if (!s.base.empty()) return;
    const Json* name = adapter.json.find("base_model_name_or_path");
    if (const auto* path = name ? std::get_if<std::string>(&name->value) : nullptr) s.base = *path;
    check(file_exists(s.base), "--adapter ", s.adapter, ": its base is not known or not there",
          s.base.empty() ? "" : ": " + s.base, ". hint: name it with --base");
}

// The widths of the model, from the base if there is one.
void find_widths(Settings& s, const Task& task) {
    const int64_t classes = task.classes();
    check(s.classes == 0 || s.classes >= classes, "--classes ", s.classes,
          ": there are labels up to ",
          classes - 1, ", which makes ", classes, " classes");
    check(std::max(classes, s.classes) > 1, s.task.data,
          ": every label is 0; there must be two classes or more");
    s.widths = whole_numbers(s.hidden.empty() ? "128,256" : s.hidden, "--hidden");
    s.widths.insert(s.widths.begin(), task.train.features());
    s.widths.push_back(std::max(classes, s.classes));
    if (!s.base.empty()) {
        const std::vector<int64_t> asked = std::exchange(s.widths, perceptron_widths(s.base));
        check(s.hidden.empty() ||
                  std::equal(asked.begin() + 1, asked.end() - 1, s.widths.begin() + 1,
                             s.widths.end() - 1),
              "--hidden ", s.hidden, ": ", s.base, " has other widths. hint: leave out --hidden");
    }
    check(s.widths.front() == task.train.features() && s.widths.back() >= classes, s.base,
          ": a perceptron of ", s.widths.front(), " inputs and ", s.widths.back(), " classes; ",
          s.task.data, " has ", task.train.features(), " and ", classes,
          ". hint: pretrain one on data of this kind");
    Rng rng(1);
    MLP model(s.widths, rng);
    if (s.adapter.empty() && s.method != "base" && s.method != "full")
        select_modules(model, s.adapter_config("lora"));  // throws when --target matches nothing
}

}  // namespace

int mnist(int argc, char** argv) {
    Settings s;
    Options options("Pretrains a perceptron, then compares full fine-tuning, LoRA and DoRA.");
    s.task.add_to(options);
    options.add("classes", s.classes, "classes; 0: as many as the labels need", 0, 256);
    options.add("hidden", s.hidden, "widths of the hidden layers, separated by commas; else the "
                "base's, or 128,256", "WIDTHS");
    options.add_choice("method", s.method, "what to train after the base",
                       "base|full|lora|dora|all");
    options.add_choice("preset", s.preset,
                       "defaults of scaling, init, axis and norm; peft also shuffles. If not "
                       "given: tutorial, or peft if there is a --shift",
                       "tutorial|peft");
    options.add("rank", s.rank, "rank of the adapters", 1, 784);
    options.add("alpha", s.alpha, "alpha of the adapters' scaling", -1e6, 1e6);
    options.add("epochs", s.epochs, "epochs of pretraining, and of fine-tuning; 0: 10, or 5 if "
                "there is a --shift", 0, 10000);
    options.add("batch", s.batch, "rows per step", 1, 60000);
    options.add("lr", s.lr, "learning rate of Adam; 0: 0.005, or, if there is a --shift, 0.002 and "
                "for adapters 0.005", 0, 1e3);
    options.add("lr-full", s.lr_full, "the same for full; 0: as --lr", 0, 1e3);
    options.add("lr-adapter", s.lr_adapter, "the same for LoRA and DoRA; 0: as --lr", 0, 1e3);
    options.add("shift", s.shift, "then change the task: rotate:45, translate:4, invert, fashion, "
                "or other data, such as --data takes; several separated by commas", "HOW");
    options.add("samples", s.samples, "with --shift: adapt again, on only so many rows", 0, 1e9);
    options.add("sweep", s.sweep, "with --shift: choose the learning rates on held-out rows");
    options.add("seed", s.seed, "seed of the random numbers", 0, 1e15);
    options.add("seeds", s.seeds, "repeat with this many seeds, counting up", 1, 1000);
    options.add("threads", s.threads, "BLAS threads, or auto", "N");
    options.add_choice("axis", s.axis, "DoRA: a magnitude per output or input; else the preset's",
                       "out|in");
    options.add_choice("norm-gradient", s.norm_gradient,
                       "DoRA: gradient through the norm; else the preset's", "exact|detached");
    options.add("shuffle", s.shuffle, "draw a new order of the images for each epoch");
    options.add("dropout", s.dropout, "of the adapters' input, while training", 0, 1);
    options.add_choice("init", s.init, "how A starts; else the preset's",
                       "kaiming|gaussian|tutorial");
    options.add("target", s.target, "layers to adapt, by name, separated by commas", "NAMES");
    options.add_choice("quantize", s.quantize, "the frozen base under LoRA and DoRA",
                       "none|int8|nf4");
    options.add("base", s.base, "start from these parameters instead of pretraining", "FILE");
    options.add("save", s.save, "write merged parameters and checkpoints to this folder", "DIR");
    options.add("resume", s.resume, "go on from this checkpoint, with the same options", "FILE");
    options.add("save-adapter", s.save_adapter, "write the adapters as PEFT has them", "DIR");
    options.add("adapter", s.adapter,
                "evaluate the base with this adapter; with --method lora or dora, train it further",
                "DIR");
    options.add("json", s.json, "write every figure to this file", "FILE");
    options.add("report", s.report, "write a page of pictures, index.html, to this folder", "DIR");
    options.add("trace", s.trace, "print every op, forward and backward, on stderr");
    options.parse_strict(argc, argv);
    complete(s);
    check_options(s);
    find_base(s);
    const Task task = s.task.load();
    find_widths(s, task);
    if (!s.shift.empty()) {  // throws what is wrong with these
        for (const std::string& shift : split_list(s.shift)) {
            const int64_t classes = shifted(task, s.task, shift).classes();
            check(classes <= s.widths.back(), "--shift ", shift, ": ", classes,
                  " classes; the base has ", s.widths.back(), ". hint: pretrain one with ",
                  "--classes ", classes);
        }
        sample_rows(task.train, s.samples, s.seed);
    }
    check_outputs({s.save, s.save_adapter, s.report}, {s.json});
    if (s.trace) set_trace(stderr);

    const int threads = set_threads(s.threads);
    std::printf("slimgrad mnist: OpenBLAS core %s, threads %d, seed %ld, preset %s\n",
                blas_core_name(), threads, long(s.seed), s.preset.c_str());

    std::vector<Row> rows;
    try {
        for (int64_t seed = s.seed; seed < s.seed + s.seeds; seed++) {
            if (s.seeds > 1) std::printf("\nseed %ld\n", long(seed));
            run(task, s, seed, seed == s.seed, rows);
        }
    } catch (const Error&) {
        if (!rows.empty()) print_table(rows);  // what was trained before is not lost
        throw;
    }
    if (s.shift.empty()) {
        print_table(rows);
        if (s.seeds > 1) print_summary(rows, s);
    } else {
        print_shift_tables(rows);
    }
    if (!s.json.empty()) write_json(s.json, rows, s, threads);
    if (!s.report.empty()) {
        write_report(s.report, rows, describe(s));
        std::printf("\n%s/index.html: written; open it in a browser\n", s.report.c_str());
    }
    return 0;
}

}  // namespace slim
