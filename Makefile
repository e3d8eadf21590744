# make setup   the full environment in .venv        make test   every test
# make demo    build a model, segment a scan         make lint   ruff, mypy, tsc, eslint
# make bench   the figures of docs/results.md      DATA=DIR    your own data set for the demo; MINUTES=60
# make docs    docs/ as a site in build/site, its links checked
# make wheel   the package for a device in dist/; needs no `make setup`
# make bundle  wheels and an install script for a computer without internet (MACHINE=aarch64 PYTHON_VERSION=3.11 EXTRAS=dicom,pictures)
# make sbom    bill of materials (CycloneDX) and licences, from requirements.lock     make audit   known weaknesses in it, by pip-audit (exit status 3: no data base reached)
# make arm64   predict on an emulated ARM computer and compare; as root (MODELS='a.onnx b.onnx')
# make peers DATA=DIR   networks of others beside ours, into runs/peers (OPTIONS='--folds 5 --fold 0 --networks unet-16@64')
# make any-network   networks that others wrote, pruned to half of their latency, in every engine (OPTIONS='--networks unext')
# make faults   a tenth of the faults of docs/reliability.md and 5 minutes of soak; FULL=1 all, resumable; OPTIONS='--rows NaN'
# make scale   how far prediction in bulk goes: measured here, simulated on 100 machines
# make node-test   200 studies through a DICOM node that is killed 30 times
# make cases   what becomes of the awkward inputs beside the repository, where they are there
# make paper-table DATA=DIR   trains the paper's networks there and writes paper/table.md (OPTIONS='--epochs 30')

PYTHON ?= python3
PIP_FLAGS ?= --quiet --disable-pip-version-check
DATA ?=
MINUTES ?= 4
OPTIONS ?=
FULL ?=
MACHINE ?= $(shell uname -m)
PYTHON_VERSION ?= 3.11
EXTRAS ?= dicom,pictures
MODELS ?= runs/demo/model.onnx
BIN := .venv/bin

.PHONY: setup demo test lint docs wheel bench scale faults any-network cases node-test arm64 peers paper-table bundle sbom audit

setup: .venv/ready build/web/ready

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install $(PIP_FLAGS) --constraint requirements.lock --editable '.[train,search,postgres,openvino,litert,dicom,itk,node,dev]'
	touch $@

# The browser page; without npm there is none, and `embedded-vit page` says so.
build/web/ready: .venv/ready $(shell find web -type f -not -path '*/node_modules/*' -not -path '*/__pycache__/*')
	-$(BIN)/python web/build_page.py
	mkdir -p $(@D) && touch $@

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" MINUTES=$(MINUTES) ./demo.sh $(DATA)

test: setup
	$(BIN)/pytest --numprocesses auto --dist loadfile

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python web/build_page.py --lint

docs: .venv/docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open $(CURDIR)/build/site/index.html"

.venv/docs-ready: .venv/ready
	$(BIN)/pip install $(PIP_FLAGS) --constraint requirements.lock --editable '.[docs]'
	touch $@

wheel: build/wheel-tools/ready
	rm -rf dist
	build/wheel-tools/bin/pip wheel $(PIP_FLAGS) --no-deps --wheel-dir dist .
	build/wheel-tools/bin/twine check --strict dist/*.whl

build/wheel-tools/ready: requirements.lock
	$(PYTHON) -m venv build/wheel-tools
	build/wheel-tools/bin/pip install $(PIP_FLAGS) --constraint requirements.lock twine
	touch $@

bundle: setup wheel
	$(BIN)/python release/bundle.py --wheel dist/*.whl --machine $(MACHINE) --python $(PYTHON_VERSION) --extras '$(EXTRAS)'

sbom: setup
	$(BIN)/python release/sbom.py

audit: build/audit-tools/ready
	build/audit-tools/bin/python release/audit.py build/audit-tools/bin/pip-audit

build/audit-tools/ready:
	$(PYTHON) -m venv build/audit-tools
	build/audit-tools/bin/pip install $(PIP_FLAGS) pip-audit
	touch $@

bench: setup
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/training.py
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/whole_slice.py
	$(BIN)/python benchmarks/footprint.py

scale: setup
	$(BIN)/python benchmarks/scale.py $(OPTIONS)

faults: setup
	$(BIN)/python tests/hostile/faults/run.py $(if $(FULL),--full) $(OPTIONS)

any-network: .venv/peers-ready
	$(BIN)/python benchmarks/any_network.py $(OPTIONS)

.venv/peers-ready: .venv/ready
	$(BIN)/pip install $(PIP_FLAGS) --constraint requirements.lock --editable '.[peers]'
	touch $@

cases: setup
	$(BIN)/python benchmarks/cases.py

node-test: setup
	NODE_STUDIES=200 NODE_KILLS=30 $(BIN)/pytest tests/node/test_kills.py

arm64: setup
	$(BIN)/python benchmarks/arm64.py $(MODELS)

peers: setup
	$(if $(DATA),,$(error say where the data set is: make peers DATA=DIR))
	$(BIN)/python benchmarks/peers.py --data $(DATA) --output runs/peers $(OPTIONS)

paper-table: setup
	$(if $(DATA),,$(error say where the data set is: make paper-table DATA=DIR))
	$(BIN)/python paper/table.py --data $(DATA) $(OPTIONS)
