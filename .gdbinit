# For reading slimgrad in gdb. `make gdb-07` loads it; elsewhere: gdb -x .gdbinit PROGRAM.
# (For gdb to load it by itself, your ~/.gdbinit must say: add-auto-load-safe-path THIS_FOLDER.)

# The programs start again with this set if it is not, which would lose the breakpoints.
set environment OPENBLAS_NUM_THREADS 1

# How tensors and nodes are printed; the commands graph and grad.
source core/gdb.py
set print frame-arguments all
set print thread-events off
set breakpoint pending on
set confirm off
set debuginfod enabled off
