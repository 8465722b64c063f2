// adapter_config.json, in which PEFT says what was adapted and how: to and from an AdapterConfig.
#pragma once

#include "data/json.h"
#include "nn/adapt.h"

namespace slim {

// The scaling s = alpha, which PEFT lacks, becomes the lora_alpha = alpha * rank that gives the
// same s. Ranks and alphas are those of the places, whatever patterns led to them.
Json config_to_json(const AdapterConfig& config, const std::vector<AdaptedPlace>& places,
                    const std::string& base_name);

// Strict about types and values, and refuses what would change the result and slimgrad does not
// have. Adds a sentence to the notes for each unknown key that is ignored. The path is for
// messages.
AdapterConfig config_from_json(const Json& json, const std::string& path,
                               std::vector<std::string>& notes);

}  // namespace slim
