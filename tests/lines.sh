#!/bin/sh
# Prints code lines by subject, comments and blank lines not counted, beside what was aimed at.
count() {  # name, aim, files
    name=$1 aim=$2
    shift 2
    cat "$@" 2>/dev/null | awk -v name="$name" -v aim="$aim" '
        /^ *$/ || /^ *\/\// { next } { n++ }
        END { printf "%-58s %6d %8s\n", name, n, aim }'
}
pick() {  # a folder and the names of its files, without ending
    folder=$1
    shift
    for file in "$@"; do ls $folder/$file.h $folder/$file.cpp 2>/dev/null; done
}
echo "                                                             lines  aim"
count "core    tensor, autograd, ops, gemm" 1510 $(pick core check storage tensor row_gradient autograd \
    gemm gemm_kernels thin random ops arithmetic activations broadcast shape reduce matmul loss)
count "core    tools: gradcheck, graph, trace, print" 330 $(pick core gradcheck graph trace print)
count "core    ops of a transformer" 260 $(pick core transformer)
count "data    files and data sets" 1100 $(find data -name '*.h' -o -name '*.cpp')
count "nn      layers: module, linear, embedding, activations" 590 $(pick nn module weight linear \
    activation dropout sequential recompute state_file embedding)
count "nn      quantised weights" 100 $(pick nn quantize)
count "nn      LoRA and DoRA: one layer" 440 $(pick nn/adapters adapter lora dora_scale dora embedding_adapter)
count "nn      on a model: select, attach, switch, merge" 420 $(pick nn/adapters adapt select pattern)
count "nn      PEFT's files" 430 $(pick nn/peft "*")
count "nn      Llama, its files, generating" 200 $(pick nn/llama "*")
count "optim   optimisers, checkpoints, the training loop" 640 $(find optim -name '*.h' -o -name '*.cpp')
count "apps    programs" "" $(ls apps/*.h apps/*.cpp)
count "apps    lessons, reports, benchmarks" "" $(find apps/*/ -name '*.h' -o -name '*.cpp')
count "tests" "" $(find tests -name '*.h' -o -name '*.cpp')
