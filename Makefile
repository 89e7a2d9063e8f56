# Each target makes what it needs: a virtual environment in .venv with the exact versions of
# requirements/dev.lock, and the project itself, installed in place. A second run costs nothing.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.PHONY: help demo test check format bench soak clean

# The first Python that runs (a version manager's shim may not), is new enough, can make an
# environment and has the headers that hnswlib is compiled against.
FITS := import ensurepip, os, sys, sysconfig, venv; \
	sys.exit(sys.version_info < (3, 11) or not os.path.exists(sysconfig.get_path("include") + "/Python.h"))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	if "$$python" -c '$(FITS)' 2>/dev/null; then echo "$$python"; break; fi; done)

READY := .venv/.ready
PEERS := .venv/peers/.ready
LITELLM := .venv/litellm-proxy/.ready
RUN := .venv/bin/python -m
WORKERS ?= 2
INSTALL := python -m pip install --quiet --disable-pip-version-check

help:
	@echo "make demo    the cache at work, with its entries in demo.sqlite"
	@echo "make test    the whole test suite"
	@echo "make check   format, lint, types and layers"
	@echo "make format  rewrite the code as the linter wants it"
	@echo "make bench   the benchmarks, with other caches beside us"
	@echo "make soak    ten minutes of everything at once: nothing may leak"
	@echo "make clean   remove everything these targets made"

$(READY): pyproject.toml requirements/dev.lock
	@test -n "$(PYTHON)" || { echo "asynccache needs Python 3.11 or newer with venv and headers: \
	install it (Debian, Ubuntu: apt install python3-venv python3-dev) or say make PYTHON=/path/to/python3"; exit 1; } >&2
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { \
	echo "hnswlib is compiled when it is installed: install a C++ compiler \
	(Debian, Ubuntu: apt install g++; macOS: xcode-select --install)"; exit 1; } >&2
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/$(INSTALL) --requirement requirements/dev.lock
	.venv/bin/$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# A room of its own: litellm pins an older openai than ours.
$(PEERS): $(READY) requirements/peers.lock
	test -x .venv/peers/bin/python || .venv/bin/python -m venv .venv/peers
	.venv/peers/bin/$(INSTALL) --requirement requirements/peers.lock
	.venv/peers/bin/$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# And one for its proxy, which pins an older rich than ours.
$(LITELLM): $(READY) requirements/litellm-proxy.lock
	test -x .venv/litellm-proxy/bin/python || .venv/bin/python -m venv .venv/litellm-proxy
	.venv/litellm-proxy/bin/$(INSTALL) --requirement requirements/litellm-proxy.lock
	@touch $@

demo: $(READY)
	.venv/bin/asynccache demo --backend sqlite:///demo.sqlite

# Two processes: much of a test's time is waiting. A file stays in one, with what its fixtures start.
test: $(READY)
	@sh tools/ensure-redis.sh
	$(RUN) pytest --numprocesses $(WORKERS) --dist loadfile

check: $(READY)
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy
	$(RUN) pyright
	.venv/bin/lint-imports

format: $(READY)
	$(RUN) ruff format
	$(RUN) ruff check --fix

# litellm would otherwise fetch its price list from the network when imported.
bench: export LITELLM_LOCAL_MODEL_COST_MAP := True
bench: export LITELLM_PROXY := $(CURDIR)/.venv/litellm-proxy/bin/litellm
bench: $(PEERS) $(LITELLM)
	@for question in benchmarks/bench_*.py; do echo "== $$question"; .venv/peers/bin/python "$$question"; done

soak: $(READY)
	$(RUN) pytest -m soak -s

clean:
	rm -rf .venv build dist demo.sqlite* .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
