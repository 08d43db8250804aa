# `make pdf` and `make test` do everything, set-up included; see `make help`.
# PYTHON makes .cache/venv and lends it torch; no environment but that one is changed.
PYTHON ?= $(shell .venv/bin/python -c 'import importlib.util as u; u.find_spec("torch") or exit(1)' \
  2>/dev/null && echo .venv/bin/python || echo python3)
RUN := .cache/venv/bin/python
NEW := .cache/new.$$PPID
KEPT := || { echo "Stopped, for the reason above; hw2.ipynb and hw2.pdf are as they were."; exit 1; }

# What runs the cells, nbconvert and TeX sees nothing of the user's settings but these.
PASSED := http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY \
  NO_PROXY SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE TMPDIR \
  LD_LIBRARY_PATH OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
# With SOURCE_DATE_EPOCH, the same executed notebook gives the same PDF, byte for byte.
CLEAN := env -i PATH="$$PATH" HOME="$$PWD/.cache/home" $(foreach v,$(PASSED),$${$v+"$v=$$$v"}) \
  TZ=UTC0 PYTHONUTF8=1 PYTHONNOUSERSITE=1 PYTHONPYCACHEPREFIX="$$PWD/.cache/pyc" \
  JUPYTER_NO_CONFIG=1 JUPYTER_PREFER_ENV_PATH=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \
  SOURCE_DATE_EPOCH=946684800 FORCE_SOURCE_DATE=1 TEXINPUTS="$$PWD:" max_print_line=9999
NBCONVERT := $(CLEAN) $(RUN) -m nbconvert --log-level=WARN --config=.make/nbconvert.py

# make and nbconvert would pass over a missing file in silence.
SETTINGS := .make/nbconvert.py .make/hw2/conf.json .make/hw2/index.tex.j2
FILES := hw2.ipynb derivations.tex requirements.txt $(SETTINGS) .make/setup.sh .pytest.ini .ruff.toml
MISSING := $(filter-out $(wildcard $(FILES)),$(FILES))
$(if $(MISSING),$(error Missing: $(MISSING). Copy it from where the project came from, dot files too))

# The TeX files that the PDF needs, and what brings them.
STYLES := amsmath.sty array.sty booktabs.sty calc.sty enumitem.sty fancyvrb.sty \
  fontspec.sty geometry.sty graphicx.sty hyperref.sty latinmodern-math.otf \
  lmmono10-regular.otf lmroman10-regular.otf longtable.sty multicol.sty titlesec.sty tocloft.sty \
  ulem.sty unicode-math.sty upquote.sty xcolor.sty
APT := apt-get install -y --no-install-recommends texlive-xetex \
  texlive-fonts-recommended texlive-plain-generic lmodern

.DEFAULT_GOAL := help
.SUFFIXES:
.NOTPARALLEL:
.PRECIOUS: hw2.pdf .cache/venv/installed

.PHONY: help
help: ## list what make can do
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

.PHONY: pdf
pdf: hw2.pdf ## run every cell of hw2.ipynb anew, in place, and write hw2.pdf
	@digits=$$(sed -n '/^ *"\([0-9,]* digits from [^\\"]*\).*/{s//\1/p;q;}' hw2.ipynb); \
	  echo "hw2.ipynb and hw2.pdf are up to date, from one run$${digits:+ on $$digits}"

# Both files are made in a folder of their own and replaced when both are whole.
hw2.pdf: hw2.ipynb derivations.tex $(SETTINGS) .cache/venv/installed | tex
	@rm -rf .cache/new.* && mkdir -p $(NEW)/read && cp hw2.ipynb derivations.tex $(NEW)/read $(KEPT)
	@echo "Running every cell of hw2.ipynb (half a minute):"
	@$(NBCONVERT) --to=notebook --execute --output-dir=$(NEW) hw2.ipynb $(KEPT)
	@echo "Setting hw2.pdf:"
	@$(NBCONVERT) --to=pdf --output-dir=$(NEW) $(NEW)/hw2.ipynb $(KEPT)
	@for file in hw2.ipynb derivations.tex; do cmp -s $$file $(NEW)/read/$$file || { echo \
	  "$$file was saved while make ran: it stays as saved, hw2.pdf as it was. Run make again."; exit 1; }; done
	@mv -f $(NEW)/hw2.ipynb $(NEW)/hw2.pdf . $(KEPT)

.PHONY: test
test: .cache/venv/installed tex ## test the derivations, the notebook and the PDF
	@$(CLEAN) $(RUN) -m pytest

.PHONY: lint
lint: .cache/venv/installed ## check the style of notebook, tests and settings
	@$(CLEAN) $(RUN) -m ruff check -q --no-cache hw2.ipynb tests .make && echo "style: nothing to mend"

.PHONY: bench
bench: .cache/venv/installed ## measure the speeds that README.md quotes (half a minute)
	@$(CLEAN) $(RUN) tests/bench.py

.PHONY: lab
lab: .cache/venv/installed ## open the notebook in JupyterLab
	@unset PYTHONPATH PYTHONHOME; $(RUN) -m jupyterlab --allow-root hw2.ipynb

.PHONY: clean
clean: ## remove what make installed and built here (.cache), and nothing else
	rm -rf .cache

# One make at a time: the lock holds the number of the make that works here.
.PHONY: lock
lock:
	@[ -w . ] && mkdir -p .cache/home 2>/dev/null || { echo "This folder cannot be written to."; exit 1; }
	@df -Pk . | awk 'NR == 2 && $$4 < 50000 { print "The disk is full: free 50 MB."; exit 1 }'
	@(set -C; echo $$PPID >.cache/lock) 2>/dev/null || { read pid <.cache/lock; \
	  if [ "$$pid" != $$PPID ] && kill -0 "$$pid"; then echo "make number $$pid is at work in" \
	  "this folder: wait for it, or, if there is none, rm .cache/lock"; exit 1; fi; \
	  echo $$PPID >.cache/lock; } 2>/dev/null

# Its recipe runs each time; the file becomes newer only if something was installed.
.cache/venv/installed: requirements.txt lock
	@cmp -s requirements.txt $@ && $(CLEAN) $(RUN) -c 'import importlib.util as u; u.find_spec("torch") or exit(1)' \
	  2>/dev/null || sh .make/setup.sh "$(PYTHON)"

.PHONY: tex
tex:
	@has_tex() { command -v xelatex && $(CLEAN) kpsewhich $(STYLES); } >/dev/null; has_tex && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing TeX with apt-get (115 MB, one minute)"; \
	  { apt-get update && DEBIAN_FRONTEND=noninteractive $(APT); } >/dev/null; has_tex && exit; fi; \
	echo "The PDF needs TeX. Install it, then run make again:"; \
	echo "  Debian, Ubuntu: sudo $(APT)"; \
	echo "  Fedora: sudo dnf install texlive-scheme-medium texlive-titlesec texlive-tocloft"; \
	echo "  macOS: brew install --cask mactex-no-gui"; \
	echo "The notebook itself runs without TeX."; exit 1
