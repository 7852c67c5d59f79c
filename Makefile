# `make demo` and `make test` each work on a machine with only Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers

.PHONY: demo test test-all test-python test-peers lint bench bench-surrogate bench-dictionary bench-workers \
	bench-matching bench-reconstruction bench-brain bench-design bench-design-maps bench-peers figures clean

$(VENV)/.installed: pyproject.toml
	@echo "Creating $(VENV) and installing epgbloch (one to three minutes the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "epgbloch needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/epgbloch demo --out demo

# in two processes, file by file
test: $(VENV)/.installed
	@$(BIN)/python -m pytest -m "not slow and not peers" -n 2 --dist loadfile

test-all: $(VENV)/.installed
	@$(BIN)/python -m pytest -m "not peers"

# kernels as plain Python, against the oracles; without gradients of derivatives, which take minutes
test-python: $(VENV)/.installed
	@NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest tests/epgbloch/test_diffusion.py \
		tests/epgbloch/test_derivatives.py -k "not forward_sensitivities"

lint: $(VENV)/.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.installed
	@$(BIN)/python benchmarks/run.py

bench-surrogate: $(VENV)/.installed
	@$(BIN)/python benchmarks/surrogate_speed.py
	@$(BIN)/python benchmarks/surrogate_maps.py

bench-dictionary: $(VENV)/.installed
	@$(BIN)/python benchmarks/dictionary.py

bench-workers: $(VENV)/.installed
	@$(BIN)/python benchmarks/workers.py

bench-matching: $(VENV)/.installed
	@$(BIN)/python benchmarks/matching.py

bench-brain: $(VENV)/.installed
	@$(BIN)/python benchmarks/brain.py

bench-design: $(VENV)/.installed
	@$(BIN)/python benchmarks/cramer_rao.py

bench-design-maps: $(VENV)/.installed
	@$(BIN)/python benchmarks/designed_maps.py

bench-reconstruction: $(VENV)/.installed
	@$(BIN)/python benchmarks/subspace_encoding.py

# torch comes first and keeps its version, so that the peers do not choose another
$(PEERS)/.installed: pyproject.toml
	@echo "Creating $(PEERS) and installing epgbloch beside its peers (a few minutes the first time) ..."
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[peers]' torch==2.13.0 blochsim==0.0.14 mrpro==0.261015 MRzeroCore==1.2.0 pytest
	@touch $@

# Pulseq files in the reader of another program
test-peers: $(PEERS)/.installed
	@$(PEERS)/bin/python -m pytest -m peers tests/design/pulseq/test_peers.py

bench-peers: $(PEERS)/.installed
	@$(PEERS)/bin/python benchmarks/peers.py
	@$(PEERS)/bin/python benchmarks/peers_reconstruction.py
	@$(PEERS)/bin/python benchmarks/imaging_twin.py

figures: $(VENV)/.installed
	@$(BIN)/python docs/make_figures.py

clean:
	rm -rf $(VENV) $(PEERS) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache
