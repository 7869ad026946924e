PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: native
native:
	cmake -S . -B build/native -G Ninja -DPython_EXECUTABLE=$(abspath $(BIN)/python) -DCMAKE_BUILD_TYPE=Release >/dev/null
	cmake --build build/native
	install -m 755 build/native/_kernels*.so graphlearn/native/
