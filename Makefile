# `make pdf` and `make test` do everything, set-up included; see `make help`.
PYTHON ?= python3
RUN := .venv/bin/python
NEW := .cache/new
KEPT := || { echo "Stopped, for the reason above; hw2.ipynb and hw2.pdf are as they were."; exit 1; }
TEX_KEPT := || { echo "(For a fault in derivations.tex, xelatex derivations.tex names its line.)"; false; } $(KEPT)
NBCONVERT := $(RUN) -m nbconvert --log-level=WARN --config=.make/nbconvert.py

# The TeX files that the PDF needs, and what brings them.
STYLES := amsmath.sty array.sty booktabs.sty calc.sty enumitem.sty fancyvrb.sty \
  fontspec.sty geometry.sty graphicx.sty hyperref.sty latinmodern-math.otf \
  lmmono10-regular.otf lmroman10-regular.otf longtable.sty titlesec.sty tocloft.sty \
  unicode-math.sty upquote.sty xcolor.sty
APT := apt-get install -y --no-install-recommends texlive-xetex \
  texlive-fonts-recommended texlive-plain-generic lmodern

.DEFAULT_GOAL := help
.SUFFIXES:
.NOTPARALLEL:
.PRECIOUS: hw2.pdf
export JUPYTER_NO_CONFIG = 1
export PYTHONNOUSERSITE = 1
export PYTHONDONTWRITEBYTECODE = 1
# With these two, the same executed notebook gives the same PDF, byte for byte.
export SOURCE_DATE_EPOCH = 946684800
export FORCE_SOURCE_DATE = 1

.PHONY: help
help: ## list what make can do
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

.PHONY: pdf
pdf: tex hw2.pdf ## run every cell of hw2.ipynb anew, in place, and write hw2.pdf
	@echo "hw2.ipynb and hw2.pdf are up to date, from one run:" \
	  "$$(grep -oE '[0-9,]+ digits from [a-z]+' hw2.ipynb)"

# Both files are made in a folder of their own and replaced when both are whole.
hw2.pdf: hw2.ipynb derivations.tex .venv/installed $(wildcard .make/*.py .make/hw2/*)
	@rm -rf $(NEW) && mkdir -p $(NEW)
	@echo "Running every cell of hw2.ipynb (half a minute):"
	@$(NBCONVERT) --to=notebook --execute --output-dir=$(NEW) hw2.ipynb $(KEPT)
	@echo "Setting hw2.pdf:"
	@$(NBCONVERT) --to=pdf --output-dir=$(NEW) $(NEW)/hw2.ipynb $(TEX_KEPT)
	@mv -f $(NEW)/hw2.ipynb $(NEW)/hw2.pdf .

.PHONY: test
test: .venv/installed tex ## test the derivations, the notebook and the PDF
	@$(RUN) -m pytest -c .make/pytest.ini --rootdir=. -n 3 tests

.PHONY: lint
lint: .venv/installed ## check the style of notebook, tests and settings
	@$(RUN) -m ruff check -q --no-cache --config=.make/ruff.toml hw2.ipynb tests .make
	@echo "style: nothing to mend"

.PHONY: bench
bench: .venv/installed ## measure the speeds that README.md quotes (1 to 2 minutes)
	@$(RUN) tests/bench.py

.PHONY: lab
lab: .venv/installed ## open the notebook in JupyterLab
	@$(RUN) -m jupyterlab --allow-root hw2.ipynb

.PHONY: clean
clean: ## remove what make installed and built here, but no file of the homework
	rm -rf .venv .cache

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit( \
	  "Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is %d.%d: make PYTHON=python3.11 ..." % v)'
	@echo "Installing requirements.txt into .venv (6 GB, 9 on the way; 2 to 10 quiet minutes)"
	@rm -rf .venv && $(PYTHON) -m venv .venv && $(RUN) -m pip install -q --disable-pip-version-check \
	  -r requirements.txt || { echo "Set-up failed, for the reason above. If" \
	  "the network failed, run make again; if venv is missing: apt-get install python3-venv."; exit 1; }
	@touch $@

.PHONY: tex
tex:
	@missing() { command -v xelatex >/dev/null && kpsewhich $(STYLES) | wc -l | grep -qx '$(words $(STYLES))' && return 1; return 0; }; \
	missing || exit 0; \
	sudo=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); \
	if command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
	  echo "Installing TeX with apt-get (115 MB, one minute)"; \
	  { $$sudo apt-get update && $$sudo env DEBIAN_FRONTEND=noninteractive $(APT); } >/dev/null; \
	  missing || exit 0; fi; \
	echo "The PDF needs TeX. Install it, then run make again:"; \
	echo "  Debian, Ubuntu: sudo $(APT)"; \
	echo "  Fedora: sudo dnf install texlive-scheme-medium texlive-titlesec texlive-tocloft"; \
	echo "  macOS: brew install --cask mactex-no-gui"; \
	echo "The notebook itself runs without TeX."; exit 1
