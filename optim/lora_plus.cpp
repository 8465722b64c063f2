// LoRA+. See lora_plus.h.
#include "optim/lora_plus.h"

#include <set>

#include "nn/adapters/adapter.h"

namespace slim {

std::vector<ParameterGroup<AdamOptions>> lora_plus_groups(Module& model, const AdamOptions& options,
                                                          double ratio) {
    check(ratio > 0, "lora_plus: a ratio of ", ratio, "; it must be positive");
    AdamOptions faster = options, undecayed = options;
    faster.lr *= ratio;
    undecayed.weight_decay = 0;
    std::vector<ParameterGroup<AdamOptions>> groups{{{}, options}, {{}, faster}, {{}, undecayed}};

    std::set<const TensorImpl*> taken;
    for (const NamedModule& m : model.named_modules()) {
        auto* adapter = dynamic_cast<Adapter*>(m.module);
        if (!adapter) continue;
        for (const AdapterTensor& t : adapter->adapter_tensors()) {
            const bool is_B = t.peft_name.starts_with("lora_B") ||
                              t.peft_name.starts_with("lora_embedding_B");
            const bool is_magnitude = t.peft_name == "lora_magnitude_vector";
            if (!is_B && !is_magnitude) continue;
            groups[is_B ? 1 : 2].parameters.push_back(*t.tensor);
            taken.insert(t.tensor->impl.get());
        }
    }
    for (const Tensor& p : model.parameters())
        if (taken.count(p.impl.get()) == 0) groups[0].parameters.push_back(p);
    return groups;
}

}  // namespace slim
