// main() of the programs whose function the tests call, too: mnist, study, predict, adapter. It is
// compiled once for each: -DPROGRAM=mnist makes that of build/mnist.
#include "apps/program.h"

namespace slim {
int PROGRAM(int argc, char** argv);
}

int main(int argc, char** argv) { return slim::run_program(argc, argv, slim::PROGRAM); }
