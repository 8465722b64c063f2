// Stochastic gradient descent, with momentum. (torch.optim.SGD, same update to the last digit)
#pragma once

#include "optim/optimizer.h"

namespace slim {

struct SGDOptions {
    double lr = 0.001;
    double momentum = 0;      // 0 <= momentum <= 1
    double weight_decay = 0;  // adds weight_decay * w to the gradient
    bool nesterov = false;    // look ahead along the momentum; needs momentum > 0
};

class SGD : public Optimizer {
public:
    explicit SGD(const std::vector<Tensor>& parameters, SGDOptions options = {});
    explicit SGD(const std::vector<ParameterGroup<SGDOptions>>& groups);

private:
    void update(Slot& slot) override;
    std::string text(size_t group) const override;
    std::vector<SGDOptions> options_;
};

}  // namespace slim
