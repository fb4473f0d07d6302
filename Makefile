# make run: the quickstart. make test: everything. make check: lint, types, walls. The environment makes itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PACKS ?= ../shared/golden
export OMP_NUM_THREADS ?= 2

.PHONY: run test check bench parity mini env clean

env: $(READY)

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev]"
	$(BIN)/python -m compileall -q anyany plugins
	touch $(READY)

run: $(READY)
	$(BIN)/anyany run pipelines/quickstart.yaml --in prompt="describe {file:examples/scene.png}" --out out/describe
	$(BIN)/anyany run pipelines/quickstart.yaml --in prompt="draw a big red ring on the left" --out out/draw

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --durations=12

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit/test_layers.py

bench: $(READY)
	for f in benchmarks/*.py; do echo "== $$f"; $(BIN)/python $$f || exit 1; done

parity: $(READY)
	$(BIN)/python -m anyany.testing.parity $(PACKS) $(if $(LAYOUTS),--layouts $(LAYOUTS))

mini: $(READY)
	$(BIN)/python -m anyany_mini.train all

clean:
	rm -rf out runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
