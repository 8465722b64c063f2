// The configuration of adapters, and their interface for attaching, merging and saving. The
// adapters themselves are in lora.h, dora.h and embedding_adapter.h.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nn/adapters/dora_scale.h"  // Axis, NormGradient
#include "nn/module.h"

namespace slim {

enum class Scaling { kAlpha, kAlphaOverRank, kAlphaOverSqrtRank };
// How A starts in a Linear's adapter. B starts at zero. In an Embedding's adapter A starts at zero
// and B at N(0, 1), as in PEFT; with kTutorial A starts at N(0, 0.02) and B at zero.
enum class InitA {
    kKaiming,  // uniform(-1/sqrt(in), 1/sqrt(in)): PEFT's default, kaiming_uniform with a = sqrt(5)
    kGaussian,  // normal with standard deviation 1/rank: PEFT's "gaussian"
    kTutorial,  // normal with standard deviation 1/sqrt(rank): the "from scratch" tutorials
};

enum class Method { kLoRA, kDoRA, kDoRAMerged };
enum class BiasTraining { kNone, kAll, kLoRAOnly };  // of no Linear, of every one, of adapted ones

// What to adapt, and how. (PEFT: LoraConfig) The choices in which the sources of LoRA and DoRA
// differ have the defaults of Hugging Face PEFT. The "from scratch" tutorials choose otherwise:
// tutorial_preset(). A layer prints its rank, alpha and scaling.
struct AdapterConfig {
    Method method = Method::kLoRA;

    // Options of a single layer.
    int64_t rank = 8;
    double alpha = 8;
    Scaling scaling = Scaling::kAlphaOverRank;  // s = alpha, alpha / rank or alpha / sqrt(rank)
    InitA init = InitA::kKaiming;
    double dropout = 0;  // of the adapter's input (Embedding: of the rows A[ids]), while training
    Axis axis = Axis::kOut;
    NormGradient norm_gradient = NormGradient::kDetached;  // as the paper, section 4.3

    // The modules to adapt: a list of names or, instead of it, one pattern.
    std::vector<std::string> target_modules = {"all-linear"};
    std::string target_pattern = {};
    std::vector<std::string> exclude_modules = {};
    std::string exclude_pattern = {};

    // With target_modules: adapts only layers with these indices; empty: all. The index follows a
    // word that matches layers_pattern (empty: any word), as 3 in "model.layers.3.fc1". As in PEFT,
    // there must be a part before the word and one after the index: "layers.3.fc1" has no index. A
    // module whose full name is among the targets is adapted with any index.
    std::vector<int64_t> layers_to_transform = {};
    std::vector<std::string> layers_pattern = {};

    // Options for single modules. A key is a pattern for the name or its last parts: "fc1" also
    // matches a.fc1, "^fc1" only fc1. The first match in alphabetical order counts.
    std::map<std::string, int64_t> rank_pattern = {};
    std::map<std::string, double> alpha_pattern = {};

    // Modules that are trained and saved whole, such as a new head. Names, as in target_modules.
    std::vector<std::string> modules_to_save = {};
    BiasTraining bias = BiasTraining::kNone;
    std::string task_type = {};  // written for PEFT; without meaning here

    double scaling_factor() const;  // s
    std::string text() const;       // "rank=4, alpha=8, scaling=2 (alpha / rank)", as layers print
    void check_valid() const;       // throws an Error that names the first bad option
};

// The choices of the "LoRA and DoRA from scratch" tutorials: s = alpha, A from
// N(0, 1 / sqrt(rank)), one magnitude per input, and a gradient through the norm.
AdapterConfig tutorial_preset(int64_t rank, double alpha, Method method = Method::kLoRA);

// A tensor of an adapter under the name that it has in PEFT's files.
struct AdapterTensor {
    std::string peft_name;    // "lora_A.weight", after the module's own path
    Tensor* tensor;
    bool transposed = false;  // the file holds it the other way round
};

// An adapter together with the module that it adapts, whose place in the model it takes.
struct Adapter : Module {
    Tensor m;  // DoRA's magnitude; undefined in LoRA
    std::string set_name;  // the name under which an AdapterSet holds it; "" if none does

    virtual const AdapterConfig& config() const = 0;
    virtual ModulePtr base() const = 0;    // the wrapped module
    virtual ModulePtr merged() const = 0;  // a plain module that holds W'; the base stays as it is
    virtual std::vector<AdapterTensor> adapter_tensors() = 0;
    virtual const char* magnitude_per() const = 0;  // "output", "input" or "dimension"

    bool is_dora() const { return m.defined(); }
    std::string extra() const override;

    // Computes with a merged copy of the weight from now on, at the base's cost. To train on, call
    // unmerge_weights() first: the adapter is as it was, to the bit. Throws when the merged weight
    // is not finite.
    void merge_weights() { merged_form = merged(); }
    void unmerge_weights() { merged_form.reset(); }
    bool is_merged() const { return merged_form != nullptr; }

    ModulePtr merged_form;  // null unless merged
};

// Throws if the merged weight holds NaN or infinity: such an adapter is not merged.
void check_merged(const Tensor& weight);

}  // namespace slim
