"""Import direction, light imports, docstrings and packaging of the whole project."""

import ast
import importlib
import inspect
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# epgbloch <- surrogate, dictionaries <- reconstruction, design <- jobs; side by side means apart
LAYERS = (("epgbloch",), ("surrogate", "dictionaries"), ("reconstruction", "design"), ("jobs",))
LAYER_OF = {package: i_layer for i_layer, layer in enumerate(LAYERS) for package in layer}
PACKAGES = [package for package in LAYER_OF if (ROOT / package).is_dir()]
FILES = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(source, path):
    """Dotted names that a file imports anywhere, `from a import b` as a.b, relative ones resolved."""
    package = path.with_suffix("").parts[:-1]
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*start, *filter(None, [node.module])))
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


def violations(source, path):
    """Imports of a file that break the layout."""
    importer = path.parts[0]
    found = []
    for name in imports(source, path):
        package = name.partition(".")[0]
        upward = package != importer and LAYER_OF.get(package, -1) >= LAYER_OF[importer]
        private_kernel = importer != "epgbloch" and f"{name}.".startswith("epgbloch.kernels.")
        # vectors in registers are for kernels of every package
        if "kernels" in path.parts and f"{name}.".startswith("epgbloch.kernels.lanes."):
            private_kernel = False
        if upward or private_kernel or package in ("tests", "benchmarks"):
            found.append(name)
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_follow_the_layers(path):
    assert violations((ROOT / path).read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("epgbloch/a.py", "import dictionaries", ["dictionaries"]),
        ("epgbloch/a.py", "def f():\n    from jobs.cli import main", ["jobs.cli.main"]),
        ("dictionaries/a.py", "from surrogate import x", ["surrogate.x"]),
        ("surrogate/a.py", "import numpy, dictionaries.grid as g", ["dictionaries.grid"]),
        ("design/b/a.py", "from reconstruction import maps", ["reconstruction.maps"]),
        ("reconstruction/a.py", "if TYPE_CHECKING:\n    import design", ["design"]),
        ("jobs/a.py", "from epgbloch import kernels", ["epgbloch.kernels"]),
        ("dictionaries/a.py", "import epgbloch.kernels.layout", ["epgbloch.kernels.layout"]),
        ("epgbloch/a.py", "from tests import x", ["tests.x"]),
        ("epgbloch/kernels/a.py", "from ..kernels import layout\nfrom . import b\nimport numba", []),
        ("design/b/a.py", "from ...jobs import x", ["jobs.x"]),
        ("jobs/a.py", "import design, surrogate\nfrom epgbloch import Tissue, kernels_of", []),
        ("reconstruction/a.py", "from dictionaries import Grid\nfrom reconstruction.maps import Maps", []),
    ],
)
def test_violations_are_recognised(path, source, found):
    assert violations(source, Path(path)) == found


def modules_after(code):
    """Top-level modules that a fresh interpreter holds after running `code`."""
    report = "import sys; print('\\n', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


HELP = """
import sys
from jobs.cli import main
sys.argv = ["epgbloch", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize(
    ("code", "expected", "heavy"),
    [
        ("import epgbloch", {"epgbloch", "numba"}, {"tensorflow", "keras", "matplotlib"}),
        ("import dictionaries", {"dictionaries"}, {"tensorflow", "keras", "matplotlib"}),
        ("import surrogate", {"surrogate"}, {"tensorflow", "keras", "matplotlib"}),
        (
            "import reconstruction",
            {"reconstruction"},
            {"tensorflow", "keras", "matplotlib", "sigpy", "nibabel", "nilearn"},
        ),
        ("import design", {"design"}, {"tensorflow", "keras", "matplotlib", "pypulseq"}),
        (HELP, {"jobs", "typer"}, {"tensorflow", "keras", "matplotlib", "numpy", "numba", "scipy"}),
    ],
    ids=["epgbloch", "dictionaries", "surrogate", "reconstruction", "design", "help"],
)
def test_imports_stay_light(code, expected, heavy):
    loaded = modules_after(code)
    assert expected <= loaded
    assert loaded & heavy == set()


def documented_constants(package):
    """Names that a string follows where they are assigned, at the top level of a file."""
    names = {"__version__"}
    for path in (ROOT / package).rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node, text in pairwise(body):
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                targets = getattr(node, "targets", [getattr(node, "target", None)])
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("package", [package for package in PACKAGES if package != "jobs"])
def test_every_public_name_has_a_docstring(package):
    module = importlib.import_module(package)
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__) > 0
    documented = documented_constants(package)
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            # a dataclass without docstring gets its signature
            assert value.__doc__, f"{package}.{name} has no docstring"
            assert not value.__doc__.startswith(f"{name}("), f"{package}.{name} has no docstring"
        else:
            assert name in documented, f"{package}.{name} has no string below it"


def test_pyproject_lists_every_package():
    with (ROOT / "pyproject.toml").open("rb") as file:
        setuptools = tomllib.load(file)["tool"]["setuptools"]
    top = [path for path in ROOT.iterdir() if (path / "__init__.py").exists()]
    assert sorted(path.name for path in top) == sorted(PACKAGES)
    folders = {file.parent for path in top for file in path.rglob("*.py")}
    assert sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders) == sorted(
        setuptools["packages"]
    )
    for folder in folders:
        assert (folder / "__init__.py").exists(), f"{folder} needs an __init__.py"
    for path in top:
        assert (path / "py.typed").exists()
        assert "py.typed" in setuptools["package-data"][path.name]
