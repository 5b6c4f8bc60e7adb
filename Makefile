# Two commands: `make demo` shows everything on generated images, `make test` runs every check.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
APP    ?= remote-sensing
OUT    ?= demo$(if $(filter-out remote-sensing,$(APP)),-$(APP))

.PHONY: demo test lint bench gallery clean
.DEFAULT_GOAL := help

help:
	@echo "make demo [DATA=folder]                    minutes on 2 cores; ends on demo/gallery.html"
	@echo "make demo APP=skin-lesion [DATA=folder]    likewise; ends on demo-skin-lesion/gallery.html"
	@echo "make test                                  lint, types, tests"
	@echo "make lint | bench | gallery | clean"

# The stamp is renewed when the pinned versions or the project's metadata change.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Environment: about 7 GB on disk (torch's CUDA build), 2 to 4 minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m likeness_apps.demo --app $(APP) --out $(OUT) $(if $(DATA),--data '$(DATA)')

gallery: $(VENV)/.installed
	$(BIN)/python -m likeness_apps.demo --out $(OUT) --gallery-only

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The second pass runs what tests error texts: without the hook that checks shapes at run time.
test: lint
	$(BIN)/pytest -n 2 --dist loadfile
	LIKENESS_PLAIN=1 $(BIN)/pytest -m plain

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/losses.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/multiband.py
	$(BIN)/python benchmarks/map.py

clean:
	rm -rf $(VENV) $(OUT) dist build .mypy_cache .ruff_cache .pytest_cache
