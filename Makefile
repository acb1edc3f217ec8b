# make train | test | test-all | lint | docs | clean    CONFIG=, CFG_OPTIONS=, STACK=onedl|openmmlab, PYTHON=
CONFIG ?= configs/hrnetv2/hrnetv2_w18-small-v1_1xb8-400iters_street-scenes-128x256.py
CFG_OPTIONS ?=
WORK_DIR ?= work_dirs/$(basename $(notdir $(CONFIG)))
STACK ?= onedl
PYTHON ?= python3
TORCH ?= torch==2.13.0

ifeq ($(STACK),openmmlab)
VENV := $(CURDIR)/.venv-openmmlab
else ifeq ($(STACK),onedl)
VENV := $(or $(VIRTUAL_ENV),$(CURDIR)/.venv)
else
$(error STACK must be onedl or openmmlab, got $(STACK))
endif
BIN := $(VENV)/bin
# One stamp a checkout, since an active environment may serve several.
STAMP := $(VENV)/.mmseg-papers-$(firstword $(shell pwd | cksum))
OPTIONS = $(if $(CFG_OPTIONS),--cfg-options $(CFG_OPTIONS))
GPUS = $$($(BIN)/python -c "import torch; print(int(torch.cuda.is_available()))")

.PHONY: train test test-all lint docs clean setup

train: $(STAMP) data/street_scenes
	$(BIN)/mim train mmseg $(CONFIG) --gpus $(GPUS) --work-dir $(WORK_DIR) $(OPTIONS)
	$(BIN)/mim test mmseg $(CONFIG) --checkpoint "$$(cat $(WORK_DIR)/last_checkpoint)" \
		--gpus $(GPUS) --work-dir $(WORK_DIR)/test $(OPTIONS)
	$(BIN)/python -W ignore tools/analysis_tools/training_report.py $(CONFIG) $(WORK_DIR) $(OPTIONS)

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" $(PYTEST_ARGS)

test-all: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf .venv .venv-openmmlab build dist docs/_build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(STAMP)

$(STAMP): setup.py pyproject.toml requirements/openmmlab.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install "$(TORCH)"
ifeq ($(STACK),openmmlab)
	bash requirements/openmmlab.sh $(BIN)/python
	$(BIN)/python -m pip install -e ".[dev]"
else
	$(BIN)/python -m pip install -e ".[onedl,dev]"
endif
	touch $@

data/street_scenes: | $(STAMP)
	$(BIN)/python tools/dataset_converters/street_scenes.py $@
