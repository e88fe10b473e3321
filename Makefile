# make demo   everything: environment, data, both workflows, report
# make test   the test suite
# make test-all   the whole suite: its slow tests too
# make ui     MLflow's pages on the results, on this machine only
PYTHON ?= python3
VENV := $(CURDIR)/.venv
INSTALLED := $(VENV)/.installed
PIP := $(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt
export PATH := $(VENV)/bin:$(PATH)
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help demo test test-all benchmark ui install

help:
	@sed -n 's/^# //p' Makefile

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@echo "environment 1/3: new virtual environment in .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)
	@echo "environment 2/3: torch and torchvision (a minute or more)"
	@$(PIP) torch torchvision
	@echo "environment 3/3: everything else (two minutes or more)"
	@$(PIP) -e '.[dev]'
	@touch $@

demo: $(INSTALLED)
	@dvc repro
	@echo
	@cat report/index.txt
	@echo
	@echo "Report: file://$(CURDIR)/report/index.html    MLflow: make ui"

## Two processes, whatever the machine: most of the suite waits for processes that it has started.
PYTEST := python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED)
	@$(PYTEST)

test-all: $(INSTALLED)
	@$(PYTEST) -m "slow or not slow"

benchmark: $(INSTALLED)
	@python -m pytest tests/benchmarks --benchmark-only

ui: $(INSTALLED)
	@echo "MLflow: http://127.0.0.1:5000 (Ctrl-C ends it)"
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --host 127.0.0.1 --port 5000 --workers 1 \
		--backend-store-uri sqlite:///$(CURDIR)/mlflow.db
