"""The rules of the package's layout, read from its source: who may import whom, and what nobody does."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import graphlearn

ROOT = Path(graphlearn.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if "_data" not in path.parts)

SHARED = ["errors", "typing", "native", "ops"]
MATH = ["nn"]
DATA = ["database", "schema", "tasks", "features", "graph", "sampling"]
JOINED = ["models", "training", "compress", "predict", "report", "cli"]
MAY_IMPORT = (
    {part: set(SHARED[: i + 1]) for i, part in enumerate(SHARED)}
    | {part: {*SHARED, part} for part in MATH}
    | {part: {*SHARED, *DATA[: i + 1]} for i, part in enumerate(DATA)}
    | {part: {*SHARED, *MATH, *DATA, *JOINED[: i + 1]} for i, part in enumerate(JOINED)}
)
MAY_IMPORT["cli"].add("__version__")


def complaints(part: str, source: str) -> Iterator[str]:
    """What the file ``source`` of the folder (or top-level module) ``part`` does and may not do."""
    for node in ast.walk(ast.parse(source)):
        for target in imported_parts(node):
            if target not in MAY_IMPORT[part]:
                yield f"line {node.lineno}: '{part}' may not import '{target}'"
        for module in imported_modules(node):
            if module.partition(".")[0] == "duckdb" and part not in DATA[: DATA.index("sampling")]:
                yield f"line {node.lineno}: '{part}' does not talk to DuckDB"
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name == "print" and part != "cli":
                yield f"line {node.lineno}: only 'cli' prints"
            if name.endswith(".cuda"):
                yield f"line {node.lineno}: devices are arguments; no .cuda()"
            if name in {"torch.manual_seed", "torch.seed", "random.seed", "np.random.seed"}:
                yield f"line {node.lineno}: the library seeds nothing"
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in {"torch.load", "torch.save", "pickle.load", "pickle.loads"}:
                yield f"line {node.lineno}: nothing is unpickled; {name}"
            if name == "sys.stdout" and part != "cli":
                yield f"line {node.lineno}: only 'cli' prints"


def imported_modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{'.' * node.level}{node.module or ''}"]
    return []


def imported_parts(node: ast.AST) -> Iterator[str]:
    """The folders of graphlearn that an import statement names; a relative import counts as unknown."""
    for module in imported_modules(node):
        if module.startswith("."):
            yield module
        elif module == "graphlearn":
            yield from [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else ["__version__"]
        elif module.startswith("graphlearn."):
            yield module.split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_file_keeps_the_rules(path):
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if part in {"__init__", "__main__"}:
        return
    found = list(complaints(part, path.read_text()))
    if path.relative_to(ROOT).as_posix() == "training/seed.py":  # the one place that seeds
        found = [text for text in found if "seeds nothing" not in text]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("part", "source", "complaint"),
    [
        ("nn", "import graphlearn.database", "'nn' may not import 'database'"),
        ("nn", "def f():\n    from graphlearn.schema.schema import Schema", "'nn' may not import 'schema'"),
        ("sampling", "from graphlearn.nn import RowEncoder", "'sampling' may not import 'nn'"),
        ("schema", "from graphlearn.tasks import Task", "'schema' may not import 'tasks'"),
        ("ops", "from graphlearn import nn", "'ops' may not import 'nn'"),
        ("graph", "import graphlearn", "'graph' may not import '__version__'"),
        ("graph", "from . import rows", "'graph' may not import '.'"),
        ("errors", "from graphlearn.ops import csr", "'errors' may not import 'ops'"),
        ("sampling", "import duckdb", "'sampling' does not talk to DuckDB"),
        ("models", "from duckdb import sql", "'models' does not talk to DuckDB"),
        ("training", "print(1)", "only 'cli' prints"),
        ("predict", "import sys\nsys.stdout.write('x')", "only 'cli' prints"),
        ("nn", "x.to(1).cuda()", "no .cuda()"),
        ("models", "torch.load(path)", "torch.load"),
        ("models", "torch.manual_seed(0)", "seeds nothing"),
    ],
)
def test_a_broken_rule_is_seen(part, source, complaint):
    assert any(complaint in text for text in complaints(part, source))


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("nn", "from graphlearn.ops.csr import gather_reduce\nfrom graphlearn.errors import check_positive"),
        ("models", "from graphlearn.nn import RowEncoder\nfrom graphlearn.schema import Schema"),
        ("sampling", "generator.manual_seed(0)"),
        ("cli", "import graphlearn\nprint(graphlearn.__version__)"),
        ("database", "import duckdb"),
    ],
)
def test_what_is_allowed_is_not_complained_about(part, source):
    assert not list(complaints(part, source))


PACKAGES = ["graphlearn"] + [
    module.name
    for module in pkgutil.walk_packages([str(ROOT)], "graphlearn.")
    if module.ispkg and "_data" not in module.name
]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_imports(package):
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    missing = [name for name in names if not hasattr(module, name)]
    assert not missing


def test_root_lists_what_it_loads_lazily():
    assert set(graphlearn.__all__) == {*graphlearn._HOME, "__version__"}
    assert set(graphlearn.__all__) <= set(dir(graphlearn))
    with pytest.raises(AttributeError, match="module 'graphlearn' has no attribute 'conect'"):
        _ = graphlearn.conect


@pytest.mark.parametrize("package", ["nn", "ops", "sampling"])
def test_layers_need_no_database(package):
    """With everything but torch, PyG and PyTorch Frame missing, the math trunk and the samplers still import."""
    blocked = ["duckdb", "relbench", "lightgbm", "typer", "rich", "sqlglot", "graphlearn.database", "graphlearn.schema"]
    code = f"import sys\nfor name in {blocked}:\n    sys.modules[name] = None\nimport graphlearn.{package}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_loads_neither_torch_nor_duckdb():
    code = (
        "import sys; from graphlearn.cli.exit import main; code = main(['--help'])\n"
        "heavy = {'torch', 'duckdb', 'pandas', 'numpy', 'pyarrow', 'torch_geometric'} & set(sys.modules)\n"
        "sys.exit(code or ' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
