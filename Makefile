# slimgrad: `make help` lists the targets and the switches.
CXX = g++
.DEFAULT_GOAL = all
MAKEFLAGS += --no-print-directory
JOBS := $(shell nproc 2>/dev/null || echo 2)

# Each combination of switches builds into a folder of its own.
VARIANT := $(if $(filter double,$(REAL)),-double)$(if $(DEBUG),-debug)$(if $(SAN),-san)
VARIANT := $(VARIANT)$(if $(PORTABLE),-portable)$(if $(COVERAGE),-coverage)$(if $(findstring clang,$(CXX)),-clang)
BUILD   := build$(if $(VARIANT),/variant$(VARIANT))

# No -ffast-math: NaN must stay NaN. errno and traps, which are never read, would cost vector code.
FLAGS  = -std=c++20 -fopenmp-simd -Wall -Wextra -Werror -I. -MMD -MP
# An unused variable only warns: it does not stop an experiment.
FLAGS += $(addprefix -Wno-error=unused-,variable but-set-variable parameter function)
# GCC 12 sees ghosts in inlined strings and variants; clang minds a loop that is no vector code.
FLAGS += $(if $(findstring clang,$(CXX)),-Wno-pass-failed,-Wno-maybe-uninitialized -Wno-restrict)
FLAGS += $(if $(DEBUG)$(COVERAGE),-O0 -g3,-O3 -g1 -fno-math-errno -fno-trapping-math)
FLAGS += $(if $(PORTABLE),,-march=native)
FLAGS += $(if $(filter double,$(REAL)),-DSLIM_REAL_DOUBLE)
FLAGS += $(if $(SAN),-O1 -fsanitize=address -fsanitize=undefined -fno-sanitize-recover=all)
FLAGS += $(if $(COVERAGE),--coverage -fprofile-update=atomic)
# One level for the whole library. Programs and tests spend their time in it: they compile faster.
$(BUILD)/obj/apps/%: private FLAGS += $(if $(DEBUG)$(SAN)$(COVERAGE),,-O1)
$(BUILD)/obj/tests/%: private FLAGS += -O0 -DDOCTEST_CONFIG_SUPER_FAST_ASSERTS

LIBRARY  = $(BUILD)/libslimgrad.a
PLAIN    = graph notebook pictures tokens gpt  # programs of one file, apps/NAME.cpp
CALLED   = mnist study predict adapter  # these are called by tests, too: their main is apps/main.cpp
PROGRAMS = $(addprefix $(BUILD)/,bench $(PLAIN) $(CALLED) $(if $(MPI),mnist_mpi))
object   = $(patsubst %.cpp,$(BUILD)/obj/%.o,$(wildcard $(1)))
SHARED   = $(call object,apps/program.cpp apps/experiment.cpp apps/shift.cpp apps/report/*.cpp)
TESTS    = $(call object,tests/*.cpp $(addprefix tests/,$(addsuffix /*.cpp,core data nn optim apps \
             reference)) $(CALLED:%=apps/%.cpp))
LESSONS  = $(patsubst apps/%.cpp,$(BUILD)/%,$(wildcard apps/lessons/*.cpp))

define link
@mkdir -p $(@D)
@echo "  link    $@"
@$(CXX) $(FLAGS) $(filter %.o,$^) $(LIBRARY) -lopenblas $(LIBS) -o $@
endef

all: $(LIBRARY) $(PROGRAMS)  ## the library and the programs, in build/
$(LIBRARY): $(call object,core/*.cpp data/*.cpp nn/*.cpp nn/*/*.cpp optim/*.cpp)
	@rm -f $@
	@echo "  ar      $@"
	@ar rcs $@ $^
$(BUILD)/obj/%.o: %.cpp
	@mkdir -p $(@D)
	@echo "  compile $<"
	@$(CXX) $(FLAGS) -c $< -o $@
$(CALLED:%=$(BUILD)/obj/main/%.o): $(BUILD)/obj/main/%.o: apps/main.cpp
	@mkdir -p $(@D)
	@$(CXX) $(FLAGS) -DPROGRAM=$* -c $< -o $@
-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

$(PROGRAMS): $(SHARED) $(LIBRARY)
	$(link)
$(addprefix $(BUILD)/,$(PLAIN) $(CALLED)): $(BUILD)/%: $(BUILD)/obj/apps/%.o
$(addprefix $(BUILD)/,$(CALLED)): $(BUILD)/%: $(BUILD)/obj/main/%.o
$(BUILD)/bench: $(call object,apps/bench/*.cpp)
$(BUILD)/mnist_mpi: $(BUILD)/obj/apps/mpi/mnist_mpi.o
$(BUILD)/mnist_mpi: LIBS = $(shell mpicxx --showme:link)
# Open MPI's compiler knows where its headers are, which are not ours to warn about.
$(BUILD)/obj/apps/mpi/mnist_mpi.o: FLAGS += -DOMPI_SKIP_MPICXX $(addprefix -isystem ,$(or \
  $(shell mpicxx --showme:incdirs 2>/dev/null),$(error MPI=1 needs Open MPI. hint: make MPI=1 deps)))
$(BUILD)/tests: $(TESTS) $(SHARED) $(LIBRARY)
	$(link)
$(LESSONS): $(BUILD)/%: $(BUILD)/obj/apps/%.o $(BUILD)/obj/apps/program.o $(LIBRARY)
	$(link)
$(BUILD)/peer $(BUILD)/llama_peer: $(BUILD)/%: $(BUILD)/obj/tests/peers/%.o $(BUILD)/obj/apps/program.o \
  $(LIBRARY)
	$(link)
$(BUILD)/reading_path: $(BUILD)/obj/tests/reading_path/step.o $(LIBRARY)
	$(link)
# For gdb: the lesson and the files that a walk goes through, compiled with -O0.
$(BUILD)/obj/gdb/%.o: %.cpp
	@mkdir -p $(@D)
	@echo "  compile $<, for gdb"
	@$(CXX) $(FLAGS) -O0 -g3 -c $< -o $@
$(BUILD)/gdb/%: $(BUILD)/obj/gdb/apps/lessons/%.o $(BUILD)/obj/apps/program.o $(LIBRARY) \
  $(patsubst $(BUILD)/obj/%,$(BUILD)/obj/gdb/%,$(call object,$(addprefix core/,activations.cpp \
  arithmetic.cpp autograd.cpp broadcast.cpp matmul.cpp reduce.cpp) nn/linear.cpp \
  nn/adapters/lora.cpp nn/adapters/dora*.cpp))
	$(link)
# The lessons' tests run them. Their headers show what float prints, so in double there are none.
ifneq ($(REAL),double)
$(BUILD)/tests: $(call object,tests/lessons/*.cpp) | $(LESSONS) $(addprefix $(BUILD)/gdb/,$(if \
  $(VARIANT),,$(if $(shell command -v gdb),05_regression_and_xor 07_lora 08_dora)))
endif

# ---- what people type ----------------------------------------------------------------------------

start = $(MAKE) -j$(JOBS) $(BUILD)/$(1) && $(BUILD)/$(1) $(2) $(ARGS)
deps:  ## install what is needed (Debian and Ubuntu; elsewhere it says what to install)
	@sh apps/install_packages.sh $(if $(MPI),openmpi-bin libopenmpi-dev)
data:  ## bring MNIST into data/mnist and check it
	@sh data/fetch_mnist.sh data/mnist
data-fashion:  ## bring Fashion-MNIST into data/fashion, from Debian's package
	@sh data/fetch_fashion.sh data/fashion
text:  ## bring two texts into data/text (the King James Bible, the Devil's Dictionary)
	@sh data/fetch_text.sh data/text
run: all  ## the main job: pretrain on MNIST, compare full fine-tuning, LoRA and DoRA
	@$(MAKE) data && $(BUILD)/mnist $(ARGS)
shift: data  ## a change of task: turned and inverted digits, adapters and full tuning
	@$(MAKE) -j$(JOBS) $(BUILD)/mnist && $(BUILD)/mnist --shift rotate:45,invert --samples 3000 $(ARGS)
gpt: text  ## a Llama: pretrain on one text, adapt to another in full, with LoRA and with DoRA
	@$(call start,gpt)
tokens:  ## Embedding with LoRA on real text (apps/tokens.cpp)
	@$(call start,tokens)
notebook: data  ## the "LoRA and DoRA from scratch" notebook, cell by cell (apps/notebook.cpp)
	@$(call start,notebook)
test:  ## the tests, in float and in double precision (with SAN=1: in float)
	@sh data/fetch_mnist.sh data/mnist || echo "without MNIST, the end-to-end test is left out"
	@$(MAKE) -j$(JOBS) all test-binary
	@$(if $(SAN),,$(MAKE) -j$(JOBS) REAL=double test-binary)
	@sh tests/run.sh $(BUILD)/tests $(if $(SAN),,$$($(MAKE) REAL=double print-test-binary))
test-binary: $(BUILD)/tests
print-test-binary:
	@echo $(BUILD)/tests
test-peers:  ## held against PyTorch and PEFT, which it installs into build/venv
	@$(MAKE) -j$(JOBS) $(BUILD)/peer $(BUILD)/llama_peer $(BUILD)/adapter
	@$(MAKE) -j$(JOBS) REAL=double build/variant-double/peer
	@sh tests/peers/run.sh $(ARGS)
test-mpi:  ## the test of build/mnist_mpi: 2 processes against 1, and one that is killed
	@sh data/fetch_mnist.sh data/mnist
	@$(MAKE) -j$(JOBS) MPI=1 REAL=double build/variant-double/mnist_mpi
	@sh tests/mpi.sh build/variant-double/mnist_mpi
install uninstall: $(LIBRARY)  ## the library, its headers and a pkg-config file, to PREFIX=/usr/local
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' sh apps/install.sh $@ $(LIBRARY) '$(FLAGS)'
bench:  ## how fast it is, as ratios to what could not be cheaper
	@$(call start,bench)
bench-torch:  ## the same steps in PyTorch and PEFT, in turn with ours; PYTHON=... for another
	@$(MAKE) -j$(JOBS) $(BUILD)/bench
	@$(if $(PYTHON),,sh tests/peers/install.sh)
	@$(or $(PYTHON),build/venv/bin/python) apps/bench/bench_torch.py --bench $(BUILD)/bench $(ARGS)
lines check-includes:  ## code lines by subject; the order of the folders
	@sh tests/$(subst -,_,$@).sh
reading-path:  ## which functions one step of DoRA runs, by gcov
	@$(MAKE) -j$(JOBS) COVERAGE=1 build/variant-coverage/reading_path
	@sh tests/reading_path/run.sh build/variant-coverage
coverage:  ## the lines that the tests run, per file: gcov over a build of its own
	@$(MAKE) -j$(JOBS) COVERAGE=1 all test-binary
	@sh tests/coverage.sh build/variant-coverage
faults: $(LIBRARY)  ## the savers while system calls fail, and 500 times kill -9
	@sh tests/faults/run.sh $< $(CXX) $(FLAGS) -O0
mutants: all test-binary  ## break the library in 200 places, one by one: do the tests notice?
	@python3 tests/mutants/run.py $(ARGS)
fuzz-%:  # a million damaged files for a reader: fuzz-idx, fuzz-safetensors, fuzz-config
	@sh tests/fuzz/run.sh $* $(RUNS)

lessons: data $(LESSONS)  ## run all lessons; lesson-07 runs one, gdb-07 opens it in gdb
	@for lesson in $(LESSONS); do echo "== $$lesson"; $$lesson || exit 1; echo; done
lesson-%:
	@$(MAKE) -s $(or $(filter $(BUILD)/lessons/$*_%,$(LESSONS)),$(error there is no lesson $*. \
	  hint: lesson-01 to lesson-12, lesson-appendix))
	@! grep -q data/mnist apps/lessons/$*_*.cpp || sh data/fetch_mnist.sh data/mnist
	@$(filter $(BUILD)/lessons/$*_%,$(LESSONS)) $(ARGS)
gdb-%:
	@command -v gdb >/dev/null || { echo "gdb is not installed. hint: apt-get install gdb"; exit 1; }
	@$(MAKE) -s -j$(JOBS) $(patsubst apps/lessons/%.cpp,$(BUILD)/gdb/%,$(wildcard apps/lessons/$*_*.cpp))
	@sh apps/lessons/gdb.sh $* $(BUILD)/gdb/$*_* $(GDB_ARGS)
# The exercises. Warnings do not stop one; -O0, as it is small and is to compile fast.
COURSE = BUILD='$(BUILD)' CXX='$(CXX)' JOBS=$(JOBS) \
         FLAGS='$(filter-out -Werror -MMD -MP,$(FLAGS)) -O0 -g3 -Wno-unused-parameter' sh
EXERCISES = $(call object,apps/exercises/check.cpp apps/exercises/train.cpp)
course:  ## the exercises that are done; ex-04 checks one, hint-04 prints its hint
	@$(COURSE) apps/exercises/course.sh progress
ex-% hint-%:
	@$(MAKE) -s -j$(JOBS) $(LIBRARY) $(EXERCISES)
	@$(COURSE) apps/exercises/course.sh $(subst -, ,$@)
test-course:  ## the exercises: untouched, with right and with wrong answers; gdb in each lesson
	@$(MAKE) -s -j$(JOBS) $(LIBRARY) $(EXERCISES) $(LESSONS:$(BUILD)/lessons/%=$(BUILD)/gdb/%)
	@$(COURSE) tests/course.sh

format:  ## clang-format over all sources
	clang-format -i $$(git ls-files '*.h' '*.cpp')
clean:  ## remove build/
	rm -rf build
help:  ## this list
	@grep -hE '^[a-z -]+:.*##' Makefile | sed -E 's/^([a-z -]+):.*## /  \1\t/' | expand -t 24
	@echo "  switches: DEBUG=1 (-O0)  SAN=1 (address and undefined behaviour)  REAL=double"
	@echo "            PORTABLE=1 (without -march=native)  CXX=clang++  ARGS='--epochs 3' (for run)"
	@echo "            MPI=1 (all, deps: also build/mnist_mpi, for several processes; Open MPI)"
.SECONDARY:  # keep the object files that pattern rules make
.PHONY: lines check-includes install uninstall test-binary print-test-binary $(shell sed -n 's/^\([a-z-]*\):.*##.*/\1/p' Makefile)
ifneq ($(filter deps,$(MAKECMDGOALS)),)
.NOTPARALLEL:  # first the packages, then what needs them
endif
