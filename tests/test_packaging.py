"""The wheel, built by pip as a user's machine would build it: with a C++ compiler, and without one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import graphlearn

ROOT = Path(__file__).parents[1]
COMPILER = next(filter(None, map(shutil.which, [os.environ.get("CXX") or "c++", "g++", "clang++"])), None)


def build_wheel(folder: Path, *options: str, **env: str) -> Path:
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [*pip, "-w", str(folder), *options, str(ROOT)]
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("graphlearn-*.whl"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("no C++ compiler on this machine")
    # The objects are kept in build/, which git ignores: only what changed is compiled again.
    return build_wheel(tmp_path_factory.mktemp("compiled"), "-C", f"build-dir={ROOT / 'build' / 'wheel'}")


@pytest.fixture(scope="module")
def pure(tmp_path_factory):
    """Built where no compiler can be found: the PATH holds Python and the build tools only, and CXX names nothing."""
    tools = tmp_path_factory.mktemp("tools")
    beside_python = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for name in ("cmake", "ninja"):
        (tools / name).symlink_to(shutil.which(name, path=beside_python))
    env = {"PATH": str(tools), "CXX": str(tools / "no-such-compiler"), "CC": str(tools / "no-such-compiler")}
    return build_wheel(tmp_path_factory.mktemp("pure"), **env)


def contents(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def kernels_in(wheel: Path) -> list[str]:
    return [name for name in contents(wheel) if re.fullmatch(r"graphlearn/native/_kernels\..*(so|pyd)", name)]


def run_installed(wheel: Path, folder: Path, code: str) -> str:
    """What ``code`` prints when the wheel is all that is installed of graphlearn."""
    zipfile.ZipFile(wheel).extractall(folder)
    # -S leaves out the .pth files of the environment, and with them the editable install of this checkout.
    start = f"import sys; sys.path[:0] = [{str(folder)!r}, {sysconfig.get_path('purelib')!r}]; "
    done = subprocess.run([sys.executable, "-I", "-S", "-c", start + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_with_a_compiler_the_wheel_has_the_kernels(compiled, tmp_path):
    assert len(kernels_in(compiled)) == 1
    code = "import graphlearn.native as native; print(native.kernels.__file__)"
    assert run_installed(compiled, tmp_path, code).startswith(str(tmp_path))


def test_without_a_compiler_the_package_installs_and_runs(pure, tmp_path):
    assert kernels_in(pure) == []
    assert run_installed(pure, tmp_path, "import graphlearn.native as native; print(native.kernels)") == "None\n"
    code = "from graphlearn.cli.exit import main; main(['--version'])"
    assert run_installed(pure, tmp_path, code).startswith(f"graphlearn {graphlearn.__version__} (no native kernels, ")


def test_both_wheels_hold_the_same_otherwise(compiled, pure):
    assert contents(compiled) - contents(pure) == set(kernels_in(compiled))
    assert contents(pure) <= contents(compiled)


def test_wheel_holds_what_a_user_needs_and_nothing_else(pure):
    names = contents(pure)
    assert {"graphlearn/py.typed", "graphlearn/_data/shop/generate.py", "graphlearn/__main__.py"} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"graphlearn"}
    assert not [name for name in names if name.endswith((".cpp", ".pyc", ".h"))]


def test_the_demo_finds_its_generator_in_the_wheel(pure, tmp_path):
    code = (
        "from graphlearn.cli.demo import load_generator; made = load_generator(); "
        "print(made.__file__, sorted(made.generate(customers=20)), sep='\\n')"
    )
    place, tables = run_installed(pure, tmp_path, code).splitlines()
    assert place == str(tmp_path / "graphlearn/_data/shop/generate.py")
    assert "customers" in tables


def test_every_module_of_the_checkout_is_in_the_wheel(pure):
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "graphlearn").rglob("*.py")}
    assert files <= contents(pure)


def test_wheel_says_what_it_is(pure):
    with zipfile.ZipFile(pure) as archive:
        read = {
            name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist() if "dist-info" in name
        }
    assert f"\nVersion: {graphlearn.__version__}\n" in read["METADATA"]
    assert "\nLicense-Expression: MIT\n" in read["METADATA"]
    assert "\nRequires-Python: >=3.11\n" in read["METADATA"]
    assert "graphlearn = graphlearn.cli.exit:main" in read["entry_points.txt"]


def test_constraints_pin_torch_first_and_everything_else_once():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "torch==2.13.0"  # no local version: any machine may have its own build of it
    names = [re.fullmatch(r"([A-Za-z0-9._-]+)==[A-Za-z0-9.]+", line)[1] for line in lines]
    assert len(set(map(str.lower, names))) == len(names)


def test_constraints_cover_every_dependency():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    plain = {re.split(r"[<>=!~\[ ]", text)[0].lower().replace("_", "-") for text in wanted}
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert plain <= pinned
