# Ringmill: `make` prints the targets.  Set-up is a venv in .venv from pinned wheels; nothing else is asked for.
SHELL := /bin/sh
PY := .venv/bin/python
RINGMILL := .venv/bin/ringmill
STAMP := .venv/.ready
STDLIB = $$($(PY) -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')

# A .venv whose Python has gone (an upgrade, a moved folder) is made anew.
ifneq ($(shell .venv/bin/python -c 'print("alive")' 2>/dev/null),alive)
$(shell rm -f $(STAMP))
endif

.DEFAULT_GOAL := help
.PHONY: help setup cluster status demo job bench test lint lint-types lint-rules proto down clean

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv (skipped when nothing changed)

$(STAMP): pyproject.toml constraints.txt scripts/setup.sh
	@sh scripts/setup.sh
	@touch $(STAMP)

cluster: setup ## start a local cluster of five nodes and leave it running
	@$(RINGMILL) cluster up

status: setup ## who is up, what is where
	@$(RINGMILL) cluster status

demo: setup ## the guided tour: quorums, a killed node, a word count that survives a kill
	@$(RINGMILL) demo

job: cluster ## count the words of the Python standard library on the local cluster
	@$(RINGMILL) job run examples/wordcount.py:wordcount --input "$(STDLIB)/*.py" --output build/wordcount --overwrite

bench: setup ## run the benchmarks; tables here, figures as JSON in build/bench/
	@$(PY) scripts/bench/transport.py
	@$(PY) scripts/bench/kv.py
	@$(PY) scripts/bench/jobs.py

test: setup ## all tests, with a limit on time and nothing left behind
	@$(PY) scripts/run_tests.py

lint: setup ## ruff, mypy --strict, import-linter, tidy
	@$(MAKE) --no-print-directory --jobs=2 --keep-going lint-types lint-rules

lint-types:  # the longest, so beside all others
	@.venv/bin/mypy --no-error-summary

lint-rules:
	@.venv/bin/ruff format --check -q .
	@.venv/bin/ruff check -q .
	@$(PY) scripts/tidy.py
	@rm -rf .venv/imports && mkdir .venv/imports && cp -RL ringmill .venv/imports/  # grimp follows no links
	@PYTHONPATH=.venv/imports .venv/bin/lint-imports --no-cache >.venv/imports.log 2>&1 || { cat .venv/imports.log; exit 1; }

proto: setup ## rebuild the gRPC stubs from proto/
	@.venv/bin/pip install -q -c constraints.txt grpcio-tools mypy-protobuf
	@PATH=.venv/bin:$$PATH $(PY) scripts/proto.py

down: setup ## stop the local cluster
	@$(RINGMILL) cluster down

clean: ## stop local clusters; remove .venv, build, caches and their data
	@for state in .ringmill/*/cluster.json; do \
		test -e "$$state" || continue; \
		name=$$(basename "$$(dirname "$$state")"); \
		RINGMILL_HOME="$(CURDIR)/.ringmill" $(RINGMILL) --cluster "$$name" cluster down \
			|| { echo "make clean: cluster $$name could not be stopped; nothing was removed" >&2; exit 1; }; \
	done
	@rm -rf .venv .ringmill build ringmill.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
