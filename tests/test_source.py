"""What all of the source keeps to, read off its syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"

# Attributes that are set from outside their object, as "file object.attribute", and why.
SET_FROM_OUTSIDE = {
    "* record.*": "the record of a run is filled while the run goes on",
    "*/_compat.py *": "what Lightning and Hydra offer no other way for stands there",
    # Hydra's configuration, which callbacks and launchers change in place.
    "*/cli/directories.py config.hydra*": "its directories are claimed before Hydra looks at them",
    "*/sweeps/launch.py config.hydra.*": "what Hydra's own launchers set too",
    "*/sweeps/compose.py *hydra.*": "what Hydra's own launchers set too",
    # Objects of other libraries that are made to be set.
    "*/optim/objective.py *.grad": "torch's optimizers read the gradients there",
    "*/optim/objective.py module.training": "torch has no other way to give each module its own mode back",
    "*/sweeps/fused/networks.py parameter.*": "parameters become views of those of all jobs",
    "*/training/callbacks.py setattr(scheduler, *": "torch's schedulers keep their settings there",
    "*/training/loop.py trainer.*": "Lightning's Trainer means something else by them; it gets them back",
    "*/training/classifier.py self.trainer.should_stop": "how Lightning is told to stop",
    "*/core/rules.py object.__setattr__(part, *": "a frozen part that is being made, from its own __post_init__",
    "*/report/page/charts.py element.*": "xml.etree",
    "*/report/page/charts.py root.attrib": "xml.etree",
    "*/report/tensorboard/events.py *": "protocol buffers",
    "*/report/terminal/inference.py column.*": "rich",
    "*/runs/export/*onnx.py *": "protocol buffers",
    "*/runs/export/to_sklearn.py *": "what fit would set, where nothing is fitted",
}
SETTERS = ("setattr", "delattr", "object.__setattr__")


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(SRC.rglob("*.py")):
        yield f"/{file.relative_to(SRC).as_posix()}", ast.parse(file.read_text(encoding="utf-8"))


def _set_attributes(tree: ast.AST) -> Iterator[str]:
    """The attributes that a function sets, of whatever object."""
    for node in ast.walk(tree):
        sets = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del)
        if sets or (isinstance(node, ast.Call) and ast.unparse(node.func) in SETTERS):
            yield ast.unparse(node)


def _own_objects(tree: ast.AST) -> set[str]:
    """``self``, and the names of its copies."""
    copies = {
        ast.unparse(node.targets[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.value) in ("copy(self)", "copy.copy(self)")
    }
    return {"self", "cls", *copies}


def test_state_is_not_set_from_outside() -> None:
    seen = set()
    for file, tree in _trees():
        own = _own_objects(tree)
        for target in _set_attributes(tree):
            base, _, _ = target.rpartition(".")
            if base not in own and not target.startswith("object.__setattr__(self"):
                seen.add(f"{file} {target}")
    refused = {each for each in seen if not any(fnmatchcase(each, pattern) for pattern in SET_FROM_OUTSIDE)}
    assert not refused, "pass it: to the constructor, to a method, or back"
    unused = {pattern for pattern in SET_FROM_OUTSIDE if not any(fnmatchcase(each, pattern) for each in seen)}
    assert not unused


# --- private names of other libraries ---------------------------------------------------------------------------------


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _own_private_names(tree: ast.AST) -> set[str]:
    """The private names that a file defines, of its classes too."""
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {target.removeprefix("self.") for target in _set_attributes(tree) if target.startswith("self.")}


def _private_names(tree: ast.AST, of_bases: set[str]) -> Iterator[str]:
    """Private modules and names that are imported, and private attributes of what is no object of this file."""
    own = _own_private_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if any(map(_is_private, each.name.split("."))))
        elif isinstance(node, ast.ImportFrom):
            paths = [f"{node.module}.{each.name}" for each in node.names]
            yield from (path for path in paths if any(map(_is_private, path.split("."))))
        elif isinstance(node, ast.Attribute) and _is_private(node.attr):
            known = of_bases if ast.unparse(node.value) in ("self", "cls", "super()") else own
            if node.attr not in known:
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr", "attrgetter"):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and _is_private(str(arg.value)))


def test_private_names_stand_in_one_place() -> None:
    of_bases = {name for _, tree in _trees() for name in _own_private_names(tree)} | {"_replace"}  # of named tuples
    seen = {
        f"{file} {name}"
        for file, tree in _trees()
        for name in _private_names(tree, of_bases)
        if not file.endswith("/_compat.py") and not name.startswith(("logreg.core._compat.", "logreg.cli._compat."))
    }
    assert not seen


# --- packages ---------------------------------------------------------------------------------------------------------

# Packages that import each other, which the contracts of import-linter cannot see, and why.
TWO_WAY = {
    ("/logreg/core", "/logreg/core/options"): "settings hold options, and options are written as rules",
    ("/logreg/runs", "/logreg/runs/export"): "the options of a command name the formats, and they read runs",
}


def _package_of(module: str) -> str | None:
    """The package, as a path, of an imported module of this project, or of a name in it."""
    path = SRC / module.replace(".", "/")
    if path.is_dir():
        return f"/{path.relative_to(SRC).as_posix()}"
    in_module = path if path.with_suffix(".py").is_file() else path.parent
    is_own = in_module.is_dir() or in_module.with_suffix(".py").is_file()
    parent = in_module if in_module.is_dir() else in_module.parent
    return f"/{parent.relative_to(SRC).as_posix()}" if is_own and module.startswith("logreg.") else None


def test_no_two_packages_import_each_other() -> None:
    """A package's own ``__init__`` does not count: it only passes on what stands in the package."""
    edges = set()
    for file, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and not file.endswith("__init__.py"):
                packages = {_package_of(f"{node.module}.{each.name}") for each in node.names}
                edges |= {(file.rpartition("/")[0], package) for package in packages if package}
    assert {(a, b) for a, b in edges if a < b and (b, a) in edges} == TWO_WAY.keys()
