// A training run's line of progress, and the signals that end it.
#pragma once

#include <csignal>
#include <cstdint>

#include "optim/checkpoint.h"

namespace slim {

// One line about an epoch. On a terminal it is rewritten as training goes on; elsewhere it is
// written when the epoch ends.
class ProgressLine {
public:
    // label is printed first. items: their number per epoch; item_name: "images".
    ProgressLine(const char* label, int64_t epochs, int64_t items, const char* item_name);
    void update(const TrainProgress& p);

private:
    const char* label_;
    int64_t epochs_, items_;
    const char* item_name_;
    bool terminal_;
    double shown_ = 0;  // seconds into the epoch
};

// While it lives, SIGINT (Ctrl-C), SIGTERM and SIGHUP only raise a flag. A signal that was ignored
// stays ignored, as a shell script's background jobs and nohup want it.
class StopSignals {
public:
    StopSignals();
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    bool requested() const;

private:
    struct sigaction before_[3];
};

}  // namespace slim
