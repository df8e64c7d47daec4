# Ringmill: `make` prints the targets.  Set-up is a venv in .venv from pinned wheels; nothing else is asked for.
SHELL := /bin/sh
PY := .venv/bin/python
RINGMILL := .venv/bin/ringmill
STAMP := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup cluster status demo job bench test lint proto down clean

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv (skipped when nothing changed)

$(STAMP): pyproject.toml constraints.txt
	@sh scripts/setup.sh
	@touch $(STAMP)

cluster: setup ## start a local cluster of five nodes and leave it running
	@$(RINGMILL) cluster up

status: setup ## who is up, what is where
	@$(RINGMILL) cluster status

demo: setup ## the guided tour: quorums, a killed node, a word count that survives a kill
	@$(RINGMILL) demo

job: setup ## count the words of the Python standard library on the running cluster
	@$(RINGMILL) job run examples/wordcount.py:wordcount --input "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')/*.py" --output .ringmill/wordcount --overwrite

bench: setup ## run the benchmarks; figures as tables and JSON
	@$(PY) scripts/bench/kv.py
	@$(PY) scripts/bench/jobs.py

test: setup ## all tests
	@$(PY) -m pytest -n 2 --dist worksteal tests

lint: setup ## ruff, mypy --strict, import-linter, tidy
	@.venv/bin/ruff format --check -q .
	@.venv/bin/ruff check -q .
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/lint-imports --no-cache >.venv/imports.log 2>&1 || { cat .venv/imports.log; exit 1; }
	@$(PY) scripts/tidy.py

proto: setup ## rebuild the gRPC stubs from proto/
	@.venv/bin/pip install -q -c constraints.txt grpcio-tools mypy-protobuf
	@PATH=.venv/bin:$$PATH $(PY) scripts/proto.py

down: setup ## stop the local cluster
	@$(RINGMILL) cluster down

clean: ## remove .venv, caches and the local cluster's data
	@test ! -x $(RINGMILL) || $(RINGMILL) cluster down || true
	@rm -rf .venv .ringmill build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
