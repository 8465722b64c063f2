// Texts about adapters. See adapter_report.h.
#include "apps/report/adapter_report.h"

#include <algorithm>  // max, minmax_element
#include <cmath>      // fabs, isfinite, sqrt
#include <cstdio>     // snprintf
#include <set>        // the names in either of two files

#include "core/ops.h"

namespace slim {

namespace {

double frobenius(const Tensor& x) {
    double squares = 0;
    for (real v : x.to_vector()) squares += double(v) * double(v);
    return std::sqrt(squares);
}

// ||B A||^2 is the sum of (B^T B) . (A A^T), element by element: two small matrices.
double product_norm(const Tensor& A, const Tensor& B) {
    const Tensor product = matmul_tn(B, B) * matmul_nt(A, A);
    double sum = 0;
    for (real v : product.to_vector()) sum += double(v);
    return std::sqrt(std::max(sum, 0.0));
}

// Appends to text as printf does.
template <class... Values>
void print_to(std::string& text, const char* format, const Values&... values) {
    char line[512];
    std::snprintf(line, sizeof line, format, values...);
    text += line;
}

std::string without_prefix(const std::string& name) {
    return name.substr(std::string("base_model.model.").size());
}

int64_t count_numbers(const LoadedAdapter& adapter) {
    int64_t count = 0;
    for (const auto& [name, stored] : adapter.file.tensors) count += checked_size(stored.shape);
    return count;
}

std::string summary(const LoadedAdapter& adapter) {
    std::string text = adapter.folder + ": ";
    print_to(text, "%s on %zu modules, %zu tensors, trainable params: %lld\n",
             adapter.config.method == Method::kDoRA ? "DoRA" : "LoRA", adapter.layers.size(),
             adapter.file.tensors.size(), static_cast<long long>(count_numbers(adapter)));
    return text;
}

}  // namespace

std::string describe_adapter(const LoadedAdapter& adapter) {
    std::string text = summary(adapter) + adapter.json.dump() + "\n\n";
    print_to(text, "%-48s %-14s %-5s %12s\n", "tensor", "shape", "dtype", "norm");
    for (const auto& [name, stored] : adapter.file.tensors)
        print_to(text, "%-48s %-14s %-5s %12.6g\n", without_prefix(name).c_str(),
                 to_text(stored.shape).c_str(), stored.dtype.c_str(),
                 frobenius(adapter.file.tensor(name)));

    print_to(text, "\n%-32s %6s %8s %8s %12s  %s\n", "module", "rank", "alpha", "s", "|s B A|",
             adapter.config.method == Method::kDoRA ? "magnitudes" : "");
    for (const LoadedAdapter::Layer& layer : adapter.layers) {
        const AdapterConfig options = config_for(adapter.config, layer.module);
        const double s = options.scaling_factor();
        print_to(text, "%-32s %6lld %8g %8g %12.6g", layer.module.c_str(),
                 static_cast<long long>(options.rank), options.alpha, s,
                 std::fabs(s) * product_norm(adapter.A(layer), adapter.B(layer)));
        if (adapter.config.method == Method::kDoRA) {
            const std::vector<real> m =
                adapter.tensor(layer.module, "lora_magnitude_vector").to_vector();
            const auto [low, high] = std::minmax_element(m.begin(), m.end());
            if (!m.empty()) print_to(text, "  %g to %g", double(*low), double(*high));
        }
        text += "\n";
    }
    for (const std::string& note : adapter.notes) text += "note: " + note + "\n";
    return text;
}

std::string check_adapter(const LoadedAdapter& adapter) {
    const AdapterConfig& config = adapter.config;
    bool has_embedding = false, is_short = false;
    for (const LoadedAdapter::Layer& layer : adapter.layers)
        has_embedding = has_embedding || layer.is_embedding;
    for (const auto& [name, stored] : adapter.file.tensors) {
        is_short = is_short || stored.dtype == "F16" || stored.dtype == "BF16";
        const std::vector<real> values = adapter.file.tensor(name).to_vector();
        for (size_t i = 0; i < values.size(); i++)
            check(std::isfinite(values[i]), adapter.file.path, ": tensor ", name, ": element ", i,
                  " is ", double(values[i]), "; an adapter must be finite to be of use");
    }
    std::string text = summary(adapter);
    for (const std::string& note : adapter.notes) text += "note: " + note + "\n";
    text += "PEFT loads it with PeftModel.from_pretrained(base, \"" + adapter.folder + "\").\n";
    if (!adapter.file.metadata.count("format"))
        text += "Some readers refuse a file without the metadata {\"format\": \"pt\"}.\n";
    if (config.bias == BiasTraining::kLoRAOnly)
        text += "PEFT reads these biases, but leaves them out when it saves the adapter again.\n";
    if (config.bias != BiasTraining::kNone)
        text +=
            "The trained biases replace the base's: PEFT does not put those back when the "
            "adapter is disabled.\n";
    if (has_embedding && config.dropout > 0)
        text += "PEFT ignores lora_dropout on an Embedding.\n";
    if (config.method == Method::kDoRA)
        text += "A row of the base that is all zeros is NaN in PEFT, and unscaled here.\n";
    if (is_short) text += "It has 16-bit tensors: slimgrad computes with them in 32 bits.\n";
    return text;
}

std::string compare_adapters(const LoadedAdapter& a, const LoadedAdapter& b) {
    std::string text;
    std::set<std::string> keys, names;
    for (const LoadedAdapter* adapter : {&a, &b}) {
        for (const auto& [key, value] : adapter->json.as_object(adapter->folder)) keys.insert(key);
        for (const auto& [name, stored] : adapter->file.tensors) names.insert(name);
    }
    const auto value_of = [](const LoadedAdapter& adapter, const std::string& key) {
        const Json* value = adapter.json.find(key);
        return value ? value->dump(-1) : "absent";
    };
    for (const std::string& key : keys)
        if (value_of(a, key) != value_of(b, key))
            text += key + ": " + value_of(a, key) + " | " + value_of(b, key) + "\n";

    for (const std::string& name : names) {
        const std::string label = without_prefix(name);
        if (!a.file.tensors.count(name) || !b.file.tensors.count(name)) {
            text += label + ": only in " + (a.file.tensors.count(name) ? a : b).folder + "\n";
            continue;
        }
        const Tensor x = a.file.tensor(name), y = b.file.tensor(name);
        if (x.shape() != y.shape()) {
            text += label + ": " + to_text(x.shape()) + " | " + to_text(y.shape()) + "\n";
            continue;
        }
        double largest = 0;
        for (int64_t i = 0; i < x.size(); i++) {
            const double d = std::fabs(double(x.data()[i]) - double(y.data()[i]));
            largest = d > largest || d != d ? d : largest;
        }
        if (largest == 0) continue;
        print_to(text, "%s: largest difference %.6g, relative %.6g\n", label.c_str(), largest,
                 frobenius(x - y) / frobenius(x));
    }
    return text;
}

}  // namespace slim
