# `make compare` is the way in. Every target sets up what it needs; a second call costs nothing.
.DEFAULT_GOAL := compare
.PHONY: compare install test lint format parity speed logging-cost streaming-cost scaling-cost search-speed bench growth
.PHONY: test-more claims fuzz kill reproducibility accuracy screenshots clean

# The first interpreter that TensorFlow 2.21 has wheels for: another one can be named, as in `make PYTHON=python3.12`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	then echo $$python; break; fi; done)
BIN := .venv/bin

compare: install
	@$(BIN)/recipes compare mlp_classifier

install: .venv/.installed

# Two processes of tests: most tests need one core.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

# The budget is in tests/budget.py; about ten minutes on two cores.
test: .venv/.installed-test
	$(PYTEST) -m "not process and not browser and not slow"

# What `make test` leaves out: real processes, browsers, all seeds, and more hostile input.
test-more: .venv/.installed-test
	$(PYTEST) -m "process or browser or slow"
	FUZZ=ci $(PYTEST) --no-budget tests/test_hostile_commands.py tests/test_hostile_data.py tests/test_hostile_runs.py

lint: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Every value of every setting with every other, for every pair: XLA, steps_per_execution on either side, seeds; and all
# pairs on two devices; an hour or more.
parity: .venv/.installed-test
	PARITY=full $(PYTEST) --no-budget tests/test_pairs.py tests/recipes/shared/test_distribution.py

# The claim of every pair on all of its seeds and settings, which `make test` holds for one.
claims: .venv/.installed-test
	$(PYTEST) tests/custom_loops

# Hostile command lines and files, 170 times as many as in `make test` and new ones in every call.
fuzz: .venv/.installed-test
	FUZZ=long $(PYTEST) --no-budget tests/test_hostile_commands.py tests/test_hostile_data.py tests/test_hostile_runs.py

# Steps per second of both sides on MNIST: make speed DATA=path/to/mnist.npz
speed: .venv/.installed
	$(BIN)/python -m tests.speed $(or $(DATA),mnist)

# What logging costs on either side: make logging-cost DATA=path/to/mnist.npz
logging-cost: .venv/.installed
	$(BIN)/python -m tests.logging_cost $(or $(DATA),mnist)

# Peak memory of streamed training with 1 and 10 times the data, and its time against the data in memory; 8 minutes.
streaming-cost: .venv/.installed
	$(BIN)/python -m tests.streaming_cost

# A step on one device, on logical devices, and with workers on this machine: make scaling-cost DATA=path/to/mnist.npz
scaling-cost: .venv/.installed
	$(BIN)/python -m tests.scaling_cost $(or $(DATA),mnist)

# Trials a minute of a search on either side and of KerasTuner's guide, and memory over 200 trials; 20 minutes.
search-speed: .venv/.installed
	$(BIN)/python -m tests.search_speed

# A step of both sides, of Keras as documented and of other frameworks: make bench DATA=path/to/mnist.npz; 20 minutes.
bench: .venv/.installed-bench
	$(BIN)/recipes bench --peers --json logs/benchmark.json --data $(or $(DATA),digits)

# A step's cost with 1x, 4x and 16x the examples: make growth DATA=path/to/mnist.npz
growth: .venv/.installed
	$(BIN)/python -m tests.growth $(or $(DATA),mnist)

# SIGKILL at 20 random moments on each side of four pairs, resumed and compared to the bit; half an hour.
kill: .venv/.installed-test
	$(BIN)/python -m tests.kill

# Which settings of a machine change the bits: threads, cores, instructions, XLA; ten minutes.
reproducibility: .venv/.installed-test
	$(BIN)/python -m tests.reproducibility

# Test accuracy of both sides of the convolutional network on MNIST: make accuracy DATA=path/to/mnist.npz
accuracy: .venv/.installed
	$(BIN)/python -m tests.accuracy $(or $(DATA),mnist)

screenshots: .venv/.installed-test
	$(BIN)/python -m pytest tests/test_screenshots.py tests/test_tensorboard.py tests/test_search_board.py -m browser --screenshots docs/images

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

.venv/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "no Python from 3.11 to 3.13 found; install one, or name it: make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/.installed-%: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$*]"
	@touch $@
