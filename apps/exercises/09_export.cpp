// Exercise 9: hand an adapter on.
//
// PEFT's files hold LoRA, and DoRA with one magnitude per output. One with a magnitude per input
// (Axis::kIn) is refused. Why? Can V with scaled columns be written as V with scaled rows?
//
// Write hand_on(): an adapter that PEFT knows goes into the folder as it is. Any other is merged
// into the model for good, and the model is saved as folder + "/merged.safetensors". You need
// config(), active(), merge_and_unload() (nn/adapters/adapt.h), save_adapter() (nn/peft/peft.h) and
// save_parameters() (nn/state_file.h).
//
// Check: make ex-09    Hint: make hint-09
#include "apps/exercises/check.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "nn/peft/peft.h"
#include "nn/sequential.h"
#include "nn/state_file.h"

using namespace slim;

// ---- your part ----------------------------------------------------------------------------------

static void hand_on(Module& model, AdapterSet& adapters, const std::string& folder) {
    TO_WRITE("save the adapter, or the merged model");
}

// ---- the check ----------------------------------------------------------------------------------

static void check_one(const std::string& what, const AdapterConfig& config, const char* file) {
    const std::string folder = empty_folder();
    NoGrad no_grad;
    Rng rng(1), same(1);
    MLP model(6, 5, 4, 3, rng), fresh(6, 5, 4, 3, same);  // equal bases
    const Tensor x = normal({4, 6}, 0, 1, rng), base = model(x);
    AdapterSet adapters = attach(model, config, rng);
    for (Tensor& p : model.parameters())  // stands for training
        if (p.requires_grad()) copy_values(p + normal(p.shape(), 0, 0.5, rng), p);
    const Tensor expected = model(x);
    hand_on(model, adapters, folder);
    require(file_exists(folder + "/" + file),
            what + ": expected " + file + " in the folder, got none");
    AdapterSet loaded(fresh);
    const bool is_merged = std::string(file) == "merged.safetensors";
    require(!is_merged || adapters.active().empty() || !adapters.is_merged(),
            what + ": merge() can be undone, so the adapter is still in the model. For good: "
            "merge_and_unload()");
    if (is_merged) load_parameters(fresh, folder + "/" + file);
    else add_adapter(loaded, "loaded", load_adapter(folder), rng);
    expect(what + ", output after loading, element ", fresh(x), expected,
           {{base, "this is the base: the adapter was not active when it was saved"}});
}

static void check_hand_on() {
    check_one("LoRA", {.rank = 2}, "adapter_model.safetensors");
    check_one("DoRA per output", {.method = Method::kDoRA, .rank = 2}, "adapter_model.safetensors");
    check_one("DoRA per input", {.method = Method::kDoRA, .rank = 2, .axis = Axis::kIn},
              "merged.safetensors");
}

int main() { return run_exercise(__FILE__, check_hand_on); }
