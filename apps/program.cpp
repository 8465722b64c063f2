// Options, start-up and errors. See program.h.
#include "apps/program.h"

#include <getopt.h>
#include <sched.h>   // sched_getaffinity
#include <unistd.h>  // access, execv

#include <cerrno>
#include <cmath>  // isfinite
#include <cstdio>
#include <cstdlib>  // exit, setenv, strtod
#include <cstring>  // strcmp, strerror
#include <exception>
#include <filesystem>

#include "core/check.h"
#include "core/gemm.h"
#include "core/version.h"
#include "data/file.h"
#ifdef __SSE__
#include <xmmintrin.h>  // _mm_setcsr
#endif

namespace slim {

// Throws when what was printed could not be written: the disk is full, or the pipe is closed.
static void flush_output() {
    errno = 0;
    const bool written = std::fflush(stdout) == 0 && !std::ferror(stdout);
    check(written, "standard output: cannot be written", errno ? ": " : "",
          errno ? std::strerror(errno) : "");
}

// ---- options ------------------------------------------------------------------------------------

void Options::add(const char* name, bool& value, const char* help) {
    options_.push_back({name, "", help, &value});
}

void Options::add(const char* name, int64_t& value, const char* help, int64_t low, int64_t high) {
    options_.push_back({name, "N", help, &value, double(low), double(high)});
}

void Options::add(const char* name, double& value, const char* help, double low, double high) {
    options_.push_back({name, "X", help, &value, low, high});
}

void Options::add(const char* name, std::string& value, const char* help, const char* argument) {
    options_.push_back({name, argument, help, &value});
}

void Options::add_choice(const char* name, std::string& value, const char* help,
                         const char* choices) {
    options_.push_back({name, choices, help, &value, 0, 0, true});
}

void Options::set(const Option& option, const std::string& text) const {
    if (bool* const* flag = std::get_if<bool*>(&option.value)) {
        **flag = true;
    } else if (std::string* const* word = std::get_if<std::string*>(&option.value)) {
        const bool known =
            ("|" + option.argument + "|").find("|" + text + "|") != std::string::npos;
        check(!option.is_choice || (known && text.find('|') == std::string::npos), "--",
              option.name, ": got \"", text, "\"; it must be one of ", option.argument);
        **word = text;
    } else {
        int64_t* const* whole = std::get_if<int64_t*>(&option.value);
        char* end = nullptr;
        const double number = std::strtod(text.c_str(), &end);
        check(!text.empty() && *end == 0 && std::isfinite(number) && number >= option.low &&
                  number <= option.high && (!whole || number == std::floor(number)),
              "--", option.name, ": got \"", text, "\"; it must be a ",
              whole ? "whole number" : "number", " between ", option.low, " and ", option.high);
        if (whole) **whole = int64_t(number);
        else **std::get_if<double*>(&option.value) = number;
    }
}

void Options::print_help(const char* program) const {
    std::printf("%s\n\noptions of %s:\n\n", purpose_.c_str(), program);
    for (const Option& o : options_) {
        std::string fallback;
        if (auto* whole = std::get_if<int64_t*>(&o.value)) fallback = to_text(**whole);
        if (auto* number = std::get_if<double*>(&o.value)) fallback = to_text(**number);
        if (auto* word = std::get_if<std::string*>(&o.value)) fallback = **word;
        const std::string left = "--" + o.name + (o.argument.empty() ? "" : " " + o.argument);
        std::printf("  %-32s  %s%s\n", left.c_str(), o.help.c_str(),
                    fallback.empty() ? "" : (" (default: " + fallback + ")").c_str());
    }
    std::printf("  %-32s  %s\n", "-h, --help", "shows this list");
    std::printf("  %-32s  %s\n", "--version", "shows the version");
}

std::vector<std::string> Options::parse(int argc, char** argv) const {
    constexpr int kLong = 256;  // getopt_long returns this for each long option; no letter has it
    std::vector<option> table;
    for (const Option& o : options_)
        table.push_back({o.name.c_str(), o.argument.empty() ? no_argument : required_argument,
                         nullptr, kLong});
    table.push_back({"help", no_argument, nullptr, kLong});
    table.push_back({"version", no_argument, nullptr, kLong});
    table.push_back({nullptr, 0, nullptr, 0});

    optind = 0;  // start afresh, also in a process that parses more than once
    int index = 0;
    for (int code; (code = getopt_long(argc, argv, ":h", table.data(), &index)) != -1;) {
        if (code == 'h') code = kLong, index = int(options_.size());
        check(code != ':', argv[optind - 1], ": its value is missing. hint: see --help");
        // For a wrong option getopt sets optopt: to kLong if the option exists but takes no value,
        // to the letter of a short option ("r" of -rate), or to 0.
        check(code == kLong || optopt != kLong, argv[optind - 1],
              ": this option takes no value. hint: see --help");
        check(code == kLong, optopt ? std::string{'-', char(optopt)} : argv[optind - 1],
              ": there is no such option. hint: see --help");
        if (size_t(index) >= options_.size()) {
            if (size_t(index) == options_.size()) print_help(argv[0]);
            else std::printf("slimgrad %s\n", kVersion);
            flush_output();
            std::exit(0);
        }
        set(options_[size_t(index)], optarg ? optarg : "");
    }
    return {argv + optind, argv + argc};
}

void Options::parse_strict(int argc, char** argv) const {
    const std::vector<std::string> rest = parse(argc, argv);
    check(rest.empty(), rest.empty() ? "" : rest[0], ": not an option. hint: see --help");
}

// ---- start-up -----------------------------------------------------------------------------------

// Numbers below 1e-38 ("denormals") take the processor a hundred times as long as others, and
// Adam's means shrink to that size once a gradient stays zero. Flush them to zero.
static void flush_denormals() {
#ifdef __SSE__
    _mm_setcsr(_mm_getcsr() | 0x8040);  // flush to zero, and read denormals as zero
#endif
}

// OpenBLAS makes its worker threads when it is loaded, before main, and they would not inherit the
// flag that main sets. So have it load with no workers; set_threads() asks for more afterwards.
static void load_blas_with_one_thread(char** argv) {
    const char* threads = std::getenv("OPENBLAS_NUM_THREADS");
    if (threads && std::strcmp(threads, "1") == 0) return;
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    execv("/proc/self/exe", argv);
    set_blas_threads(1);  // no /proc: go on as we are
}

int run_program(int argc, char** argv, int (*body)(int, char**)) {
    load_blas_with_one_thread(argv);
    flush_denormals();
    try {
        const int status = body(argc, argv);
        flush_output();
        return status;
    } catch (const std::exception& e) {
        std::fflush(stdout);
        std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
        return 1;
    }
}

int set_threads(const std::string& threads) {
    long count = 0;
    if (threads == "auto") {
        cpu_set_t cores;
        count = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
    } else {
        char* end = nullptr;
        count = std::strtol(threads.c_str(), &end, 10);
        check(!threads.empty() && *end == 0 && count >= 1 && count <= 64, "--threads: got \"",
              threads, "\"; it must be a number between 1 and 64, or auto");
    }
    set_blas_threads(int(count));
    return int(count);
}

void check_outputs(const std::vector<std::string>& folders,
                   const std::vector<std::string>& files) {
    std::vector<std::string> all;
    for (const std::string& folder : folders) {
        if (folder.empty()) continue;
        make_folders(folder);
        all.push_back(folder);
    }
    for (const std::string& file : files) {
        if (file.empty()) continue;
        const std::string parent = std::filesystem::path(file).parent_path();
        all.push_back(parent.empty() ? "." : parent);
        check(std::filesystem::is_directory(all.back()), file, ": there is no folder ", all.back(),
              ". hint: mkdir -p ", all.back());
        check(!std::filesystem::is_directory(file), file, ": is a folder; it must be a file");
    }
    for (const std::string& folder : all)
        check(access(folder.c_str(), W_OK) == 0, folder, ": this folder cannot be written to");
}

std::vector<std::string> split_list(const std::string& list) {
    std::vector<std::string> parts(1);
    for (char c : list)
        if (c == ',') parts.emplace_back();
        else parts.back() += c;
    return parts;
}

}  // namespace slim
