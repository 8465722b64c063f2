// The test program. Besides doctest's own report it ends with one line that any tool can read:
// "N passed, N failed", counting test cases.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "core/gemm.h"

namespace {

struct LastLine : doctest::IReporter {
    explicit LastLine(const doctest::ContextOptions&) {}
    void test_run_end(const doctest::TestRunStats& run) override {
        passed = run.numTestCasesPassingFilters - run.numTestCasesFailed;
        failed = run.numTestCasesFailed;
    }
    void report_query(const doctest::QueryData&) override {}
    void test_run_start() override {}
    void test_case_start(const doctest::TestCaseData&) override {}
    void test_case_reenter(const doctest::TestCaseData&) override {}
    void test_case_end(const doctest::CurrentTestCaseStats&) override {}
    void test_case_exception(const doctest::TestCaseException&) override {}
    void subcase_start(const doctest::SubcaseSignature&) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData&) override {}
    void log_message(const doctest::MessageData&) override {}
    void test_case_skipped(const doctest::TestCaseData&) override {}

    static inline unsigned passed = 0, failed = 0;
};

REGISTER_LISTENER("last_line", 1, LastLine);

}  // namespace

int main(int argc, char** argv) {
    slim::set_blas_threads(1);  // as the programs do: idle threads spin, and slow a machine down
    doctest::Context context(argc, argv);
    context.setOption("no-intro", true);
    const int status = context.run();
    std::printf("%u passed, %u failed\n", LastLine::passed, LastLine::failed);
    return status;
}
