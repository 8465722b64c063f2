// The tensors of PEFT's files. See peft_tensors.h.
#include "nn/peft/peft_tensors.h"

#include <algorithm>  // max
#include <cmath>      // fabs
#include <cstdio>     // fprintf

#include "core/ops.h"

namespace slim {

std::string tensor_name(const std::string& module, const std::string& end) {
    return kPrefix + module + "." + end;
}

std::string module_of(const std::string& name, const std::string& end) {
    if (!name.starts_with(kPrefix) || !name.ends_with("." + end)) return "";
    const size_t extra = kPrefix.size() + 1 + end.size();
    return name.size() > extra ? name.substr(kPrefix.size(), name.size() - extra) : "";
}

std::string parent_of(const std::string& name) {
    const size_t dot = name.rfind('.');
    return dot == std::string::npos || dot < kPrefix.size()
               ? ""
               : name.substr(kPrefix.size(), dot - kPrefix.size());
}

std::map<std::string, AdapterTensor> trained_tensors(const std::vector<AdaptedPlace>& places,
                                                     BiasTraining training) {
    using Trained = AdaptedPlace::Trained;
    std::map<std::string, AdapterTensor> tensors;
    const auto add = [&](const std::string& module, const AdapterTensor& t) {
        if (t.tensor->defined()) tensors[tensor_name(module, t.peft_name)] = t;
    };
    for (const AdaptedPlace& place : places) {
        if (Adapter* adapter = place.adapter()) {
            for (const AdapterTensor& t : adapter->adapter_tensors()) add(place.name, t);
            auto* linear = dynamic_cast<Linear*>(adapter->base().get());
            if (linear && training != BiasTraining::kNone)
                add(place.name, {kBaseBias, &linear->bias});
            continue;
        }
        for (const Member& member : place.adapted->members())
            if (place.trained == Trained::kWhole || member.name == "bias")
                add(place.name, {member.name, member.parameter});
    }
    return tensors;
}

void copy_trained_tensors(const TensorFile& file, const std::vector<AdaptedPlace>& places,
                          BiasTraining training) {
    for (const auto& [name, t] : trained_tensors(places, training)) {
        const Tensor values = file.tensor(name);
        copy_values(t.transposed ? transpose(values) : values, *t.tensor);
    }
}

// ---- what messages say --------------------------------------------------------------------------

std::string nearest(const std::string& name, const std::vector<std::string>& names) {
    const std::string found = nearest_name(name, names);
    return found.empty() ? "" : ". hint: the most similar is " + found;
}

void print_notes(const std::vector<std::string>& notes) {
    for (const std::string& note : notes) std::fprintf(stderr, "note: %s\n", note.c_str());
}

double largest_difference(const Tensor& a, const Tensor& b) {
    double largest = 0;
    for (int64_t i = 0; i < a.size(); i++)
        largest = std::max(largest, std::fabs(double(a.data()[i]) - double(b.data()[i])));
    return largest;
}

std::string differs_from_base(const LoadedAdapter& adapter, const std::string& name,
                              double difference) {
    return adapter.file.path + ": " + name + " differs from the base's by up to " +
           to_text(difference) + "; the file's, with which the adapter was trained, is used";
}

}  // namespace slim
