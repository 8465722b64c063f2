# The course: lessons, their walks in gdb, exercises. Included by the Makefile.

$(LESSONS): $(BUILD)/%: $(BUILD)/obj/apps/%.o $(BUILD)/obj/apps/program.o $(LIBRARY)
	$(link)
# For gdb: the lesson and the files that a walk goes through, compiled with -O0.
$(BUILD)/obj/gdb/%.o: %.cpp
	@mkdir -p $(@D)
	@echo "  compile $<, for gdb"
	@$(CXX) $(FLAGS) -O0 -g3 -c $< -o $@
$(BUILD)/gdb/%: $(BUILD)/obj/gdb/apps/lessons/%.o $(BUILD)/obj/apps/program.o $(LIBRARY) \
  $(patsubst $(BUILD)/obj/%,$(BUILD)/obj/gdb/%,$(call object,$(addprefix core/,activations.cpp \
  arithmetic.cpp autograd.cpp broadcast.cpp loss.cpp matmul.cpp reduce.cpp) data/digit.cpp \
  nn/linear.cpp nn/adapters/adapt.cpp nn/adapters/lora.cpp nn/adapters/dora*.cpp))
	$(link)
# The lessons' tests run them. Their headers show what float prints, so in double there are none.
ifneq ($(REAL),double)
$(BUILD)/tests: $(call object,tests/lessons/*.cpp) | $(LESSONS) $(addprefix $(BUILD)/gdb/,$(if \
  $(VARIANT),,$(if $(shell command -v gdb),05_regression_and_xor 07_lora 08_dora)))
endif

lessons: data $(LESSONS)  ## run all lessons; lesson-07 runs one, gdb-07 opens it in gdb
	@for lesson in $(LESSONS); do echo "== $$lesson"; $$lesson || exit 1; echo; done
lesson = $(or $(filter $(BUILD)/lessons/$(1)_%,$(LESSONS)),$(error there is no lesson $(1). \
  hint: lesson-01 to lesson-13, lesson-appendix))
lesson-%:
	@$(MAKE) -s $(call lesson,$*)
	@! grep -q data/mnist apps/lessons/$*_*.cpp || sh data/fetch_mnist.sh data/mnist
	@$(call lesson,$*) $(ARGS)
gdb-%:
	@command -v gdb >/dev/null || { echo "gdb is not installed. hint: apt-get install gdb"; exit 1; }
	@$(MAKE) -s -j$(JOBS) $(patsubst $(BUILD)/lessons/%,$(BUILD)/gdb/%,$(call lesson,$*))
	@sh apps/lessons/gdb.sh $* $(BUILD)/gdb/$*_* $(GDB_ARGS)
# The exercises. Warnings do not stop one; -O0, as it is small and is to compile fast.
# _GLIBCXX_ASSERTIONS: v[0] of an empty vector ends with a sentence.
COURSE = BUILD='$(BUILD)' CXX='$(CXX)' JOBS=$(JOBS) \
         FLAGS='$(filter-out -Werror -MMD -MP,$(FLAGS)) -O0 -g3 -D_GLIBCXX_ASSERTIONS \
         $(addprefix -Wno-unused-,parameter variable)' sh
EXERCISES = $(call object,apps/exercises/check.cpp apps/exercises/train.cpp)
course:  ## the exercises that are done; ex-04 checks one, hint-04 prints its hint
	@$(COURSE) apps/exercises/course.sh progress
ex-% hint-%:
	@$(MAKE) -s -j$(JOBS) $(LIBRARY) $(EXERCISES)
	@$(COURSE) apps/exercises/course.sh $(subst -, ,$@)
test-course:  ## the exercises: untouched, with right and with wrong answers; gdb in each lesson
	@$(MAKE) -s -j$(JOBS) $(LIBRARY) $(EXERCISES) $(LESSONS:$(BUILD)/lessons/%=$(BUILD)/gdb/%)
	@$(COURSE) tests/course.sh
