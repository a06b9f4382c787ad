# Two commands matter: `make run` and `make test`. They need Python 3.11 or later and make; the rest goes into .venv.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUN_READY := $(VENV)/.run-ready

# Over as many processes as tests/conftest.py says.
SPREAD := -n auto --dist loadfile --no-loadscope-reorder

# `bash -c` is not assumed; each recipe line is plain sh.
define find_python
for name in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
    command -v $$name >/dev/null 2>&1 || continue; \
    $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
    python=$$name; break; \
done; \
if [ -z "$$python" ]; then \
    echo "taskqueue needs Python 3.11 or later with its venv module (on Debian: apt-get install python3-venv)." >&2; \
    echo "If it is there under another name, say so: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; \
    exit 1; \
fi
endef

.PHONY: run test check format bench docs clean

run: $(RUN_READY)
	@exec $(BIN)/taskqueue dev

test: $(READY)
	$(BIN)/pytest $(SPREAD) $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test
	$(BIN)/pytest $(SPREAD) -m thorough

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m bench $(ARGS)

docs: $(READY)
	$(BIN)/taskqueue settings --markdown > docs/settings.md
	$(BIN)/taskqueue outcomes --into docs/outcomes.md

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(find_python); echo "Making $(VENV) with $$python"; $$python -m venv $(VENV)

# Running needs less than testing, so a first `make run` does not wait for the test tools.
$(RUN_READY): pyproject.toml | $(BIN)/python
	@echo "Installing taskqueue into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[postgres]'
	@touch $@

$(READY): pyproject.toml | $(BIN)/python
	@echo "Installing taskqueue and its tests into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(RUN_READY)
