# All set-up goes into .venv of this folder. Nothing but Python 3.11 or newer and a C++17 compiler is needed.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
SOURCES := pyproject.toml setup.py hpcthermo/gpu/compile.py $(wildcard hpcthermo/gpu/kernels/*.h)

.PHONY: demo test lint types contracts kernels clean

demo: $(STAMP)
	rm -rf runs/quick
	$(VENV)/bin/hpcthermo run jobs/gr_hbn_itc/quick.toml -n 2 --out runs/quick

test: $(STAMP)
	$(VENV)/bin/python -m pytest -m "not slow and not gpu" -n 2 --dist loadgroup --no-loadscope-reorder

lint: $(STAMP)
	$(VENV)/bin/ruff check .

types: $(STAMP)
	$(VENV)/bin/mypy

contracts: $(STAMP)
	$(VENV)/bin/lint-imports

# every GPU kernel to machine code for sm_80 and sm_90, without a GPU
kernels: $(STAMP)
	HPCTHERMO_REQUIRE_NVRTC=1 $(VENV)/bin/python -m pytest -n 2 tests/kernels/test_nvrtc.py

$(STAMP): $(SOURCES)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable '.[mpi,test,dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build runs hpcthermo/gpu/_build
