// Adam (Kingma and Ba 2014) and AdamW (Loshchilov and Hutter 2017), as torch.optim has them.
#pragma once

#include <optional>

#include "optim/optimizer.h"

namespace slim {

struct AdamOptions {
    double lr = 0.001;
    double beta1 = 0.9;    // decay of the running mean of the gradient
    double beta2 = 0.999;  // decay of the running mean of the squared gradient
    double eps = 1e-8;     // added to the denominator

    // Adam adds weight_decay * w to the gradient; AdamW: see there. If not given (here or in a
    // group's options): 0 for Adam, 0.01 for AdamW, as in torch.
    std::optional<double> weight_decay = {};
};

class Adam : public Optimizer {
public:
    explicit Adam(const std::vector<Tensor>& parameters, AdamOptions options = {});
    explicit Adam(const std::vector<ParameterGroup<AdamOptions>>& groups);

protected:
    Adam(const char* name, const std::vector<ParameterGroup<AdamOptions>>& groups, bool decoupled);

private:
    void update(Slot& slot) override;
    std::string text(size_t group) const override;
    std::vector<AdamOptions> options_;
    bool decoupled_;  // AdamW
};

// Adam with decoupled weight decay: each step first multiplies w by 1 - lr * weight_decay.
class AdamW : public Adam {
public:
    explicit AdamW(const std::vector<Tensor>& parameters, AdamOptions options = {});
    explicit AdamW(const std::vector<ParameterGroup<AdamOptions>>& groups);
};

}  // namespace slim
