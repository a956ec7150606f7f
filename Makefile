PYTHON ?= python3
BIN := .venv/bin
CORES ?= all
COUNT ?= 50
BENCHMARKS ?= extraction host front_end precision class_statistics intervals growth explorer overhead storage scan parquet

.PHONY: demo test soak hunt rehearsal lint bench clean

demo: .venv/ready  ## the whole pipeline on data that needs no download
	$(BIN)/snakemake --cores $(CORES) --quiet rules
	$(BIN)/labelsim top 3 7 8 -k 3 --run results/demo
	@echo "Tables:   results/demo/neighbors.parquet, results/demo/classes.parquet"
	@echo "Pictures: results/demo/report/"
	@echo "Explorer: results/demo/report/explorer.html (open it in a browser)"

test: .venv/ready
	$(BIN)/pytest -n auto --maxprocesses 8

soak: .venv/ready  ## fifty interruptions at random moments; some minutes
	PYTHONPATH=tests $(BIN)/python tests/interruptions.py --count $(COUNT)

hunt: .venv/ready  ## networks of timm against what runs below their modules, random edits against fresh runs; some ten minutes
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/fuzz.py

rehearsal: .venv/ready  ## ImageNet's shape with generated photos, against NumPy and SciPy; some 25 minutes, 16 GB of disk
	$(BIN)/python benchmarks/rehearsal.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	$(BIN)/mypy

bench: demo  ## every figure of the README; some forty minutes on two cores
	$(BIN)/uv pip install --quiet --constraint requirements.txt --python $(BIN)/python --editable '.[bench]'
	$(foreach script,$(BENCHMARKS),$(BIN)/python benchmarks/$(script).py &&) true

clean:
	rm -rf results .snakemake .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "labelsim needs Python 3.11 or later; try make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements.txt --editable .
	touch $@
