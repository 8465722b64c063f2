// main() of build/mnist, study, predict and adapter. Each program is a function of that name, so
// that tests can call it. This file is compiled once for each: -DPROGRAM=mnist makes build/mnist's.
#include "apps/program.h"

namespace slim {
int PROGRAM(int argc, char** argv);
}

int main(int argc, char** argv) { return slim::run_program(argc, argv, slim::PROGRAM); }
