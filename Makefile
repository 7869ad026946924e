# make demo   sets up and runs the whole path on a generated shop        make check   lint, types and tests
# make test   sets up if needed and runs the tests                       make docs    rewrites docs/commands from --help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
COMPILER := $(shell for c in "$$CXX" c++ g++ clang++; do command -v "$$c" 2>/dev/null && break; done)
KERNELS := CMakeLists.txt $(wildcard graphlearn/native/*.cpp graphlearn/native/*.h graphlearn/native/*.hpp)

# cmake and ninja come with the pinned dependencies.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: demo test check lint docs setup native clean

demo: setup
	$(BIN)/graphlearn demo --out build/demo --force $(DEMO)

test: setup
	$(BIN)/pytest --numprocesses auto --dist loadfile $(PYTEST)

check: lint test

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict graphlearn

docs: setup
	$(BIN)/python docs/build.py

setup: $(VENV)/.installed $(VENV)/.native

# torch first and by its exact version, so that nothing later can choose another build of it.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "graphlearn needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python)." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt scikit-build-core nanobind cmake ninja
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

$(VENV)/.native: $(VENV)/.installed $(KERNELS)
ifeq ($(COMPILER),)
	@echo "No C++ compiler found: the kernels are not built, and torch does their work."
else
	$(MAKE) native
endif
	touch $@

native:
	cmake -S . -B build/native -G Ninja -DPython_EXECUTABLE=$(abspath $(BIN)/python) -DCMAKE_BUILD_TYPE=Release >/dev/null
	cmake --build build/native
	install -m 755 build/native/_kernels*.so graphlearn/native/

clean:
	rm -rf build dist $(VENV) graphlearn/native/_kernels*.so
