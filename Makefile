# `make pdf` and `make test` do everything, set-up included; see `make help`.
PYTHON ?= python3

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.NOTPARALLEL:
SHELL := /bin/sh

# The build answers to this folder alone: no settings of the user's, and
# nothing written outside.
HERE := $(CURDIR)
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP MPLBACKEND MATPLOTLIBRC
unexport PYTHONWARNINGS PYTHONOPTIMIZE PYTHONSAFEPATH PYTHONDEVMODE
unexport PIP_TARGET PIP_PREFIX TEXINPUTS
export PYTHONNOUSERSITE = 1
export PYTHONDONTWRITEBYTECODE = 1
export PYTHONUTF8 = 1
export JUPYTER_NO_CONFIG = 1
export JUPYTER_PLATFORM_DIRS = 0
export JUPYTER_PATH =
export JUPYTER_CONFIG_DIR = $(HERE)/.cache/jupyter
export JUPYTER_DATA_DIR = $(HERE)/.cache/jupyter
export JUPYTER_RUNTIME_DIR = $(HERE)/.cache/jupyter/runtime
export IPYTHONDIR = $(HERE)/.cache/ipython
export MPLCONFIGDIR = $(HERE)/.cache/matplotlib
export TEXMFVAR = $(HERE)/.cache/texmf-var
export HYPOTHESIS_STORAGE_DIRECTORY = $(HERE)/.cache/hypothesis
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_REQUIRE_VIRTUALENV =
export PIP_USER = 0

RUN := .venv/bin/python

.PHONY: help
help: ## list what make can do
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

.PHONY: pdf
pdf: env ## run every cell of hw2.ipynb anew, in place, and write hw2.pdf
	@$(RUN) .make/build.py

.PHONY: test
test: env ## test the derivations, the dataset, the solvers and the PDF
	@$(RUN) -m pytest -c .make/pytest.ini --rootdir . -n 2 --dist worksteal tests

.PHONY: lint
lint: venv ## check the style of notebook and tests
	@$(RUN) -m ruff check --config .make/ruff.toml --cache-dir .cache/ruff hw2.ipynb tests .make

.PHONY: bench
bench: env ## measure the speeds that the README quotes (about 5 minutes)
	@$(RUN) -m pytest -c .make/pytest.ini --rootdir . -p no:randomly -s -o python_files='bench_*.py' tests/bench

.PHONY: lab
lab: venv ## open the notebook in JupyterLab
	@$(RUN) -m jupyterlab --ServerApp.allow_root=True hw2.ipynb

.PHONY: clean
clean: ## remove .venv and .cache (hw2.ipynb, hw2.pdf and TeX stay)
	rm -rf .venv .cache tests/__pycache__ tests/bench/__pycache__

.PHONY: env venv
env:
	@$(PYTHON) .make/env.py
venv:
	@$(PYTHON) .make/env.py notex
