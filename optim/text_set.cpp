// Training on text. See text_set.h.
#include "optim/text_set.h"

#include <algorithm>  // min
#include <cmath>      // isfinite

#include "core/autograd.h"
#include "core/ops.h"

namespace slim {

TextSet::TextSet(const std::vector<int>& text, int64_t windows, int64_t context,
                 int64_t passes_per_epoch)
    : text_(text), windows_(windows), context_(context), passes_per_epoch_(passes_per_epoch) {
    check(windows > 0 && context > 0 && passes_per_epoch > 0, "TextSet: ", passes_per_epoch,
          " passes of ", windows, " windows of ", context, " tokens; all must be positive");
}

std::string TextSet::describe() const {
    uint64_t sum = 0;
    for (int id : text_) sum = (sum ^ uint64_t(id)) * 0x100000001B3u;  // FNV
    return to_text(text_.size()) + " tokens (fingerprint " + std::to_string(sum) + "), " +
           to_text(windows_) + " windows of " + to_text(context_) + " per pass";
}

void TextSet::start_epoch(Rng& rng) {
    draws_ = Rng(rng.bits());
    seen_ = 0;
}

Pass TextSet::next(Module& model) {
    const Windows windows = random_windows(text_, windows_, context_, draws_);
    seen_ += windows_ * context_;
    return classify(model.lookup(windows.ids), windows.next);
}

void TextSet::resume(const Batches::State& position) {
    draws_.state = position.order;
    seen_ = position.next;
}

double text_loss(Module& model, const std::vector<int>& text, int64_t context) {
    const int64_t last = int64_t(text.size()) - 1, at_once = 8 * context;
    check(last > 0 && context > 0, "text_loss: a text of ", text.size(), " tokens, and windows of ",
          context, "; there must be at least 2 tokens, and windows of at least 1");
    const NoGrad no_grad;
    const EvalMode eval_mode(model);
    double sum = 0;
    for (int64_t first = 0; first < last;) {
        const int64_t left = last - first;
        const int64_t count = left < context ? left : std::min(at_once, left / context * context);
        Windows windows;
        add_window(windows, text, first, count);  // consecutive windows, all in one call
        const double loss = cross_entropy(model.lookup(windows.ids), windows.next).item();
        check(std::isfinite(loss), "text_loss: the loss is ", loss, " from token ", first,
              " on. hint: these parameters cannot predict anything; train with a smaller rate");
        sum += loss * double(count);
        first += count;
    }
    return sum / double(last);
}

}  // namespace slim
