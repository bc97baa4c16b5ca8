# Everything installs what it needs by itself (tools/setup.sh); nothing has to be prepared.

PY := .venv/bin/python
PYTEST := $(PY) -m pytest
ARGS ?=

.PHONY: help run test unit pure parity corpus check bench profile guard build setup clean format

help:
	@echo 'make run      install everything, start the quick-start configuration and print the URLs to open'
	@echo 'make test     all tests: unit (compiled and interpreted), integration, corpus, parity with the real Envoy'
	@echo 'make check    format, lint, strict types, interpreted unit tests with warnings as errors'
	@echo 'make parity   only the comparison with the real Envoy'
	@echo 'make corpus   verdicts on the corpus of real configurations, as a table'
	@echo 'make bench    CPU per request beside the real Envoy (and nginx), as ratios'
	@echo 'make profile  where the time goes'
	@echo 'make guard    instructions per request against the recorded budget'
	@echo 'make build    build and install into .venv only'

build:
	@tools/setup.sh run

# One's own file: make run ARGS='-c my-envoy.yaml'
run: build
	@.venv/bin/outrider $(if $(ARGS),$(ARGS),--demo)

setup:
	@tools/setup.sh test

# Compiled, as installed in .venv; then the unit tests once more on the interpreted sources. A test that talks to real
# processes may be tried again: on a loaded machine a timeout of some milliseconds can win the wrong race.
AGAIN := --reruns 2 --reruns-delay 1
# The bindings of C libraries (not the compiled hot path), as they were installed: interpreted sources use them, too.
BINDINGS = $(wildcard .venv/lib/python*/site-packages/outrider/native/*.so)

test: setup
	$(PYTEST) tests --ignore=tests/parity $(AGAIN) $(ARGS)
	$(PY) tools/parity.py $(ARGS)
	$(if $(BINDINGS),cp $(BINDINGS) src/outrider/native/)
	PYTHONPATH=$(CURDIR)/src $(PYTEST) tests -m 'not parity and not corpus and not integration' $(AGAIN) $(ARGS)

unit: setup
	$(PYTEST) tests -m 'not parity and not corpus and not integration' $(ARGS)

pure:
	PYTHONPATH=$(CURDIR)/src $(PYTEST) tests -m 'not parity and not corpus and not integration' $(ARGS)

parity: setup
	$(PY) tools/parity.py $(ARGS)

corpus: setup
	$(PY) tools/corpus_report.py $(ARGS)

check: setup
	.venv/bin/ruff check src tests tools benchmarks setup.py
	.venv/bin/mypy
	PYTHONPATH=$(CURDIR)/src $(PYTEST) tests -m 'not parity and not corpus and not integration' $(ARGS)

format:
	.venv/bin/ruff check --fix src tests tools benchmarks setup.py

bench:
	@tools/setup.sh bench
	$(PY) -m benchmarks.bench $(ARGS)

profile:
	@tools/setup.sh bench
	$(PY) -m benchmarks.profile $(ARGS)

guard: setup
	$(PY) -m benchmarks.guard $(ARGS)

clean:
	rm -rf build .cache .mypy_cache .ruff_cache .pytest_cache
