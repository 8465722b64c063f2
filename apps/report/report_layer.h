// The sections of the report about the first layer: what the adapters did to its weights.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/report/report.h"

namespace slim {

// The first adapted layer, if its inputs are pixels; else null.
std::shared_ptr<LayerChange> first_layer_change(Module& model, int64_t pixels);

// "" if no model has one.
std::string first_layer_section(const std::vector<Row>& rows);
std::string magnitudes_section(const std::vector<Row>& rows);

}  // namespace slim
