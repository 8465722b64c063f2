# slimgrad: `make help` lists the targets and the switches.
CXX = g++
.DEFAULT_GOAL = all
MAKEFLAGS += --no-print-directory
JOBS := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# Each combination of switches builds into a folder of its own.
VARIANT := $(if $(filter double,$(REAL)),-double)$(if $(DEBUG),-debug)$(if $(SAN),-san)
VARIANT := $(VARIANT)$(if $(PORTABLE),-portable)$(if $(COVERAGE),-coverage)$(if $(findstring clang,$(CXX)),-clang)
BUILD   := build$(if $(VARIANT),/variant$(VARIANT))

# No -ffast-math: NaN must stay NaN. errno and traps are never read, and prevent vector code.
FLAGS  = -std=c++20 -fopenmp-simd -Wall -Wextra -Werror -I. -MMD -MP
# An unused variable only warns: it does not stop an experiment.
FLAGS += $(addprefix -Wno-error=unused-,variable but-set-variable parameter function)
# GCC 12 gives false warnings about inlined strings; clang warns of a loop that is not vectorised.
CLANG := $(findstring clang,$(shell $(CXX) --version 2>/dev/null))
FLAGS += $(if $(CLANG),-Wno-pass-failed,-Wno-maybe-uninitialized -Wno-restrict)
FLAGS += $(if $(DEBUG)$(COVERAGE),-O0 -g3,-O3 -g1 -fno-math-errno -fno-trapping-math)
FLAGS += $(if $(PORTABLE),,-march=native)
FLAGS += $(if $(filter double,$(REAL)),-DSLIM_REAL_DOUBLE)
FLAGS += $(if $(SAN),-O1 -fsanitize=address -fsanitize=undefined -fno-sanitize-recover=all)
FLAGS += $(if $(COVERAGE),--coverage -fprofile-update=atomic)
# One level for the whole library. Programs and tests spend their time in it: for their own code
# -O1 and -O0 do, and compile faster.
$(BUILD)/obj/apps/%: private FLAGS += $(if $(DEBUG)$(SAN)$(COVERAGE),,-O1)
$(BUILD)/obj/tests/%: private FLAGS += -O0 -DDOCTEST_CONFIG_SUPER_FAST_ASSERTS

# Homebrew keeps OpenBLAS in a place of its own.
BREW := $(if $(filter Darwin,$(shell uname)),$(shell brew --prefix),)
FLAGS += $(if $(BREW),-I$(BREW)/include -I$(BREW)/opt/openblas/include)
BLAS   = $(if $(BREW),-L$(BREW)/opt/openblas/lib) -lopenblas

LIBRARY  = $(BUILD)/libslimgrad.a
PLAIN    = graph notebook pictures tokens gpt  # programs of one file, apps/NAME.cpp
CALLED   = mnist study predict adapter  # these are called by tests, too: their main is apps/main.cpp
PROGRAMS = $(addprefix $(BUILD)/,bench $(PLAIN) $(CALLED) $(if $(MPI),mnist_mpi))
object   = $(patsubst %.cpp,$(BUILD)/obj/%.o,$(wildcard $(1)))
SHARED   = $(call object,apps/program.cpp apps/experiment.cpp apps/shift.cpp apps/report/*.cpp)
TESTS    = $(call object,tests/*.cpp $(addprefix tests/,$(addsuffix /*.cpp,core data nn optim \
             reference)) tests/apps/install_test.cpp)
ifneq ($(REAL),double)  # in double, the library alone
TESTS += $(call object,tests/apps/*.cpp $(CALLED:%=apps/%.cpp)) $(SHARED)
endif
LESSONS  = $(patsubst apps/%.cpp,$(BUILD)/%,$(wildcard apps/lessons/*.cpp))

define link
@mkdir -p $(@D)
@echo "  link    $@"
@$(CXX) $(FLAGS) $(filter %.o,$^) $(LIBRARY) $(BLAS) $(LIBS) -o $@
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
$(BUILD)/tests: $(TESTS) $(LIBRARY)
	$(link)

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
install uninstall: $(LIBRARY)  ## the library, its headers and a pkg-config file, to PREFIX=/usr/local
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' sh apps/install.sh $@ $(LIBRARY) '$(FLAGS)'
bench:  ## how fast it is, as ratios to what could not be cheaper
	@$(call start,bench)

RULES = apps/lessons/course.mk tests/checks.mk
include $(RULES)

clean:  ## remove build/
	rm -rf build
help:  ## this list
	@grep -hE '^[a-z -]+:.*##' Makefile $(RULES) | sed -E 's/^([a-z -]+):.*## /  \1\t/' | expand -t 24
	@echo "  switches: DEBUG=1 (-O0)  SAN=1 (address and undefined behaviour)  REAL=double"
	@echo "            PORTABLE=1 (without -march=native)  CXX=clang++  ARGS='--epochs 3' (for run)"
	@echo "            MPI=1 (all, deps: also build/mnist_mpi, for several processes; Open MPI)"
.SECONDARY:  # keep the object files that pattern rules make
.PHONY: test-binary print-test-binary $(shell sed -n 's/^\([a-z -]*\):.*##.*/\1/p' Makefile $(RULES))
ifneq ($(filter deps,$(MAKECMDGOALS)),)
.NOTPARALLEL:  # first the packages, then what needs them
endif
