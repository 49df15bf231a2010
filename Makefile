# What a developer does, and CI does the same. `make help` lists it.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PIP := -m pip install --quiet --disable-pip-version-check
PYTEST := -m pytest tests --numprocesses 4 --dist worksteal
PARTS := slow properties masks zones cases mutants capture v4l2 broker daemon_faults running_faults daemon_broker daemon_stops deb pauses identities rabbitmq cloud_budget cloud_servers deepstack_clients mutants_of_ours store_kills hands bad_models fleet watching outbox_cuts event_cuts home_assistant ingest prometheus page_attacks standing planted_secrets unfit silence collect drift soak arm mediapipe compare_steps convert quantizer returning steps rollouts rolls configure
PATIENT := slow masks pauses home_assistant ingest prometheus identities rabbitmq cloud_servers bad_models fleet hands page_attacks silence standing drift returning rolls configure
LANE = @for part in $(1); do \
	  echo "campaign $$part"; from=$$(date +%s); \
	  .venv/bin/python tests/campaign/$$part.py --state .campaign/$$part.json $(ARGS) || exit; \
	  echo "campaign $$part: $$(($$(date +%s) - from)) s"; \
	done
# tests, bench, examples and tools import one another from the project's root, wherever they are started.
AT_ROOT = @pwd > "$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vedette-root.pth"
MODEL ?=
SOURCE ?=
ARGS ?=

.PHONY: help setup setup-tflite deps deps-test run test quick test-tflite check campaign campaign-busy campaign-patient bench model docs screenshot \
  lock deb install uninstall clean

help:            ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: .venv/.ready  ## make .venv, where .venv/bin/vedette is the command

setup-tflite: .venv-tflite/.ready  ## make .venv-tflite with the other runtime (Python 3.11)

.venv/.ready: pyproject.toml locks/dev.txt
	@python=$$(tools/find-python) && $$python -m venv .venv
	tools/install-locked .venv/bin/python locks/dev.txt -e .
	$(call AT_ROOT,.venv)
	@touch $@

# LiteRT is left out of this environment: what is not there cannot be preferred by accident.
.venv-tflite/.ready: pyproject.toml locks/dev-tflite.txt
	@python=$$(tools/find-python 11) && $$python -m venv .venv-tflite
	tools/install-locked .venv-tflite/bin/python locks/dev-tflite.txt -e .
	$(call AT_ROOT,.venv-tflite)
	@touch $@

deps:            ## install the system packages that are missing (as root or with sudo)
	@tools/deps

deps-test:       ## the same, and those that only tests need
	@tools/deps faketime
	@tools/deps chromium chromedriver=chromium-driver || echo "no Chromium: tests of the page in a browser are skipped"
	@tools/prometheus >/dev/null || echo "no promtool: tests with it are skipped"

run: deps setup  ## watch the daemon, without a camera or a model: or make run MODEL=m.tflite SOURCE=film.mp4
	@exec .venv/bin/python tools/demo.py --model "$(MODEL)" --source "$(SOURCE)" $(ARGS)

check: setup     ## ruff and mypy
	.venv/bin/ruff check
	.venv/bin/mypy

test: deps-test check  ## ruff, mypy, and every test with branch coverage
	.venv/bin/python $(PYTEST) --cov --cov-report=term $(ARGS)

quick: setup     ## the tests that start no daemon, in about a minute
	.venv/bin/python $(PYTEST) -m "not daemon and not slow" $(ARGS)

test-tflite: deps-test setup-tflite  ## every test on tflite-runtime
	.venv-tflite/bin/python $(PYTEST) $(ARGS)

campaign: deps-test setup  ## the long runs, resumable: make campaign PART=mutants (PARTS lists them)
	@mkdir -p .campaign
	@began=$$(date +%s); $(MAKE) --no-print-directory --jobs 2 campaign-busy campaign-patient && \
	  echo "campaign: $$(($$(date +%s) - began)) s in all"

# Two lanes, for two cores: those of the second mostly wait.
campaign-busy:
	$(call LANE,$(filter-out $(PATIENT),$(or $(PART),$(PARTS))))

campaign-patient:
	$(call LANE,$(filter $(PATIENT),$(or $(PART),$(PARTS))))

bench: deps-test setup  ## a measurement side by side: make bench PART=accuracy ARGS='…'
	@if [ -z "$(PART)" ]; then echo "PART= one of:"; ls bench/*.py | sed 's/.*\/\(.*\)\.py/  \1/'; exit 64; fi
	@.venv/bin/python bench/$(PART).py $(ARGS)

# An environment of its own: torch is never needed where the model only runs.
.venv-train/.ready: pyproject.toml
	@python=$$(tools/find-python) && $$python -m venv .venv-train
	.venv-train/bin/python $(PIP) -e '.[train]'
	@touch $@

# Golden frames hold for a runtime family, so both runtimes add theirs. `vedette model pack` on an ARM adds ARM's.
model: .venv-train/.ready setup setup-tflite  ## train the model in the box again, from scratch: models/vedette-street.tflite
	.venv-train/bin/python -m models.train $(ARGS)
	.venv/bin/python -m models.train.golden .train/golden
	.venv/bin/vedette model eval --model models/vedette-street.tflite --source synthetic --frames 500 \
	  --iou-threshold 0.6 --baseline-out .train/baseline.json
	.venv/bin/vedette model pack models/vedette-street.tflite --golden .train/golden/*.png \
	  --baseline .train/baseline.json -o .train/packed.tflite
	.venv-tflite/bin/vedette model pack .train/packed.tflite -o models/vedette-street.tflite

docs: setup      ## write again what is generated: config.yaml and parts of docs/
	.venv/bin/python -m vedette.config.render .
	.venv/bin/python -m vedette.cli.schemas docs
	.venv/bin/python -m vedette.health.reasons > docs/reasons.md
	.venv/bin/python -m vedette.page.metrics > docs/metrics.md
	.venv/bin/python -m tests.support.models.exporters > docs/exporters.md

screenshot: deps-test setup  ## take the picture of the page in README again: docs/page.jpg
	.venv/bin/python tools/screenshot.py

lock: setup      ## write locks/ again after a change of pyproject.toml; ARGS=--upgrade takes all newest versions
	tools/lock $(ARGS)

deb:             ## build the Debian package of this machine: or make deb SUITE=trixie ARCH=arm64 (as root)
	SUITE='$(SUITE)' ARCH='$(ARCH)' tools/deb

install:         ## install the daemon and its unit on this machine (as root)
	systemd/install.sh

uninstall:       ## remove them; PURGE=1 removes configuration and state too
	systemd/uninstall.sh

clean:           ## remove what runs leave behind; the environments stay
	rm -rf .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .campaign build
	find daemon tests bench tools -name __pycache__ -type d -prune -exec rm -rf {} +
