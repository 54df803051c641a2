PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
SITE ?= build/site

.PHONY: help lint types test site sim emulate ptx time report

help:
	@echo "make lint   check style and formatting with ruff"
	@echo "make types  check the type hints with mypy"
	@echo "make test   run the tests and every example of the docs"
	@echo "make site   build the site under build/site, from docs, README and docstrings"
	@echo "make sim    run the tests with the CUDA kernels under numba's simulator"
	@echo "make emulate run all tests of the compiled CUDA kernels on an emulated driver"
	@echo "make ptx    compile the CUDA kernels and check what comes out; no GPU needed"
	@echo "make time   time the loss and its gradient on this machine"
	@echo "make report time everything three times, and rewrite the tables and pictures of the docs"

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest

site:
	PYTHONPATH=. $(PYTHON) -m sphinx -W --keep-going -n -q -d $(SITE)-doctrees docs $(SITE)

sim:
	NUMBA_ENABLE_CUDASIM=1 $(PYTHON) -m pytest tests

emulate:
	PYTHON=$(PYTHON) .ci/emulate all

ptx:
	$(PYTHON) -m pytest -m "not slow" tests/test_ptx.py

time:
	$(PYTHON) scripts/time_margin_ranking.py

report:
	PYTHONPATH=. $(PYTHON) scripts/report.py
