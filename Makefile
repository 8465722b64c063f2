# slimgrad: `make help` lists the targets and the switches.
CXX = g++
.DEFAULT_GOAL = all
MAKEFLAGS += --no-print-directory
JOBS := $(shell nproc 2>/dev/null || echo 2)

# Each combination of switches builds into a folder of its own.
VARIANT := $(if $(filter double,$(REAL)),-double)$(if $(DEBUG),-debug)$(if $(SAN),-san)
VARIANT := $(VARIANT)$(if $(PORTABLE),-portable)$(if $(COVERAGE),-coverage)$(if $(findstring clang,$(CXX)),-clang)
BUILD   := build$(if $(VARIANT),/variant$(VARIANT))

# No -ffast-math: NaN must stay NaN. errno and traps, which nobody reads, would cost vector code.
FLAGS  = -std=c++20 -fopenmp-simd -Wall -Wextra -Werror -I. -MMD -MP
# A variable that is not used yet warns, and does not stop somebody who tries something out.
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

PROGRAMS = $(BUILD)/bench $(BUILD)/mnist $(BUILD)/study $(BUILD)/predict $(BUILD)/adapter $(BUILD)/graph \
             $(BUILD)/notebook $(BUILD)/tokens $(BUILD)/gpt $(BUILD)/pictures $(if $(MPI),$(BUILD)/mnist_mpi)
LIBRARY  = $(BUILD)/libslimgrad.a
SOURCES  = $(wildcard core/*.cpp data/*.cpp nn/*.cpp nn/*/*.cpp optim/*.cpp)
TESTS    = $(wildcard tests/*.cpp tests/core/*.cpp tests/data/*.cpp tests/nn/*.cpp \
             tests/optim/*.cpp tests/apps/*.cpp tests/reference/*.cpp)
# Programs that the tests call, too. Their main is apps/main.cpp.
CALLED   = mnist predict adapter study
object   = $(patsubst %.cpp,$(BUILD)/obj/%.o,$(1))
SHARED   = $(call object,apps/program.cpp apps/experiment.cpp apps/shift.cpp $(wildcard apps/report/*.cpp))

all: $(LIBRARY) $(PROGRAMS)  ## the library and the programs, in build/

$(LIBRARY): $(call object,$(SOURCES))
	@rm -f $@
	@echo "  ar      $@"
	@ar rcs $@ $^

$(PROGRAMS): $(BUILD)/%: $(SHARED) $(LIBRARY)
	@echo "  link    $@"
	@$(CXX) $(FLAGS) $(filter %.o,$^) $(LIBRARY) -lopenblas $(MPI_LIBS) -o $@
$(BUILD)/bench: $(call object,$(wildcard apps/bench/*.cpp))
$(BUILD)/mnist_mpi: $(call object,apps/mpi/mnist_mpi.cpp)
$(addprefix $(BUILD)/,graph notebook pictures tokens gpt $(CALLED)): $(BUILD)/%: $(BUILD)/obj/apps/%.o
$(addprefix $(BUILD)/,$(CALLED)): $(BUILD)/%: $(BUILD)/obj/main/%.o
$(CALLED:%=$(BUILD)/obj/main/%.o): $(BUILD)/obj/main/%.o: apps/main.cpp
	@mkdir -p $(@D)
	@$(CXX) $(FLAGS) -DPROGRAM=$* -c $< -o $@

# Open MPI's compiler knows where its headers are, which are not ours to warn about.
$(BUILD)/mnist_mpi: MPI_LIBS = $(shell mpicxx --showme:link)
$(BUILD)/obj/apps/mpi/mnist_mpi.o: FLAGS += -DOMPI_SKIP_MPICXX $(addprefix -isystem ,$(or \
  $(shell mpicxx --showme:incdirs 2>/dev/null),$(error MPI=1 needs Open MPI, and there is no \
  mpicxx of it here. hint: make MPI=1 deps)))

$(BUILD)/tests: $(call object,$(TESTS) $(CALLED:%=apps/%.cpp)) $(SHARED) $(LIBRARY)
	@echo "  link    $@"
	@$(CXX) $(FLAGS) $^ -lopenblas -o $@

$(BUILD)/obj/%.o: %.cpp
	@mkdir -p $(@D)
	@echo "  compile $<"
	@$(CXX) $(FLAGS) -c $< -o $@

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# ---- what people type ----------------------------------------------------------------------------

deps:  ## install what is needed (Debian and Ubuntu; elsewhere it says what to install)
	@sh apps/install_packages.sh $(if $(MPI),openmpi-bin libopenmpi-dev)

data:  ## bring MNIST into data/mnist and check it
	@sh data/fetch_mnist.sh data/mnist

data-fashion:  ## bring Fashion-MNIST into data/fashion, from Debian's package
	@sh data/fetch_fashion.sh data/fashion

shift: data  ## a change of task: base, from scratch, full, LoRA and DoRA on turned and inverted digits
	@$(MAKE) -j$(JOBS) $(BUILD)/mnist
	@$(BUILD)/mnist --shift rotate:45,invert --samples 3000 $(ARGS)

PREFIX    = /usr/local
VERSION   = $(shell sed -n 's/.*kVersion = "\(.*\)";/\1/p' core/version.h)
PACKAGE   = slimgrad$(if $(filter double,$(REAL)),-double)
INSTALLED = $(addprefix $(DESTDIR)$(PREFIX)/,lib/lib$(PACKAGE).a lib/pkgconfig/$(PACKAGE).pc)
install: $(LIBRARY)  ## library, headers and pkg-config file, to PREFIX=/usr/local; apps/example uses them
	@for header in $(wildcard core/*.h data/*.h nn/*.h optim/*.h); do \
	  install -D -m 644 $$header $(DESTDIR)$(PREFIX)/include/slimgrad/$$header || exit 1; done
	@install -D -m 644 $(LIBRARY) $(word 1,$(INSTALLED))
	@mkdir -p $(dir $(word 2,$(INSTALLED)))
	@printf '%s\n' 'prefix=$(PREFIX)' 'Name: $(PACKAGE)' 'Version: $(VERSION)' \
	  'Description: tensors, autograd, LoRA and DoRA' \
	  'Cflags: -std=c++20 -I$${prefix}/include/slimgrad $(if $(filter double,$(REAL)),-DSLIM_REAL_DOUBLE)' \
	  'Libs: -L$${prefix}/lib -l$(PACKAGE) -lopenblas' > $(word 2,$(INSTALLED))
	@echo "installed: $(INSTALLED)"
uninstall:  ## what install has put there
	@rm -rf $(DESTDIR)$(PREFIX)/include/slimgrad $(INSTALLED)

text:  ## bring two texts into data/text (the King James Bible, the Devil's Dictionary)
	@sh data/fetch_text.sh data/text

run: data  ## the main job: pretrain on MNIST, compare full fine-tuning, LoRA and DoRA
	@$(MAKE) -j$(JOBS) all
	@$(BUILD)/mnist $(ARGS)

gpt: text  ## a Llama: pretrain on one text, adapt to another in full, with LoRA and with DoRA
	@$(MAKE) -j$(JOBS) $(BUILD)/gpt
	@$(BUILD)/gpt $(ARGS)

tokens:  ## Embedding with LoRA on real text (apps/tokens.cpp)
	@$(MAKE) -j$(JOBS) $(BUILD)/tokens
	@$(BUILD)/tokens $(ARGS)

notebook: data  ## the "LoRA and DoRA from scratch" notebook, cell by cell (apps/notebook.cpp)
	@$(MAKE) -j$(JOBS) $(BUILD)/notebook
	@$(BUILD)/notebook $(ARGS)

test:  ## the tests, in float and in double precision (with SAN=1: in float)
	@sh data/fetch_mnist.sh data/mnist || echo "without MNIST, the end-to-end test is left out"
	@$(MAKE) -j$(JOBS) all test-binary
ifdef SAN
	@sh tests/run.sh $(BUILD)/tests
else
	@$(MAKE) -j$(JOBS) REAL=double test-binary
	@sh tests/run.sh $(BUILD)/tests "$$($(MAKE) REAL=double print-test-binary)"
endif

test-binary: $(BUILD)/tests
print-test-binary:
	@echo $(BUILD)/tests

$(BUILD)/peer $(BUILD)/llama_peer: $(BUILD)/%: $(BUILD)/obj/tests/peers/%.o \
             $(call object,apps/program.cpp) $(LIBRARY)
	@echo "  link    $@"
	@$(CXX) $(FLAGS) $^ -lopenblas -o $@

test-peers:  ## held against PyTorch and PEFT, which it installs into build/venv
	@$(MAKE) -j$(JOBS) $(BUILD)/peer $(BUILD)/llama_peer $(BUILD)/adapter
	@$(MAKE) -j$(JOBS) REAL=double build/variant-double/peer
	@sh tests/peers/run.sh $(ARGS)

test-mpi:  ## the test of build/mnist_mpi: 2 processes against 1, and one that is killed
	@sh data/fetch_mnist.sh data/mnist
	@$(MAKE) -j$(JOBS) MPI=1 REAL=double test-mpi-binary
test-mpi-binary: $(BUILD)/mnist_mpi
	@sh tests/mpi.sh $<

bench:  ## how fast it is, as ratios to what could not be cheaper
	@$(MAKE) -j$(JOBS) $(BUILD)/bench
	@$(BUILD)/bench $(ARGS)

PYTHON = $(VENV)/bin/python
bench-torch:  ## the same steps in PyTorch and PEFT, in turn with ours; PYTHON=... for another
	@$(MAKE) -j$(JOBS) $(BUILD)/bench $(if $(filter $(VENV)/%,$(PYTHON)),$(VENV)/installed)
	@$(PYTHON) apps/bench/bench_torch.py --bench $(BUILD)/bench $(ARGS)

lines:  ## code lines by subject
	@sh tests/lines.sh

reading-path:  ## which functions one step of DoRA runs, by gcov
	@$(MAKE) -j$(JOBS) COVERAGE=1 build/variant-coverage/reading_path
	@sh tests/reading_path/run.sh build/variant-coverage
$(BUILD)/reading_path: $(BUILD)/obj/tests/reading_path/step.o $(LIBRARY)
	@$(CXX) $(FLAGS) $^ -lopenblas -o $@

check-includes:  ## no folder includes one that comes after it: core, data, nn, optim, apps
	@! grep -nE '#include "(data|nn|optim|apps|tests)/' core/*.h core/*.cpp
	@! grep -nE '#include "(nn|optim|apps|tests)/' data/*.h data/*.cpp
	@! grep -nE '#include "(optim|apps|tests)/' nn/*.h nn/*.cpp nn/*/*
	@! grep -nE '#include "(apps|tests)/' optim/*.h optim/*.cpp
	@! grep -rlE '#include <(cblas|nlohmann|stb|mpi)' core data nn optim apps | \
	  grep -vxE 'core/gemm.cpp|data/json.cpp|data/image.cpp|apps/mpi/mnist_mpi.cpp'
	@echo "includes are in order"

# ---- lessons -------------------------------------------------------------------------------------

LESSONS = $(patsubst apps/%.cpp,$(BUILD)/%,$(wildcard apps/lessons/*.cpp))

$(LESSONS): $(BUILD)/%: $(BUILD)/obj/apps/%.o $(BUILD)/obj/apps/program.o $(LIBRARY)
	@mkdir -p $(@D)
	@echo "  link    $@"
	@$(CXX) $(FLAGS) $^ -lopenblas -o $@

# The lessons' tests run them. Their headers show what float prints, so in double there are none.
WALKS = $(addprefix $(BUILD)/gdb/,$(if $(VARIANT),,$(if $(shell command -v gdb),05_regression_and_xor 07_lora 08_dora)))
ifneq ($(REAL),double)
$(BUILD)/tests: $(call object,$(wildcard tests/lessons/*.cpp)) | $(LESSONS) $(WALKS)
endif

# Lessons for gdb: the lesson and the files that a walk goes through, compiled with -O0.
WALKED = $(patsubst %.cpp,$(BUILD)/obj/gdb/%.o,$(wildcard $(addsuffix .cpp,core/activations \
           core/arithmetic core/autograd core/broadcast \
           core/matmul core/reduce nn/linear nn/adapters/lora nn/adapters/dora*)))
$(BUILD)/obj/gdb/%.o: %.cpp
	@mkdir -p $(@D)
	@echo "  compile $<, for gdb"
	@$(CXX) $(FLAGS) -O0 -g3 -c $< -o $@
$(BUILD)/gdb/%: $(BUILD)/obj/gdb/apps/lessons/%.o $(WALKED) $(call object,apps/program.cpp) $(LIBRARY)
	@mkdir -p $(@D)
	@echo "  link    $@"
	@$(CXX) $(FLAGS) $^ -lopenblas -o $@

lessons: data $(LESSONS)  ## run all lessons; lesson-07 runs one, gdb-07 opens it in gdb
	@for lesson in $(LESSONS); do echo "== $$lesson"; $$lesson || exit 1; echo; done
lesson-%:
	@$(MAKE) -s $(or $(filter $(BUILD)/lessons/$*_%,$(LESSONS)),$(error there is no lesson $*. \
	  hint: lesson-01 to lesson-12, lesson-appendix))
	@! grep -q data/mnist apps/lessons/$*_*.cpp || sh data/fetch_mnist.sh data/mnist
	@$(filter $(BUILD)/lessons/$*_%,$(LESSONS)) $(ARGS)
gdb-%:  # opens a lesson in gdb, where its header says
	@command -v gdb >/dev/null || { echo "gdb is not installed. hint: apt-get install gdb"; exit 1; }
	@$(MAKE) -s -j$(JOBS) $(patsubst apps/lessons/%.cpp,$(BUILD)/gdb/%,$(wildcard apps/lessons/$*_*.cpp))
	@gdb -q -iex 'set auto-load local-gdbinit off' -x .gdbinit -ex "break $$(sed -n \
	  's/.*stops in \(.*\))/\1/p' apps/lessons/$*_*.cpp)" -ex run $(GDB_ARGS) $(BUILD)/gdb/$*_*

# The exercises. Warnings do not stop one; -O0, as it is small and is to compile fast.
COURSE = BUILD='$(BUILD)' CXX='$(CXX)' JOBS=$(JOBS) \
         FLAGS='$(filter-out -Werror -MMD -MP,$(FLAGS)) -O0 -g -Wno-unused' sh
EXERCISES = $(call object,apps/exercises/check.cpp apps/exercises/train.cpp)
course:  ## the exercises that are done; ex-04 checks one, hint-04 prints its hint
	@$(COURSE) apps/exercises/course.sh progress
ex-% hint-%:
	@$(MAKE) -s -j$(JOBS) $(LIBRARY) $(EXERCISES)
	@$(COURSE) apps/exercises/course.sh $(subst -, ,$@)
test-course:  ## the exercises: untouched, with right and with wrong answers; gdb in each lesson
	@$(MAKE) -s -j$(JOBS) $(LIBRARY) $(EXERCISES) $(patsubst $(BUILD)/lessons/%,$(BUILD)/gdb/%,$(LESSONS))
	@$(COURSE) tests/course.sh

coverage:  ## the lines that the tests run, per file: gcov over a build of its own
	@$(MAKE) -j$(JOBS) COVERAGE=1 all test-binary
	@sh tests/coverage.sh build/variant-coverage

faults: $(LIBRARY)  ## the savers while system calls fail, and 500 times kill -9
	@sh tests/faults/run.sh $< $(CXX) $(FLAGS) -O0

mutants: all test-binary  ## break the library in 200 places, one by one: do the tests notice?
	@python3 tests/mutants/run.py $(ARGS)

fuzz-%:  # a million damaged files for a reader: fuzz-idx, fuzz-safetensors, fuzz-config
	@sh tests/fuzz/run.sh $* $(RUNS)

format:  ## clang-format over all sources
	clang-format -i $$(git ls-files '*.h' '*.cpp')

clean:  ## remove build/
	rm -rf build

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 20
	@echo "  switches: DEBUG=1 (-O0)  SAN=1 (address and undefined behaviour)  REAL=double"
	@echo "            PORTABLE=1 (without -march=native)  CXX=clang++  ARGS='--epochs 3' (for run)"
	@echo "            MPI=1 (all, deps: also build/mnist_mpi, for several processes; Open MPI)"

.SECONDARY:  # keep the object files that pattern rules make
.PHONY: test-binary print-test-binary test-mpi-binary $(shell sed -n 's/^\([a-z-]*\):.*##.*/\1/p' Makefile)
ifneq ($(filter deps,$(MAKECMDGOALS)),)
.NOTPARALLEL:  # first the packages, then what needs them
endif
