// adapter_config.json, in which PEFT says what was adapted and how: to and from an AdapterConfig.
#pragma once

#include "data/json.h"
#include "nn/adapters/adapt.h"

namespace slim {

// Derives the active adapter's configuration from its layers: their names, ranks and scalings. The
// scaling s = alpha, which PEFT lacks, becomes the lora_alpha = alpha * rank that gives the same s.
// Throws if layers differ in method or dropout, because PEFT has one value for all.
Json config_to_json(const AdapterSet& adapters, const std::string& base_name);

// The part of a configuration that decides what the tensors mean. It is kept in the tensors' file,
// too: so the loader notices two files that do not belong together.
Json meaning_of(const Json& config);

// Throws on wrong types and values, and on options that slimgrad lacks and that would change the
// result. Adds a sentence to the notes for each unknown key that is ignored, unless it is null,
// false or empty. The path is for messages.
AdapterConfig config_from_json(const Json& json, const std::string& path,
                               std::vector<std::string>& notes);

}  // namespace slim
