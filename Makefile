# Every target sets itself up: .venv is created and filled on first use, and renewed when what it is made of changes.
PYTHON ?= python3
BIN := .venv/bin
NEWEST := .newest
PIP := $(BIN)/python -m pip --disable-pip-version-check
NATIVE := $(shell find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
WORLD := runs/small-world
SAY_NATIVE := $(BIN)/python -c "from vlp_fast import native; print('native code:', native.summary())"

# Alone, without what they are run by: the tests take matchers and losses of them, whose imports need the second line.
DETECTORS := rfdetr ultralytics libreyolo
BESIDE_DETECTORS := opencv-python-headless pydeprecate pydantic requests

.PHONY: pretrain shipped demo test test-all test-newest tables check docs bench ext clean
.DEFAULT_GOAL := test

# Both systems with all their objectives, on drawn pictures: minutes on two cores.
# One thread: with steps so small a second one gains nothing (2026-11, two cores: 190 s with two for SOHO, 194 s with one).
pretrain: export OMP_NUM_THREADS ?= 1
pretrain: .venv/native | $(WORLD)
	$(BIN)/vlp-fast train soho_small_world --data.root $(WORLD)
	$(BIN)/vlp-fast train e2e_vlp_small_world --data.root $(WORLD)

# The trained models that come with the package, anew: about an hour on one core.
SHIPPED = vlp_fast/inference/models
ON_THE_CARD = --format fp16 --licence "drawn by vlp_fast itself (make-world), free of rights of others" \
	--use "examples and tests; it knows drawings of one or two shapes, and no photograph"
shipped: export OMP_NUM_THREADS ?= 1
shipped: .venv/native | $(WORLD)
	for name in soho_small_world e2e_vlp_small_world; do \
	$(BIN)/vlp-fast train $$name --data.root $(WORLD) --run-dir runs/shipped/$$name --steps 6000 --task.tagging-steps 1500 || exit 1; done
	$(BIN)/vlp-fast train vqa_soho_small_world --data.root $(WORLD) --init runs/shipped/soho_small_world \
	--run-dir runs/shipped/vqa_soho_small_world --train.seed 1
	for name in soho_small_world e2e_vlp_small_world vqa_soho_small_world; do rm -rf $(SHIPPED)/$$name; \
	$(BIN)/vlp-fast export runs/shipped/$$name $(SHIPPED)/$$name $(ON_THE_CARD) || exit 1; done

# A page on which a browser asks the trained models that come with the package.
demo: .venv/native .venv/demo
	$(BIN)/vlp-fast demo

test: .venv/native .venv/detectors
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

# Kernels are compiled for every GPU, not a sample of them.
test-all: .venv/native .venv/tools .venv/detectors
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup --exhaustive

# What compilers make of the kernels, where a source changed.
tables: .venv/native .venv/tools
	env -u TRITON_INTERPRET $(BIN)/python tests/kernels/triton_resources.py
	$(BIN)/python tests/csrc/cuda_resources.py

# The same with the newest torch and packages, on a clone of what is committed, with an environment and native code of
# its own, renewed at each call. What the kernels take when they are compiled for every GPU is recorded for the compilers
# of constraints.txt alone.
test-newest:
	rm -rf $(NEWEST)
	git clone -q . $(NEWEST)
	$(PYTHON) -m venv $(NEWEST)/.venv
	cd $(NEWEST) && $(PIP) install -e '.[test,eval,viz]' $(BESIDE_DETECTORS)
	cd $(NEWEST) && $(PIP) install --no-deps $(DETECTORS)
	cd $(NEWEST) && $(BIN)/python -c "import torch; from vlp_fast import native; print('torch', torch.__version__, native.summary())"
	cd $(NEWEST) && $(BIN)/python -m pytest -q -n 2 --dist loadgroup \
	  --ignore tests/kernels/test_triton_resources.py --ignore tests/csrc/test_cuda_resources.py

check: .venv/native .venv/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(NATIVE) $(wildcard tests/cuda_on_cpu/*.* tests/cuda_on_cpu/*/*.*)

# The site, in build/site, anew: a warning is an error, and nothing in it may come from another host.
docs: .venv/native .venv/docs
	rm -rf build/site
	$(BIN)/python -m sphinx -q -j 2 -W --keep-going -b html docs build/site
	$(BIN)/python docs/building/hosts.py build/site
	@echo "site: build/site/index.html"

bench: .venv/native
	$(BIN)/vlp-fast bench

# Rebuild csrc/ in place, only what changed. A compile error is an error here.
ext: .venv/installed .venv/tools
	$(BIN)/python setup.py --quiet build_ext --inplace
	@touch .venv/native
	@$(SAY_NATIVE)

clean:
	rm -rf build dist *.egg-info vlp_fast/_C*.so

$(WORLD): | .venv/native
	$(BIN)/vlp-fast data make-world $@ --images 4000 --seed 0 --bounds small

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt setup.py CMakeLists.txt | .venv/bin/python
	$(PIP) install -c constraints.txt -e '.[test,eval,viz]'
	@touch $@

# The installation has built the native code already, unless its sources changed since.
.venv/native: .venv/installed $(NATIVE)
	@if [ -n "$$(find csrc -newer .venv/installed)" ]; then $(PIP) install --no-deps -e .; fi
	@$(SAY_NATIVE)
	@touch $@

# Extras of the name; with the page, what drives a browser in its tests. The browser is the system's chromium.
.venv/demo: BESIDE = playwright
.venv/dali .venv/demo .venv/docs: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -c "import tomllib; \
	print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['$(@F)'], sep='\n')" \
	| $(PIP) install -c constraints.txt $(BESIDE) -r /dev/stdin
	@touch $@

.venv/detectors: constraints.txt | .venv/installed
	$(PIP) install -c constraints.txt $(BESIDE_DETECTORS)
	$(PIP) install --no-deps -c constraints.txt $(DETECTORS)
	@touch $@

# Extra [dev], and the build requirements outside of pip's isolation, for `make ext`.
.venv/tools: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -c "import tomllib; \
	project = tomllib.load(open('pyproject.toml', 'rb')); \
	print(*project['build-system']['requires'], *project['project']['optional-dependencies']['dev'], sep='\n')" \
	| $(PIP) install -c constraints.txt -r /dev/stdin
	@touch $@
