// Continues a prompt of token ids with a Llama.
#pragma once

#include "nn/llama/llama.h"

namespace slim {

struct Sampling {
    double temperature = 1;  // divides the logits; 0 takes the most likely id
    int64_t top_k = 0;  // draw from the k most likely ids, and their equals; 0: from all
};

// Returns `count` ids that follow the prompt. Each is drawn given the ids before it, of which the
// model sees the last context->length. Leaves the model's mode as it was.
std::vector<int> generate(LlamaForCausalLM& model, std::vector<int> prompt, int64_t count,
                          const Sampling& sampling, Rng& rng);

}  // namespace slim
