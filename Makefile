# Two commands do it all on a fresh machine with Python 3.11+: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

.PHONY: demo test check docs lock clean

demo: $(STAMP)  ## the main job, offline, on the bundled sample
	@$(BIN)/hapi demo

test: $(STAMP) check  ## lint, types and tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(STAMP)  ## what is derived from the code: data dictionary and column lineage
	$(BIN)/python -m hapi_pipeline.docs

lock: $(STAMP)  ## pin every dependency anew, with hashes
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra toolbox --generate-hashes --no-header -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml deploy/requirements.in --extra postgres --extra kubernetes --extra objects --extra toolbox \
		-c requirements.lock --generate-hashes --no-header -o deploy/requirements.lock

# uv installs the same locked files several times faster than pip; where it cannot, pip does.
$(STAMP): requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (once, a minute or two) …"
	@$(PYTHON) -c 'import sys; sys.exit("hapi_pipeline needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)
	@grep -A200 '^uv==' requirements.lock | sed -n '1p;2,/^[^ ]/{/^ /p}' > $(VENV)/uv.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock \
		|| $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . \
		|| $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q hapi_pipeline
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
