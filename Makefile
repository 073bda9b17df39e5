# make train   set up .venv and run python train.py
# make test    set up .venv and run the tests, two at a time with one thread each (twice as fast on two cores as letting
#              each start two); a worker takes neighbouring tests, so that what a module shares is made once;
#              make test-all runs those marked slow too
# make reference  what is generated: conf/schema.json, docs/reference/every_key.md and the other tables of keys in docs/
# make docs    the site, in English and in Korean, in site/; what leads nowhere is an error
# make lint    ruff, mypy, the layers of the rooms (import-linter) and the pre-commit configuration
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test test-all reference docs lint format setup clean

train: setup
	$(BIN)/python train.py

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

reference: setup
	$(BIN)/python scripts/reference.py

docs: setup
	rm -rf site
	$(BIN)/zensical build --strict --clean --config-file zensical.toml
	$(BIN)/zensical build --strict --clean --config-file zensical.ko.toml

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pre-commit validate-config

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The environment is up to date when it holds a copy of the lock file and of pyproject.toml that equal the present ones:
# contents are compared, since a checkout changes modification times for no reason.
setup:
	@if ! cat requirements.lock pyproject.toml | cmp -s - .venv/installed; then \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or later is needed; make PYTHON=python3.11")' \
		&& rm -f .venv/installed \
		&& $(PYTHON) -m venv .venv \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . \
		&& cat requirements.lock pyproject.toml > .venv/installed; \
	fi

clean:
	rm -rf .venv build site .cache src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
