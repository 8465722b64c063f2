// The main job: what the "LoRA and DoRA from scratch" notebooks do in PyTorch, on real MNIST.
//
// A multilayer perceptron 784-128-256-10 is pretrained. Copies of it are then trained for as many
// epochs again: one in full (the control that the notebooks lack), one with LoRA and one with DoRA
// on its frozen layers. The table at the end compares them.
//
// run:  build/mnist --help
#include <algorithm>  // max, min
#include <cmath>      // sqrt
#include <cstdio>
#include <map>

#include "apps/program.h"
#include "apps/report/report.h"
#include "core/gemm.h"
#include "core/random.h"
#include "core/trace.h"
#include "data/json.h"
#include "data/mnist.h"
#include "nn/adapt.h"
#include "nn/peft.h"
#include "nn/sequential.h"
#include "nn/state_file.h"
#include "optim/adam.h"
#include "optim/checkpoint.h"
#include "optim/trainer.h"

namespace slim {

namespace {

bool is_adapter(const std::string& method) { return method == "lora" || method == "dora"; }

struct Settings {
    std::string data = "data/mnist", method = "all", preset = "tutorial", threads = "1";
    std::string axis, norm_gradient, init, target = "all-linear", quantize = "none", json;
    std::string base, save, resume, save_adapter, adapter, report;
    int64_t rank = 4, epochs = 10, batch = 64, seed = 1, seeds = 1;
    double alpha = 8, lr = 0.005, dropout = 0;
    bool shuffle = false, trace = false;

    bool wants(const std::string& name) const { return method == name || method == "all"; }

    AdapterConfig adapter_config(const std::string& name) const {
        AdapterConfig o{.rank = rank, .alpha = alpha};  // PEFT's choices
        if (preset == "tutorial") o = tutorial_preset(rank, alpha);
        o.method = name == "lora" ? Method::kLoRA : Method::kDoRA;
        o.target_modules = split(target);
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
        Json::Object config{{"method", name}, {"seed", of_seed}, {"batch", batch}, {"lr", lr},
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

    static std::vector<std::string> split(const std::string& list) {
        std::vector<std::string> parts(1);
        for (char c : list)
            if (c == ',') parts.emplace_back();
            else parts.back() += c;
        return parts;
    }
};

struct Data {
    DataSet train, test;
};

Row evaluate_row(const std::string& method, Module& model, const Data& data,
                 const Settings& settings, int64_t seed) {
    Row row{method, seed, count_parameters(model), evaluate(model, data.test).accuracy,
            evaluate(model, data.train).accuracy};
    if (!settings.report.empty()) row.pictures = picture_model(model, data.test);
    return row;
}

// Trains what is trainable in the model, and evaluates it.
Row fit(const std::string& method, Module& model, const Data& data, const Settings& settings,
        int64_t seed, Rng& rng, const std::string& base_print) {
    Adam adam(model.parameters(), {.lr = settings.lr});
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
    check(!report.interrupted, "stopped by Ctrl-C",
          options.checkpoint.empty()
              ? "; nothing was saved. hint: with --save DIR a run can be resumed"
              : "; to go on, repeat the command with --method " + method + " --resume " +
                    options.checkpoint);
    if (!settings.save.empty() && (settings.quantize == "none" || !is_adapter(method)))
        save_parameters(model, settings.save + "/" + method + ".safetensors");

    Row row = evaluate_row(method, model, data, settings, seed);
    row.epochs = report.epochs;
    row.seconds_per_epoch = report.seconds_per_epoch();
    return row;
}

std::shared_ptr<MLP> make_model(const Data& data, Rng& rng) {
    return std::make_shared<MLP>(data.train.features(), 128, 256, 10, rng);
}

std::shared_ptr<MLP> copy_of(MLP& model, const Data& data, Rng& rng) {
    std::shared_ptr<MLP> copy = make_model(data, rng);
    copy->load_state_dict(model.state_dict());
    return copy;
}

void quantize(MLP& model, const std::string& kind) {
    if (kind == "none") return;
    const ParameterCount count = count_parameters(model);
    quantize_linear_layers(model, kind == "int8" ? Quantization::kInt8 : Quantization::kNF4);
    int64_t bytes = 0;
    for (const NamedModule& m : model.named_modules())
        if (auto* linear = dynamic_cast<Linear*>(m.module); linear && linear->weight.quantized)
            bytes += linear->weight.quantized->bytes() + linear->bias.size() * int64_t(sizeof(real));
    std::printf("\nbase in %s: %ld bytes instead of %ld\n", kind.c_str(), long(bytes),
                long(count.all * int64_t(sizeof(real))));
}

// The whole comparison from one seed.
std::vector<Row> run(const Data& data, const Settings& s, int64_t seed, bool explain) {
    // A generator for each method, so that its result does not depend on which others are run.
    Rng seeds{uint64_t(seed)};
    std::map<std::string, Rng> rngs;
    for (const char* method : {"base", "full", "lora", "dora"})
        rngs.emplace(method, Rng(seeds.bits()));

    std::vector<Row> rows;
    Rng& base_rng = rngs.at("base");
    std::shared_ptr<MLP> base = make_model(data, base_rng);
    if (!s.base.empty()) {
        load_parameters(*base, s.base);
        rows.push_back(evaluate_row("base", *base, data, s, seed));
    } else if (s.resume.empty() || s.method == "base") {
        rows.push_back(fit("base", *base, data, s, seed, base_rng, ""));
    }
    // Resuming without --base takes the base from the checkpoint.
    const std::string base_print =
        s.base.empty() && !s.resume.empty() && s.method != "base"
            ? parse_json(checkpoint_config(s.resume), s.resume)
                  .at("base", s.resume)
                  .as_string(s.resume)
            : fingerprint(*base);
    if (s.quantize != "none" && s.resume.empty()) {
        std::shared_ptr<MLP> model = copy_of(*base, data, base_rng);
        quantize(*model, s.quantize);
        rows.push_back(evaluate_row(s.quantize, *model, data, s, seed));
    }
    if (!s.adapter.empty()) {
        std::shared_ptr<MLP> model = copy_of(*base, data, base_rng);
        quantize(*model, s.quantize);
        attach_adapter(*model, load_adapter(s.adapter), base_rng);
        rows.push_back(evaluate_row("adapter", *model, data, s, seed));
        return rows;
    }
    for (const std::string method : {"full", "lora", "dora"}) {
        if (!s.wants(method)) continue;
        Rng& rng = rngs.at(method);
        std::shared_ptr<MLP> model = copy_of(*base, data, rng);
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
            save_adapter(s.save_adapter + (s.method == "all" ? "/" + method : ""),
                         adapters, s.base);
    }
    return rows;
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
    std::printf("\n%-8s %8s %12s %12s %12s %12s\n", "method", "seeds", "mean %", "std", "lowest %",
                "highest %");
    const std::vector<std::string> methods{"base", s.quantize, "full", "lora", "dora", "adapter"};
    for (const std::string& method : methods) {
        double n = 0, sum = 0, squares = 0, low = 100, high = 0;
        for (const Row& row : rows) {
            if (row.method != method) continue;
            const double accuracy = 100 * row.test_accuracy;
            n++;
            sum += accuracy;
            squares += accuracy * accuracy;
            low = std::min(low, accuracy);
            high = std::max(high, accuracy);
        }
        if (n == 0) continue;
        const double mean = sum / n;
        const double variance = n > 1 ? std::max(0.0, (squares - n * mean * mean) / (n - 1)) : 0;
        std::printf("%-8s %8.0f %12.2f %12.2f %12.2f %12.2f\n", method.c_str(), n, mean,
                    std::sqrt(variance), low, high);
    }
}

void write_json(const std::string& path, const std::vector<Row>& rows, const Settings& settings,
                int threads) {
    Json::List list;
    for (const Row& row : rows)
        list.push_back(Json::Object{{"method", row.method},
                                    {"seed", row.seed},
                                    {"trainable", row.parameters.trainable},
                                    {"all", row.parameters.all},
                                    {"test_accuracy", row.test_accuracy},
                                    {"train_accuracy", row.train_accuracy},
                                    {"epochs", int64_t(row.epochs.size())},
                                    {"seconds_per_epoch", row.seconds_per_epoch}});
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
    return "A perceptron 784-128-256-10 is pretrained on MNIST; copies of it are then trained " +
           to_text(s.epochs) + " epochs further. Batches of " + to_text(s.batch) +
           (s.shuffle ? ", shuffled" : ", in the order of the file") +
           "; Adam with learning rate " + to_text(s.lr) + "; adapters of rank " + to_text(o.rank) +
           " with scaling " + to_text(o.scaling_factor()) + ", DoRA with a magnitude per " +
           (o.axis == Axis::kOut ? "output" : "input") + "; seed " + to_text(s.seed) + ".";
}

// What cannot go together is refused before hours are spent.
void check_settings(const Settings& s) {
    check(s.seeds == 1 || (s.save + s.resume + s.save_adapter + s.report).empty(), "--seeds: with ",
          s.seeds, " seeds, one run's files would replace another's. hint: save with one seed");
    check(s.resume.empty() || s.method != "all",
          "--resume: a checkpoint is of one method. hint: name it with --method");
    check(s.resume.empty() || s.quantize == "none" || !s.base.empty(),
          "--resume: a checkpoint does not hold the quantised base. hint: name it with --base");
    if (!s.save_adapter.empty() && s.wants("dora"))
        check(s.adapter_config("dora").axis == Axis::kOut,
              "--save-adapter: PEFT keeps one magnitude per output, this DoRA one per input",
              ". hint: add --axis out, or --preset peft");
    for (const std::string& folder : {s.save, s.save_adapter, s.report})
        if (!folder.empty()) make_folders(folder);
}

}  // namespace

int mnist(int argc, char** argv) {
    Settings s;
    Options options("Pretrains an MLP on MNIST, then compares full fine-tuning, LoRA and DoRA.");
    options.add("data", s.data, "folder with the four MNIST files", "DIR");
    options.add_choice("method", s.method, "what to train after the base",
                       "base|full|lora|dora|all");
    options.add_choice("preset", s.preset, "scaling, init, axis; peft also shuffles",
                       "tutorial|peft");
    options.add("rank", s.rank, "rank of the adapters", 1, 784);
    options.add("alpha", s.alpha, "alpha of the adapters' scaling", -1e6, 1e6);
    options.add("epochs", s.epochs, "epochs of pretraining, and of fine-tuning", 1, 10000);
    options.add("batch", s.batch, "images per step", 1, 60000);
    options.add("lr", s.lr, "learning rate of Adam", 0, 1e3);
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
    options.add("save", s.save, "write parameters and checkpoints to this folder", "DIR");
    options.add("resume", s.resume, "go on from this checkpoint, with the same options", "FILE");
    options.add("save-adapter", s.save_adapter, "write the adapters as PEFT has them", "DIR");
    options.add("adapter", s.adapter, "evaluate the base with this adapter", "DIR");
    options.add("json", s.json, "write every figure to this file", "FILE");
    options.add("report", s.report, "write a page of pictures, index.html, to this folder", "DIR");
    options.add("trace", s.trace, "print every op, forward and backward, on stderr");
    options.parse_strict(argc, argv);
    if (s.preset == "peft") s.shuffle = true;  // the notebooks do not shuffle; everybody else does

    check_settings(s);
    if (s.trace) set_trace(stderr);

    const int threads = set_threads(s.threads);
    std::printf("slimgrad mnist: OpenBLAS core %s, threads %d, seed %ld, preset %s\n",
                blas_core_name(), threads, long(s.seed), s.preset.c_str());
    const Data data{load_mnist(s.data, Split::kTrain), load_mnist(s.data, Split::kTest)};

    std::vector<Row> rows;
    for (int64_t seed = s.seed; seed < s.seed + s.seeds; seed++) {
        if (s.seeds > 1) std::printf("\nseed %ld\n", long(seed));
        for (const Row& row : run(data, s, seed, seed == s.seed)) rows.push_back(row);
    }
    print_table(rows);
    if (s.seeds > 1) print_summary(rows, s);
    if (!s.json.empty()) write_json(s.json, rows, s, threads);
    if (!s.report.empty()) {
        write_report(s.report, rows, describe(s));
        std::printf("\n%s/index.html: written; open it in a browser\n", s.report.c_str());
    }
    return 0;
}

}  // namespace slim
