# make run     a study on the embedded default: no GPU, key or network needed once installed
# make test    the whole test suite; tests marked gpu are skipped where there is no GPU
# make check   formatting, lint and types
# make lock    write requirements.lock anew from pyproject.toml

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: run test check lock

run: $(STAMP)
	$(BIN)/python run.py

test: $(STAMP)
	$(BIN)/python -m pytest -q

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# the stamp is written last, so that an install that was cut off is taken up again
$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, but $(PYTHON) is %d.%d; try make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Installing into $(VENV): some minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $(STAMP)

lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet .[dev] torch==2.13.0 triton==3.7.1
	{ sed -n '/^#/p' requirements.lock; \
	  $(VENV)-lock/bin/pip freeze --exclude tritonexp --exclude-editable | sed 's/+cpu//' | grep -v '^nvidia-\|^cuda-'; \
	} > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf $(VENV)-lock
