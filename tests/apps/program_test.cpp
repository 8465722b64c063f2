// The command line of the programs: what it fills in, and the sentence for each mistake.
#include "apps/program.h"

#include "core/gemm.h"
#include "tests/testing.h"

namespace slim {

namespace {

// A program with one option of every kind.
struct Settings {
    bool shuffle = false;
    int64_t epochs = 10;
    double rate = 0.005;
    std::string data = "data/mnist", method = "all";
    std::vector<std::string> rest;

    explicit Settings(std::vector<std::string> arguments) {
        Options options("A program for tests.");
        options.add("shuffle", shuffle, "draw a new order for each epoch");
        options.add("epochs", epochs, "epochs of training", 1, 100);
        options.add("rate", rate, "learning rate", 0, 10);
        options.add("data", data, "folder", "DIR");
        options.add_choice("method", method, "what to train", "lora|dora|all");
        arguments.insert(arguments.begin(), "program");
        std::vector<char*> argv;
        for (std::string& argument : arguments) argv.push_back(argument.data());
        argv.push_back(nullptr);
        rest = options.parse(int(arguments.size()), argv.data());
    }
};

}  // namespace

TEST_CASE("options: what is not given keeps its default") {
    const Settings s({});
    CHECK(!s.shuffle);
    CHECK(s.epochs == 10);
    CHECK(s.rate == 0.005);
    CHECK(s.data == "data/mnist");
    CHECK(s.method == "all");
    CHECK(s.rest.empty());
}

TEST_CASE("options: values of every kind, after a space or an equals sign") {
    const Settings s({"--shuffle", "--epochs", "3", "--rate=1e-2", "--data", "my folder",
                      "--method=dora"});
    CHECK(s.shuffle);
    CHECK(s.epochs == 3);
    CHECK(s.rate == 0.01);
    CHECK(s.data == "my folder");
    CHECK(s.method == "dora");
}

TEST_CASE("options: the bounds are allowed, and the last of two wins") {
    CHECK(Settings({"--epochs", "1"}).epochs == 1);
    CHECK(Settings({"--epochs", "100"}).epochs == 100);
    CHECK(Settings({"--rate", "0"}).rate == 0);
    CHECK(Settings({"--epochs", "5", "--epochs", "7"}).epochs == 7);
}

TEST_CASE("options: what is no option comes back in order") {
    CHECK(Settings({"one", "--epochs", "2", "two"}).rest ==
          std::vector<std::string>{"one", "two"});
    CHECK(Settings({"--", "--epochs"}).rest == std::vector<std::string>{"--epochs"});
}

TEST_CASE("options: a whole number must be whole, a number, and within its bounds") {
    for (const std::string text :
         {"1.5", "nan", "inf", "", "ten", "3x", "0", "101", "-1", "1e300"}) {
        INFO("--epochs " << text);
        const std::string got = std::string("got \"") + text + "\"";
        CHECK_ERROR(Settings({"--epochs", text}), "--epochs", got,
                    "whole number between 1 and 100");
    }
}

TEST_CASE("options: a number must be finite and within its bounds") {
    for (const std::string text : {"nan", "inf", "-inf", "", "fast", "0.1.2", "-0.001", "10.5"}) {
        INFO("--rate " << text);
        const std::string got = std::string("got \"") + text + "\"";
        CHECK_ERROR(Settings({"--rate", text}), "--rate", got, "number between 0 and 10");
    }
}

TEST_CASE("options: a choice must be one of its words, whole") {
    for (const std::string text : {"qlora", "lor", "", "lora|dora", "|", "LORA"}) {
        INFO("--method " << text);
        CHECK_ERROR(Settings({"--method", text}), "--method", "must be one of lora|dora|all");
    }
}

TEST_CASE("options: unknown ones are named as they were typed") {
    CHECK_ERROR(Settings({"--speed", "3"}), "--speed: ", "no such option", "--help");
    CHECK_ERROR(Settings({"--epochs", "3", "--speed=3"}), "--speed=3: ", "no such option");
    CHECK_ERROR(Settings({"-x"}), "-x: ", "no such option");
    CHECK_ERROR(Settings({"-rate", "3"}), "-r", "no such option");
}

TEST_CASE("options: a missing value is named") {
    CHECK_ERROR(Settings({"--epochs"}), "--epochs: ", "value is missing", "--help");
    CHECK_ERROR(Settings({"--shuffle", "--data"}), "--data: ", "value is missing");
}

TEST_CASE("options: a value for an option that takes none is refused") {
    for (const std::string text : {"--shuffle=yes", "--shuffle=", "--help=me"}) {
        INFO(text);
        CHECK_ERROR(Settings({"--epochs", "3", text}), std::string(text) + ": ", "takes no value");
    }
    CHECK(Settings({"--shuffle", "yes"}).rest == std::vector<std::string>{"yes"});
}

TEST_CASE("options: parsing again starts afresh, also after an error") {
    CHECK_ERROR(Settings({"-xyz"}), "no such option");
    CHECK(Settings({"--epochs", "4"}).epochs == 4);
    CHECK(Settings({"one", "--epochs", "5"}).epochs == 5);
}

TEST_CASE("set_threads: a number from 1 to 64, or auto") {
    const int before = blas_threads();
    CHECK(set_threads("1") == 1);
    CHECK(blas_threads() == 1);
    CHECK(set_threads("auto") >= 1);
    for (const std::string text : {"0", "65", "-1", "1.5", "two", "", "4294967297"}) {
        INFO("--threads " << text);
        CHECK_ERROR(set_threads(text), "--threads", "between 1 and 64, or auto");
    }
    set_blas_threads(before);
}

}  // namespace slim
