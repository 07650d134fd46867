# Everything builds its own .venv; nothing but Python 3.11+ and make is needed.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo run test attack fuzz simulate monkey check format soak bench snapshots lock dist clean

help:
	@echo "make demo       open the app on its built-in provider"
	@echo "make run        open the app"
	@echo "make test       run the tests"
	@echo "make attack     run the attacks on the built program alone (part of make test)"
	@echo "make fuzz       let the property tests look for inputs they have not tried"
	@echo "make simulate   run seeds of the simulation: make simulate ARGS='--seeds 100000'"
	@echo "make monkey     press random keys for 20 minutes under traffic"
	@echo "make check      lint, types, layers"
	@echo "make snapshots  accept the screens as they look now"
	@echo "make lock       resolve the dependencies, write locks, bill of materials and licences"
	@echo "make dist       build the package with its bill of materials"
	@echo "make soak       run the app for an hour under traffic and random keys"
	@echo "make bench      measure against a direct connection and peers"

$(READY): pyproject.toml locks/dev.txt scripts/setup
	@sh scripts/setup $(VENV)
	@touch $(READY)

demo: $(READY)
	@$(BIN)/ccproxy-tui demo

run: $(READY)
	@$(BIN)/ccproxy-tui

test: $(READY)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 $(ARGS)

attack: $(READY)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 -m attack $(ARGS)

fuzz: $(READY)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --timeout 1800 --hypothesis-profile fuzz -m hypothesis $(ARGS)
	@CCPROXY_TEST_SEEDS=40 $(BIN)/python -m pytest -n auto --maxprocesses 4 tests/pty/test_truth.py $(ARGS)

simulate: $(READY)
	@$(BIN)/python -m tests.simulation $(ARGS)

monkey: $(READY)
	@CCPROXY_TEST_SOAK=1200 $(BIN)/python -m pytest tests/pty/test_monkey.py -s $(ARGS)

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

snapshots: $(READY)
	@$(BIN)/python -m pytest tests/screens -q --snapshot-update

soak: $(READY)
	@$(BIN)/python -m bench.soak $(ARGS)

bench: $(READY)
	@$(BIN)/python -m bench.relay $(ARGS)

lock:
	@sh scripts/lock

dist: $(READY)
	@rm -rf dist
	@$(BIN)/hatchling build

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
