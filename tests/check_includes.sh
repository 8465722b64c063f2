#!/bin/sh
# No folder includes one that comes after it: core, data, nn, optim, apps. Each foreign library has
# one file that includes it. Prints what breaks this, and fails.
bad=0
check() {  # folder, the folders that it must not include
    ! grep -rnE "#include \"($2)/" "$1" --include='*.h' --include='*.cpp' || bad=1
}
check core 'data|nn|optim|apps|tests'
check data 'nn|optim|apps|tests'
check nn 'optim|apps|tests'
check optim 'apps|tests'
check apps 'tests'
! grep -rlE '#include <(cblas|nlohmann|stb|mpi)' core data nn optim apps |
    grep -vxE 'core/gemm.cpp|data/json.cpp|data/image.cpp|apps/mpi/mnist_mpi.cpp' || bad=1
[ $bad = 0 ] && echo "includes are in order"
