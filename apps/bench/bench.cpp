// How fast is it? Every figure is a ratio of two things that are timed in turn in one process,
// A B A B ..., so that a busy machine slows both. The median of the ratios is what counts.
//
// The floor of a case is the matrix products that its step cannot avoid, called directly, on the
// same shapes, and one pass of Adam where the step has one: nothing that trains this model through
// BLAS can be faster.
//
// run:  build/bench --help
#include <algorithm>  // find_if, max, sort
#include <chrono>     // milliseconds
#include <cstdio>
#include <ctime>      // clock_gettime
#include <iostream>   // cin
#include <thread>     // sleep_for

#include "apps/bench/bench_cases.h"
#include "apps/program.h"
#include "core/check.h"
#include "core/gemm.h"
#include "data/file.h"
#include "data/json.h"

using namespace slim;

namespace {

// ---- timing -------------------------------------------------------------------------------------

// The processor's time of this thread, which others do not disturb (nor OpenBLAS's own, which spin
// for a while after they start). With several threads, the time on the wall.
double now() {
    timespec t;
    clock_gettime(blas_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

double seconds_of(const Work& work, int64_t times) {
    const double start = now();
    for (int64_t i = 0; i < times; i++) work();
    return now() - start;
}

// One of the two that take turns.
struct Side {
    Work work;
    int threads;
    int64_t times = 1;  // calls in a turn

    Side(Work w, int threads) : work(std::move(w)), threads(threads) {
        take_threads();
        seconds_of(work, 3);  // warm up
        // A turn takes about 5 ms, so that the clock's own cost does not show.
        times = std::max(int64_t(1), int64_t(0.005 / std::max(1e-7, seconds_of(work, 1))));
    }

    // Seconds per call.
    double turn() const {
        take_threads();
        return seconds_of(work, times) / double(times);
    }

    // OpenBLAS's threads spin for a while after their last product, and would take the core from
    // the next work: wait until they sleep. The untimed call wakes those that are wanted.
    void take_threads() const {
        if (blas_threads() == threads) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(150));
        set_blas_threads(threads);
        work();
    }
};

struct Ratio {
    double median, low, high;   // of a / b; low and high are the quartiles
    double a_micros, b_micros;  // medians of one call
};

// The value below which this part of the values lies: 0.5 for the median.
double quantile(std::vector<double> values, double part) {
    std::sort(values.begin(), values.end());
    return values[size_t(part * double(values.size() - 1) + 0.5)];
}

Ratio compare(const Side& a, const Side& b, int64_t pairs) {
    std::vector<double> ratios, a_seconds, b_seconds;
    for (int64_t i = 0; i < pairs; i++) {
        a_seconds.push_back(a.turn());
        b_seconds.push_back(b.turn());
        ratios.push_back(a_seconds.back() / b_seconds.back());
    }
    return {quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75),
            1e6 * quantile(a_seconds, 0.5), 1e6 * quantile(b_seconds, 0.5)};
}

// ---- the program --------------------------------------------------------------------------------

// For a program that takes turns with this one (bench_torch.py): answers each number n on standard
// input with the microseconds of a call of the case, over n calls. Another call before them is not
// timed: the other program has used the caches.
int answer_turns(const std::string& name) {
    const std::vector<Case> cases = all_cases();
    const auto found = std::find_if(cases.begin(), cases.end(),
                                    [&](const Case& c) { return c.name() == name; });
    check(found != cases.end(), "--step: got \"", name,
          "\"; there is no such case. hint: the first column of the table has their names");
    const Work work = found->make_a();
    for (std::string line; std::getline(std::cin, line);) {
        const Json calls = parse_json(line, "standard input");
        const int64_t n = calls.as_int("standard input");
        check(n > 0, "standard input: got ", n, "; it must be the number of calls to time");
        work();
        std::printf("%.3f\n", 1e6 * seconds_of(work, n) / double(n));
        std::fflush(stdout);
    }
    return 0;
}

int bench(int argc, char** argv) {
    std::string only = "all", step, threads = "1", json;
    int64_t pairs = 31;
    Options options("Times parts of slimgrad against what they could cost at best.");
    options.add_choice("case", only, "which group",
                       "all|mnist|gpt|wide|batch|width|evaluation|data|parts|long|threads");
    options.add("threads", threads, "BLAS threads, or auto", "N");
    options.add("pairs", pairs, "turns of each pair", 1, 10000);
    options.add("json", json, "write every figure to this file", "FILE");
    options.add("step", step, "time this case alone, as often as standard input says", "NAME");
    options.parse_strict(argc, argv);
    const int thread_count = set_threads(threads);
    if (!step.empty()) return answer_turns(step);
    check_outputs({}, {json});
    // The group "threads" is about more than one.
    const int many = thread_count > 1 ? thread_count : set_threads("auto");
    set_blas_threads(thread_count);

    std::printf("OpenBLAS core %s, threads %d; median and quartiles of %ld ratios\n\n",
                blas_core_name(), thread_count, long(pairs));
    std::printf("%-36s %12s   %-12s %12s  %7s %7s %7s\n", "", "us", "against", "us", "ratio",
                "25 %", "75 %");
    Json::List rows;
    for (const Case& c : all_cases()) {
        if (only != "all" && only != c.group) continue;
        const Side a(c.make_a(), c.one_thread_for_b ? many : thread_count);
        const Side b(c.make_b(), c.one_thread_for_b ? 1 : thread_count);
        const Ratio r = compare(a, b, pairs);
        std::printf("%-36s %12.1f   %-12s %12.1f  %7.2f %7.2f %7.2f\n", c.name().c_str(),
                    r.a_micros, c.b.c_str(), r.b_micros, r.median, r.low, r.high);
        std::fflush(stdout);
        rows.push_back(Json(Json::Object{{"case", c.name()},
                                         {"against", c.b},
                                         {"threads", a.threads},
                                         {"ratio", r.median},
                                         {"low", r.low},
                                         {"high", r.high},
                                         {"micros", r.a_micros},
                                         {"against_micros", r.b_micros}}));
    }
    if (!json.empty())
        write_file(json, {Json(Json::Object{{"core", blas_core_name()},
                                            {"threads", thread_count},
                                            {"rows", rows}})
                              .dump()});
    return 0;
}

}  // namespace

int main(int argc, char** argv) { return run_program(argc, argv, bench); }
