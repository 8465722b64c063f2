// Adam (Kingma and Ba 2014) and AdamW (Loshchilov and Hutter 2017), as torch.optim has them.
#pragma once

#include "optim/optimizer.h"

namespace slim {

struct AdamOptions {
    double lr = 0.001;
    double beta1 = 0.9;       // memory of the mean gradient
    double beta2 = 0.999;     // memory of the mean squared gradient
    double eps = 1e-8;        // keeps the division finite
    double weight_decay = 0;  // Adam: adds weight_decay * w to the gradient; AdamW: see there
};

class Adam : public Optimizer {
public:
    explicit Adam(const std::vector<Tensor>& parameters, AdamOptions options = {});
    explicit Adam(const std::vector<ParameterGroup<AdamOptions>>& groups);

protected:
    Adam(const char* name, const std::vector<ParameterGroup<AdamOptions>>& groups, bool decoupled);

private:
    void update(Slot& slot) override;
    std::vector<AdamOptions> options_;
    bool decoupled_;  // AdamW
};

// Decouples the decay from the gradient: each step first shrinks w by lr * weight_decay.
// PyTorch's default for it is weight_decay = 0.01; here the options say what they are.
class AdamW : public Adam {
public:
    explicit AdamW(const std::vector<Tensor>& parameters,
                   AdamOptions options = {.weight_decay = 0.01});
    explicit AdamW(const std::vector<ParameterGroup<AdamOptions>>& groups);
};

}  // namespace slim
