// The line of progress, and the signals that end a run. See progress.h.
#include "optim/progress.h"

#include <unistd.h>  // isatty

#include <cstdio>

namespace slim {

ProgressLine::ProgressLine(const char* label, int64_t epochs, int64_t items, const char* item_name)
    : label_(label),
      epochs_(epochs),
      items_(items),
      item_name_(item_name),
      terminal_(isatty(STDOUT_FILENO)) {}

void ProgressLine::update(const TrainProgress& p) {
    const bool finished = p.items == items_;
    if (!finished && (!terminal_ || p.seconds - shown_ < 0.1)) return;
    shown_ = finished ? 0 : p.seconds;
    const double speed = double(p.items) / p.seconds;
    const double left = double(epochs_ - p.epoch) * double(items_) - double(p.items);
    std::printf("%s%s epoch %2ld/%ld  loss %.4f  accuracy %6.2f %%  %6.0f %s/s  %2.0f s left%s",
                terminal_ ? "\r" : "", label_, long(p.epoch + 1), long(epochs_), p.mean_loss(),
                100 * p.accuracy(), speed, item_name_, left / speed, finished ? "  \n" : "  ");
    std::fflush(stdout);
}

// ---- signals ------------------------------------------------------------------------------------

static volatile std::sig_atomic_t stop_requested = 0;
static const int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

StopSignals::StopSignals() {
    stop_requested = 0;
    struct sigaction raise_flag = {};
    raise_flag.sa_handler = [](int) { stop_requested = 1; };
    raise_flag.sa_flags = SA_RESTART;
    for (int i = 0; i < 3; i++) {
        sigaction(kSignals[i], nullptr, &before_[i]);
        if (before_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &raise_flag, nullptr);
    }
}

StopSignals::~StopSignals() {
    for (int i = 0; i < 3; i++) sigaction(kSignals[i], &before_[i], nullptr);
}

bool StopSignals::requested() const { return stop_requested; }

}  // namespace slim
