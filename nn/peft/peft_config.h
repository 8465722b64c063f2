// adapter_config.json, in which PEFT says what was adapted and how: to and from an AdapterConfig.
#pragma once

#include "data/json.h"
#include "nn/adapters/adapt.h"

namespace slim {

// The active adapter's configuration, from what its layers are: their names, ranks and scalings.
// The scaling s = alpha, which PEFT lacks, becomes the lora_alpha = alpha * rank that gives the
// same s.
// Throws when the layers differ in something of which PEFT has one for all.
Json config_to_json(const AdapterSet& adapters, const std::string& base_name);

// The part of a configuration that decides what the tensors mean. It is kept in the tensors' file,
// too: so the loader notices two files that do not belong together.
Json meaning_of(const Json& config);

// Strict about types and values, and refuses what would change the result and slimgrad does not
// have. Adds a sentence to the notes for each unknown key that is ignored. The path is for
// messages.
AdapterConfig config_from_json(const Json& json, const std::string& path,
                               std::vector<std::string>& notes);

}  // namespace slim
