// What every program shares: options, start-up, and errors as one sentence with exit status 1.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace slim {

// The command line, on top of getopt_long. Each option is bound to the variable that holds its
// default; --help shows them.
class Options {
public:
    explicit Options(std::string purpose) : purpose_(std::move(purpose)) {}

    void add(const char* name, bool& value, const char* help);  // a flag, without an argument
    void add(const char* name, int64_t& value, const char* help, int64_t low, int64_t high);
    void add(const char* name, double& value, const char* help, double low, double high);
    void add(const char* name, std::string& value, const char* help, const char* argument);
    // One of the words in choices, which are separated by |.
    void add_choice(const char* name, std::string& value, const char* help, const char* choices);

    // Fills the variables and returns the arguments that are not options. Throws a sentence about
    // the first wrong one. With --help, prints the list, with --version the version, and ends the
    // program.
    std::vector<std::string> parse(int argc, char** argv) const;
    // The same for a program that takes options alone: throws when an argument is left.
    void parse_strict(int argc, char** argv) const;

private:
    struct Option {
        std::string name, argument, help;
        std::variant<bool*, int64_t*, double*, std::string*> value;
        double low = 0, high = 0;
        bool is_choice = false;
    };

    void set(const Option& option, const std::string& text) const;
    void print_help(const char* program) const;

    std::string purpose_;
    std::vector<Option> options_;
};

// Runs body(argc, argv) as a whole program: prepares the processor (one BLAS thread, denormal
// numbers flushed to zero), and turns an Error into one sentence on stderr and status 1. Output
// that could not be written ends the same way.
int run_program(int argc, char** argv, int (*body)(int, char**));

// "1", "2", ... or "auto", which takes every core that this process may use. Returns the number.
int set_threads(const std::string& threads);

// Called before work is spent: makes the folders, and throws where one of them, or the folder of a
// file, cannot be written to. Empty paths are left out.
void check_outputs(const std::vector<std::string>& folders,
                   const std::vector<std::string>& files = {});

std::vector<std::string> split_list(const std::string& list);  // at commas

}  // namespace slim
