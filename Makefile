# Two commands for a newcomer: `make demo` and `make test`. Both create .venv on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test test-all lint clean

help:
	@echo "make demo      install, extract, probe and report on the embedded pair; under 3 minutes"
	@echo "make test      install what tests need and run them, offline; under 5 minutes"
	@echo "make test-all  the slow tests too"
	@echo "make clean     remove .venv and everything the demo wrote"

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (a few GB: torch)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

demo: $(VENV)/.installed
	@echo "1/3 Extracting both sides of the pair tiny on the rendered scenes"
	@$(BIN)/sdiag extract --cache demo-work/cache
	@echo "2/3 Probing"
	@$(BIN)/sdiag probe --cache demo-work/cache --results demo-work/results > /dev/null
	@echo "3/3 Writing the report"
	@$(BIN)/sdiag report --results demo-work/results --out demo-report

lint: $(VENV)/.installed
	@$(BIN)/ruff check .

# One thread a process: two files run at a time, and more threads than cores would only wait.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test: lint
	@$(PYTEST) -m "not slow"

test-all: lint
	@$(PYTEST)

clean:
	rm -rf $(VENV) demo-work demo-report
