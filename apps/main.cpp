// The main of a program that tests call, too. -DPROGRAM=mnist makes it that of build/mnist.
#include "apps/program.h"

namespace slim {
int PROGRAM(int argc, char** argv);
}

int main(int argc, char** argv) { return slim::run_program(argc, argv, slim::PROGRAM); }
