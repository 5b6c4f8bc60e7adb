# Two commands: `make demo` shows everything on generated images, `make test` runs every check.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
APP    ?= remote-sensing
OUT    ?= demo$(if $(filter-out remote-sensing,$(APP)),-$(APP))

.PHONY: demo test lint bench gallery docs-methods clean
.DEFAULT_GOAL := help

help:
	@echo "make demo [DATA=folder]                    minutes on 2 cores; ends on demo/gallery.html"
	@echo "make demo APP=skin-lesion [DATA=folder]    likewise; ends on demo-skin-lesion/gallery.html"
	@echo "make demo APP=person-reid [DATA=folder]    likewise; ends on demo-person-reid/gallery.html"
	@echo "make demo APP=facial-expression [DATA=folder]    likewise; ends on demo-facial-expression/gallery.html"
	@echo "make test                                  lint, types, tests"
	@echo "make lint | bench | gallery | docs-methods | clean"

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

# About half an hour. What takes hours, a model or another project's files: benchmarks/README.md.
BENCHES := losses evaluation attention multiband map reranking tracklets loader \
           $(if $(LIKENESS_DATA),preprocessing scope floors)
bench: $(VENV)/.installed
	@set -e; for name in $(BENCHES); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py; done

# The tables of all parts in docs/methods.md; a test compares them with the code.
docs-methods: $(VENV)/.installed
	$(BIN)/likeness methods --write docs/methods.md

clean:
	rm -rf $(VENV) $(OUT) dist build .mypy_cache .ruff_cache .pytest_cache
