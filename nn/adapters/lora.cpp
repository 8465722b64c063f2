// LoRA. See lora.h.
#include "nn/adapters/lora.h"

#include <cmath>  // sqrt

#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

// ---- the adapter's branch -----------------------------------------------------------------------

static Tensor initial_A(int64_t rank, int64_t in, InitA init, Rng& rng) {
    const double bound = 1 / std::sqrt(double(in));
    switch (init) {
        case InitA::kKaiming: return uniform({rank, in}, -bound, bound, rng);
        case InitA::kGaussian: return normal({rank, in}, 0, 1 / double(rank), rng);
        case InitA::kTutorial: return normal({rank, in}, 0, 1 / std::sqrt(double(rank)), rng);
    }
    fail("LoRA: unknown initialisation of A");
}

LoRALayer::LoRALayer(int64_t in_features, int64_t out_features, AdapterConfig config, Rng& rng)
    : config(config), rng(0) {
    config.check_valid();
    A = initial_A(config.rank, in_features, config.init, rng).set_requires_grad();
    B = zeros({out_features, config.rank}).set_requires_grad();
    this->rng = Rng(rng.bits());
}

Tensor LoRALayer::delta_weight() const { return scaling() * matmul(B, A); }

std::string LoRALayer::extra() const {
    return "in_features=" + to_text(A.size(1)) + ", out_features=" + to_text(B.size(0)) + ", " +
           config.text();
}

Tensor LoRALayer::input(const Tensor& x) {
    return training ? dropout(x, config.dropout, rng) : x;
}

Tensor LoRALayer::forward(const Tensor& x) { return project(input(x)); }

Tensor LoRALayer::project(const Tensor& x) const {
    return scaling() *
           matmul_nt(matmul_nt(x, A), B);  // [batch, in] -> [batch, rank] -> [batch, out]
}

// ---- around a Linear ----------------------------------------------------------------------------

LinearAdapter::LinearAdapter(const ModulePtr& module, const AdapterConfig& config, Rng& rng)
    : linear(as_linear(module)),
      lora(linear->in_features(), linear->out_features(), config, rng) {}

LinearAdapter::LinearAdapter(int64_t in_features, int64_t out_features,
                             const AdapterConfig& config, Rng& rng, bool with_bias)
    : LinearAdapter(std::make_shared<Linear>(in_features, out_features, rng, with_bias), config,
                    rng) {}

std::vector<AdapterTensor> LinearAdapter::adapter_tensors() {
    std::vector<AdapterTensor> list{{"lora_A.weight", &lora.A}, {"lora_B.weight", &lora.B}};
    if (is_dora()) list.push_back({"lora_magnitude_vector", &m});
    return list;
}

ModulePtr LinearAdapter::merged() const {
    NoGrad no_grad;
    const Tensor weight = merged_weight();
    check_merged(weight);
    return std::make_shared<Linear>(weight, linear->bias);
}

Tensor LinearAdapter::base_weight() const {
    const Weight& W = linear->weight;
    return W.is_trained() ? Tensor(W) : W.to_tensor();
}

// ---- LinearWithLoRA -----------------------------------------------------------------------------

Tensor LinearWithLoRA::merged_weight() const { return base_weight() + lora.delta_weight(); }

// linear->forward(x) + lora.forward(x), in one op.
Tensor LinearWithLoRA::forward(const Tensor& x) {
    if (is_merged()) return merged_form->forward(x);
    return lora_linear(x, linear->weight, linear->bias, lora.input(x), lora.A, lora.B,
                       lora.scaling());
}

}  // namespace slim
