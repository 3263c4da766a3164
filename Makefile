# make help says what there is. Needs Python 3.11 and make, nothing else.
STUDY ?= demo
PYTHON ?= python3.11
CORES ?= $(shell $(PYTHON) -c "import os; print(os.cpu_count())")
SET ?=
BACKEND ?=
REDRAW ?=
OPTIONS ?=
# 00_index is read first and run last
NOTEBOOKS = $(wildcard notebooks/[1-9]*.ipynb) notebooks/00_index.ipynb
RUN = .venv/bin/python workflow/workbook.py $(STUDY) --cores $(CORES) $(if $(SET),--set $(SET)) $(if $(BACKEND),--backend $(BACKEND)) $(if $(REDRAW),--redraw)
export OMP_NUM_THREADS = 1

.DEFAULT_GOAL := help
.PHONY: help workbook extended calibrate plan test test-all lab notebooks extras weights backends thesis book slides lint clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'
	@echo "  STUDY=demo      which file of params/ (toy, hybrid, onion_sample, my_dataset …)    SET='n_users=300 seed=7' changes parameters"
	@echo "  BACKEND=crepe   one backend more, kept for later runs of the study                   REDRAW=1 draws figures of earlier drawing code anew"

workbook: .venv/.ready ## run a study from audio to answers (STUDY=demo), in parallel, resuming where it stopped
	@echo "workbook: study $(STUDY), results in runs/$(STUDY); stop it any time, the next run goes on from there"
	@$(RUN)
	@.venv/bin/python workflow/finish.py answers $(STUDY) $(if $(SET),--set $(SET))

extended: .venv/.ready ## make workbook, and hybrids on all backends, layers, published variants, tuning, scarcity
	@echo "extended: study $(STUDY), results in runs/$(STUDY); stop it any time, the next run goes on from there"
	@echo "extended: first the search for options, which all that follows uses"
	@$(RUN) --tune
	@.venv/bin/python workflow/finish.py tuned $(STUDY) $(if $(SET),--set $(SET))
	@$(RUN) --extended
	@.venv/bin/python workflow/finish.py answers $(STUDY) $(if $(SET),--set $(SET))

calibrate: .venv/.ready ## worlds with known answers: how often the workbook finds what was planted, and what was not
	@.venv/bin/python workflow/calibrate.py --cores $(CORES)

plan: .venv/.ready ## what make workbook would do: jobs, time, disk, what is missing
	@$(RUN) --plan

test: lint ## lint, unit and golden tests, the toy study through the workflow, then nbval on every notebook
	@echo "test: unit and golden tests, then the toy study through the workflow, then every notebook under nbval"
	.venv/bin/python -m pytest tests -m "not slow" --numprocesses $(CORES) --dist loadfile
	@echo "test: the toy study, then every notebook against its stored outputs, in stage order"
	.venv/bin/python workflow/workbook.py toy --cores $(CORES)
	WORKBOOK_LOG=/dev/null .venv/bin/python -m pytest --nbval --nbval-sanitize-with tests/nbval.cfg $(NOTEBOOKS)

test-all: test ## make test, and the slow tests
	.venv/bin/python -m pytest tests -m slow

lab: .venv/.ready ## JupyterLab on the notebooks; every one runs as it is on the toy study (which this runs first)
	@test -e runs/toy/executed/00_index.ipynb || $(MAKE) --no-print-directory workbook STUDY=toy SET=
	@echo "lab: nothing is saved unless you do (Ctrl+S), and 'git restore notebooks' takes that back; Ctrl+C twice stops it"
	@.venv/bin/python workflow/lab.py $(OPTIONS)

notebooks: .venv/.ready-test ## run every notebook on the toy study and store its outputs in place
	.venv/bin/python workflow/refresh.py

extras: .venv/.ready-extra ## backends inside other packages: crepe, crepe_tiny, vibenet, mule (100 MB; vibenet and mule-torch are GPL-3.0)

weights: .venv/.ready ## fetch a backend's published weights ahead of time (BACKEND=mert_95m)
	@.venv/bin/python -m lib weights $(BACKEND)

backends: .venv/.ready-test ## what every backend was proven to do, and what it costs (some 20 minutes)
	.venv/bin/python benchmarks/backends.py --out benchmarks/backends.md

thesis: .venv/.ready ## a study's figures, tables and numbers into figures/, and a PDF of all of them
	@.venv/bin/python workflow/finish.py thesis $(STUDY) $(if $(SET),--set $(SET))

book: .venv/.ready ## a study's executed notebooks as a site to read, runs/<study>/book/index.html; needs no network
	@.venv/bin/python workflow/finish.py book $(STUDY) $(if $(SET),--set $(SET))

slides: .venv/.ready ## a study's answers as slides, runs/<study>/slides/; HTML and PDF where there is Node and Chromium
	@.venv/bin/python workflow/finish.py slides $(STUDY) $(if $(SET),--set $(SET))

lint: .venv/.ready-test ## ruff, on notebooks too, and the order of the packages of lib
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports

clean: ## delete the results of a study (STUDY=); keeps the shared cache
	rm -rf runs/$(STUDY)

# torch first and by itself; tinysoundfont without its dependencies (pyaudio needs portaudio, which rendering does not)
.venv/.ready: requirements.txt requirements.lock pyproject.toml
	@echo "installing into .venv: about 3 GB, a few minutes"
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet -c requirements.lock torch
	.venv/bin/pip install --quiet -c requirements.lock -r requirements.txt
	.venv/bin/pip install --quiet --no-deps -c requirements.lock tinysoundfont
	.venv/bin/pip install --quiet --no-deps --editable .
	@touch $@

.venv/.ready-extra: .venv/.ready requirements-extra.txt
	@echo "installing the packages of optional backends"
	.venv/bin/pip install --quiet --no-deps -c requirements.lock -r requirements-extra.txt
	@touch $@

.venv/.ready-test: .venv/.ready-extra requirements-test.txt
	@echo "installing what the tests need besides"
	.venv/bin/pip install --quiet -c requirements.lock -r requirements-test.txt
	@touch $@
