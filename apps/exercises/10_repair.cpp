// Exercise 10: a repair with fewer than 7,000 values.
//
// Lesson 10 repaired the network for digits that are moved aside with 24,992 values. Do it with
// fewer than 7,000: at least 85 % of the moved test digits, after 300 steps of Adam. The network is
// layers.0 (784 -> 128), layers.2 (128 -> 256), layers.4 (256 -> 10). A LoRA pair has
// rank * (in + out) values. Which layer has to change, if the pixels have moved? And how fast?
//
// Check: make ex-10    Hint: make hint-10
#include <cstdio>

#include "apps/exercises/check.h"
#include "apps/exercises/train.h"

using namespace slim;

// ---- your part ----------------------------------------------------------------------------------

static Plan my_plan() {
    Plan plan;
    TO_WRITE("choose plan.adapter's method, rank, alpha and target_modules, and plan.lr");
    return plan;
}

// ---- the check ----------------------------------------------------------------------------------

static void check_repair() {
    const Plan plan = my_plan();
    const Repair repair = repair_moved_digits("data/mnist", plan);
    require(repair.values < 7000, "trained values: expected fewer than 7000, got " +
            to_text(long(repair.values)) + ". Not every layer needs an adapter: target_modules");
    require(repair.base_is_equal, "the base has changed: train adapters only");
    const std::string words = plan.lr < 0.002 ? ". Try plan.lr: a network as small as this one "
                                                "takes larger steps than a large one"
                            : plan.lr > 0.03 ? ". Try a smaller plan.lr"
                            : plan.adapter.target_modules != std::vector<std::string>{"layers.0"}
                                ? ". The pixels have moved: adapt the layer that sees them"
                                : ". Try other values of rank, alpha and lr";
    require(repair.percent >= 85,
            "moved digits: expected at least 85 %, got " + to_text(repair.percent) + " %" + words);
    std::printf("%ld values, %.1f %% of the moved digits; the base, switched off, is equal\n",
                long(repair.values), repair.percent);
}

int main() { return run_exercise(__FILE__, check_repair); }
