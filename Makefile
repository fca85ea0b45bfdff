# make demo   install, draw phantoms, compare three methods on them, classify a folder, learn one class more
# make test   install if need be, test
# make lint   ruff, format, types; CI runs both
# make test-pythons   test in an environment for each Python at hand, 3.10 to 3.13; PYTHONS="3.12" limits them
# make test-oldest   test with the oldest versions that pyproject.toml allows
# make constraints   constraints.txt anew: every package for every Python; NEWEST=1 takes the newest versions
# make dist   dist/: the wheel and the source distribution, and a list of what they hold
# make docs   the pages of docs/ as a site in build/site; every link is checked
# make licences   licences of all packages that are needed, extras included
# make test-deploy, test-label   make the environments of MONAI Deploy and MONAI Label, run the apps in them
# make test-spread   train in several processes, classify on a Ray cluster of this machine
# make test-wheel   build the wheel, install it without the checkout, train, classify and export with it
# make peers   our heads beside scikit-learn's and Avalanche's classifiers, in an environment that has Avalanche
# make test-faults   kill trainings at fifty moments, damage files, fill disks
# A machine with an NVIDIA GPU: make demo TORCH_INDEX=https://download.pytorch.org/whl/cu130
PYTHON ?= python3
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
NEW_CLASS := starburst
BIN := .venv/bin
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' dynammo/__init__.py)
LABEL_APP := dynammo/export/monai_label_app
DEPLOY_APP := dynammo/export/monai_deploy_app
# MONAI Label 0.8.5 was tried on Python 3.11 alone
LABEL_PYTHON ?= $(shell command -v python3.11 || echo $(PYTHON))

.PHONY: demo docs peers test test-deploy test-faults test-label test-oldest test-pythons test-spread test-wheel dist lint licences constraints clean

demo: export PATH := $(CURDIR)/$(BIN):$(PATH)
demo: export PYTHONWARNINGS := ignore
demo: .venv/installed
	@rm -rf demo/new demo/runs demo/report demo/dist && mkdir -p demo/known demo/new/train demo/new/test
	python -m data_prep.phantoms -o demo/data --only dermoscopy
	@for split in train test; do rm -rf demo/known/$$split && cp -r demo/data/dermoscopy/$$split demo/known && \
	  mv demo/known/$$split/$(NEW_CLASS) demo/new/$$split; done
	@echo "\n1. Seven classes in three tasks: fine-tuning forgets, DynaMMo (the paper) less, the recommended method least"
	python -m monai.bundle run training --config_file bundle/configs/train.yaml --dataset_dir demo/known \
	  --output_dir demo/runs/dynammo --increments "[2,2,3]" --weights first_task --stages 3 --image_size 64 \
	  --exemplars 40 --epochs 12 --milestones "[8,10]"
	dynammo compare demo/known --methods finetune,dynammo,analytic --overlay phantoms -o demo/runs
	@echo "\n2. Classify a folder, as a clinician does"
	dynammo classify -i demo/known/test -o demo/report -m demo/runs/analytic
	@echo "\n3. One more class, a month later, from the exported bundle and without the old images"
	dynammo export -m demo/runs/analytic -o demo/dist/dynammo_phantom_classification --no-onnx
	dynammo learn -m demo/dist/dynammo_phantom_classification -i demo/new -o demo/runs/one_class_more \
	  --test-data demo/known/test --max-drop 100
	@echo "\nShown: three methods on the same made-up images; a report; a class learnt later. Phantoms are no medicine."
	@echo "Open demo/report/report.html (the report) and demo/runs/comparison.png (the figure of the three methods)."
	@echo "On your images, a folder for each class: $(BIN)/dynammo train FOLDER -o runs/first"
	@echo "What that says first, and what else there is: README.md; all trainings of the demo: $(BIN)/dynammo ui demo/runs"

test: .venv/installed
	$(BIN)/python -m pytest

test-pythons:
	$(PYTHON) .ci/pythons.py test

# what compares this environment with constraints.txt is left out
test-oldest: .venv-oldest/installed
	.venv-oldest/bin/python -m pytest --ignore tests/docs/test_contributing.py

test-deploy: .venv/installed .venv-deploy/installed
	$(BIN)/python -m pytest -n 0 -m deploy tests/deploy

test-label: .venv/installed .venv-label/installed
	$(BIN)/python -m pytest -n 0 -m label tests/label

test-spread: .venv/installed
	$(BIN)/python -m pytest -n 0 -m spread

test-wheel: .venv/installed
	$(BIN)/python -m pytest -n 0 -m wheel tests/wheel

test-faults: .venv/installed
	$(BIN)/python -m pytest -n 0 -m faults tests/faults

# the apps run where dynammo is not installed, each with its own folder as home
lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=$(LABEL_APP) $(BIN)/mypy --explicit-package-bases $(LABEL_APP)/*.py $(LABEL_APP)/lib/*.py
	MYPYPATH=$(DEPLOY_APP) $(BIN)/mypy --explicit-package-bases $(DEPLOY_APP)/*.py

# the wheel is built from the source distribution, so that neither holds what an earlier build left
dist: .venv/installed
	$(BIN)/python -m build --no-isolation
	tar -tzf dist/dynammo-$(VERSION).tar.gz
	$(BIN)/python -m zipfile -l dist/dynammo-$(VERSION)-py3-none-any.whl

docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict
	! grep -rnE '<(script|img|iframe|source|link)[^>]* (src|href)="?(https?:)?//' build/site --include=*.html
	@echo "look at it: python -m http.server -d build/site"

peers: .venv-peers/installed
	.venv-peers/bin/python -m pytest -n 0 tests/benchmarks/test_avalanche_learners.py
	.venv-peers/bin/python -m benchmarks peers --json docs/results/peers.json --features runs/features

licences: .venv/installed
	$(BIN)/python .ci/licences.py

constraints: .venv/installed
	$(BIN)/python .ci/pythons.py constraints $(if $(NEWEST),--newest)

# an environment with $(1), a Python, and the versions of $(2), a file; torch first: the index of CPU builds is used
# where it can be reached or a CPU build lies at hand
define install
	test -x $(@D)/bin/python || $(1) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --retries 1 -c $(2) --extra-index-url $(TORCH_INDEX) torch
	$(@D)/bin/python -m pip install --quiet -c $(2) -e ".[dev]"
	touch $@
endef

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13) and \
	  'Python 3.10 to 3.13 is needed, this is ' + sys.version.split()[0] + '; type make PYTHON=python3.12')"
	$(call install,$(PYTHON),constraints.txt)

.venv-3.%/installed: pyproject.toml constraints.txt
	$(call install,$(PYTHON),constraints.txt)

.venv-oldest/installed: pyproject.toml
	mkdir -p $(@D)
	$(PYTHON) .ci/pythons.py oldest > $(@D)/constraints.txt
	$(call install,$(PYTHON),$(@D)/constraints.txt)

# torchvision by itself: it would fetch a torch of its own, and nothing of it is used
.venv-peers/installed: pyproject.toml constraints.txt
	$(call install,$(PYTHON),constraints.txt)
	$(@D)/bin/python -m pip install --quiet --no-deps torchvision
	$(@D)/bin/python -m pip install --quiet -c constraints.txt avalanche-lib==0.6.0
	touch $@

# torch first, then the rest without the index of CPU builds, which is slow where it cannot be reached
.venv-deploy/installed: tests/deploy/constraints.txt $(DEPLOY_APP)/requirements.txt
	test -x .venv-deploy/bin/python || $(PYTHON) -m venv .venv-deploy
	.venv-deploy/bin/python -m pip install --quiet --retries 1 -c tests/deploy/constraints.txt \
	  --extra-index-url $(TORCH_INDEX) torch
	.venv-deploy/bin/python -m pip install --quiet -c tests/deploy/constraints.txt -r $(DEPLOY_APP)/requirements.txt
	touch $@

# torch first, and what builds packages: isolated builds would fetch a torch of their own
.venv-label/installed: $(LABEL_APP)/constraints.txt $(LABEL_APP)/requirements.txt
	$(LABEL_PYTHON) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11) and \
	  'MONAI Label needs Python 3.11, this is ' + sys.version.split()[0] + '; type make test-label LABEL_PYTHON=python3.11')"
	test -x .venv-label/bin/python || $(LABEL_PYTHON) -m venv .venv-label
	.venv-label/bin/python -m pip install --quiet --retries 1 -c $(LABEL_APP)/constraints.txt \
	  --extra-index-url $(TORCH_INDEX) torch setuptools wheel
	.venv-label/bin/python -m pip install --quiet -c $(LABEL_APP)/constraints.txt --no-build-isolation \
	  -r $(LABEL_APP)/requirements.txt
	touch $@

# what dynammo[docs] names, without dynammo: pages are made of sources, and nothing is imported
.venv-docs/installed: .venv/installed
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	$(BIN)/python -c "from importlib.metadata import requires; \
	  print(*(line.split(';')[0] for line in requires('dynammo') if 'docs' in line.partition(';')[2]), sep='\n')" \
	  > .venv-docs/requirements.txt
	.venv-docs/bin/python -m pip install --quiet -r .venv-docs/requirements.txt
	touch $@

clean:
	rm -rf .venv .venv-* demo
