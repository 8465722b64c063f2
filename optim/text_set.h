// Training a language model on windows of a text, and measuring it on the held-out part.
#pragma once

#include "data/text.h"
#include "optim/trainer.h"

namespace slim {

// Windows that begin anywhere in a text: it is not walked through in order. So an epoch is a chosen
// number of forward passes, each on `windows` windows. The items are tokens: a step takes
// TrainOptions::batch_size of them.
class TextSet : public TrainingSet {
public:
    // Keeps a reference to text. windows: per pass.
    TextSet(const std::vector<int>& text, int64_t windows, int64_t context,
            int64_t passes_per_epoch);

    const char* item_name() const override { return "tokens"; }
    int64_t items_per_epoch() const override { return windows_ * context_ * passes_per_epoch_; }
    std::string describe() const override;
    void start_epoch(Rng& rng) override;
    Pass next(Module& model) override;
    Batches::State position() const override { return {true, draws_.state, seen_}; }
    void resume(const Batches::State& position) override;

private:
    const std::vector<int>& text_;
    int64_t windows_, context_, passes_per_epoch_;
    Rng draws_{0};      // where the windows begin
    int64_t seen_ = 0;  // tokens of this epoch
};

// Returns the mean loss in nats per token over the whole text, cut into windows of the context, in
// evaluation mode. Leaves the model's mode as it was.
double text_loss(Module& model, const std::vector<int>& text, int64_t context);

}  // namespace slim
