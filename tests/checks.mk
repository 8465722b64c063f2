# Checks that take long or need more than the library: comparisons with PyTorch and PEFT, coverage,
# mutants, failing system calls, fuzzing. Included by the Makefile.

$(BUILD)/peer $(BUILD)/llama_peer: $(BUILD)/%: $(BUILD)/obj/tests/peers/%.o $(BUILD)/obj/apps/program.o \
  $(LIBRARY)
	$(link)
$(BUILD)/reading_path: $(BUILD)/obj/tests/reading_path/step.o $(LIBRARY)
	$(link)

test-peers:  ## held against PyTorch and PEFT, which it installs into build/venv
	@$(MAKE) -j$(JOBS) $(BUILD)/peer $(BUILD)/llama_peer $(BUILD)/adapter
	@$(MAKE) -j$(JOBS) REAL=double build/variant-double/peer
	@sh tests/peers/run.sh $(ARGS)
test-mpi:  ## the test of build/mnist_mpi: 2 processes against 1, and one that is killed
	@sh data/fetch_mnist.sh data/mnist
	@$(MAKE) -j$(JOBS) MPI=1 REAL=double build/variant-double/mnist_mpi
	@sh tests/mpi.sh build/variant-double/mnist_mpi
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
format:  ## clang-format over all sources
	clang-format -i $$(git ls-files '*.h' '*.cpp')
