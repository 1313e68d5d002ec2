"""The floors of docs/architecture.md: imports go strictly downward, a light one stays light."""

import ast
import shutil
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import gradbook
from gradbook.upward import UPWARD, above

SOURCE = Path(gradbook.__file__).parent

#: A file may import from lower floors only; a package may also import within itself.
FLOORS = {
    -2: {"escape", "launched", "lazy", "upward", "wrapping"},
    -1: {"errors", "libraries", "table"},
    0: {"constructors", "labels", "lookalikes", "parts", "storage", "untrusted"},
    1: {"hparams", "record", "checks", "timing", "seeds", "devices", "tensors"}
    | {
        "interrupts",
        "untrained",
        "attributes",
        "asked",
        "registry",
        "rows",
        "shards",
        "faults",
        "batchnorm",
    },
    2: {"history", "board", "data", "optim", "checkpoint", "schedules", "stopping", "execution"}
    | {"message", "sharding", "meeting"}
    | {"verdicts", "alone", "near_misses", "leaf_parameters"},
    3: {"settings", "module", "no_trace", "distributed"},
    4: {"resume"},
    5: {"evaluation", "model_files"},
    6: {"rehearsal", "steps"},
    7: {"preparation", "counting", "double_softmax"},
    8: {"training"},
    9: {"trainer"},
    10: {"display"},
    11: {"runs", "trackers", "watching"},
    12: {"datasets", "models"},
    13: {"book", "torchvision_parts", "inspection", "experiments"},
    14: {"sweeps", "torchvision_standin"},
    15: {"reports"},
    16: {"cli"},
    17: {"lab", "__main__"},
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}

HEAVY = ["matplotlib", "pandas", "IPython", "rich", "requests", "PIL", "torchvision"]


def module_name(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
del FILES["gradbook"]  # the front door names all floors, each when it is first used


def is_type_checking(node):
    test = node.test if isinstance(node, ast.If) else None
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


@cache
def seen(path):
    """The modules of gradbook that a file imports, by statement or by a literal name: those that
    run, within functions too, and those for type checkers; and the names that it gives to `above`.
    """
    run, typed, upward = set(), set(), set()
    waiting = [(ast.parse(path.read_text()), run)]
    while waiting:
        node, found = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in FILES else node.module)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ("import_module", "above"):
                (upward if name == "above" else found).add(node.args[0].value)
        is_typed = found is typed or is_type_checking(node)
        waiting += [(child, typed if is_typed else run) for child in ast.iter_child_nodes(node)]
    run, typed = ({n for n in names if n.split(".")[0] == "gradbook"} for names in (run, typed))
    return run, typed, upward


def imports(path, with_types=False):
    """The modules of gradbook that a file imports; with those for type checkers, if wanted."""
    run, typed, _ = seen(path)
    return run | typed if with_types else run


def entry(module):
    """The file or package right below gradbook."""
    return module.split(".")[1] if "." in module else ""


def test_every_file_stands_on_a_floor():
    assert {entry(module) for module in FILES} == set(FLOOR_OF)


@pytest.mark.parametrize("module", FILES)
def test_imports_go_strictly_downward(module):
    own = entry(module)
    for imported in imports(FILES[module]):
        other = entry(imported)
        if other == own:
            continue
        if not other:  # the front door, which knows the version
            assert own in ("cli", "reports", "runs"), f"{module} imports gradbook itself"
            continue
        assert FLOOR_OF[other] < FLOOR_OF[own], f"{module} imports {imported}"


def test_what_goes_upward_is_listed_once_with_who_and_why():
    found = {(name, entry(module)) for module in FILES for name in seen(FILES[module])[2]}
    assert found == {(name, who) for name, (who, why) in UPWARD.items() if why}
    for name, who in found:
        assert FLOOR_OF[entry(f"gradbook.{name}")] > FLOOR_OF[who]


def test_an_upward_import_that_is_not_listed_is_refused():
    with pytest.raises(LookupError, match=r"upward\.py does not list 'cli'"):
        above("cli")


#: The files that know of `torch.distributed`. Others ask a `Group`.
DISTRIBUTED = {"distributed", "faults", "meeting", "sharding", "shards", "cli.several"}


def test_few_files_know_of_torch_distributed():
    found = {name for name, path in FILES.items() if "torch.distributed" in path.read_text()}
    assert found == {f"gradbook.{name}" for name in DISTRIBUTED}


def circles(graph):
    """The name of a circle in a graph; None if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return None


def test_a_late_import_and_one_by_name_are_seen(tmp_path):
    file = tmp_path / "file.py"
    file.write_text(
        "if TYPE_CHECKING:\n    from gradbook.board import ProgressBoard\n"
        "def f():\n    from gradbook.data import DataModule\n"
        "    import_module('gradbook.optim')\n"
    )
    assert imports(file) == {"gradbook.data", "gradbook.optim"}
    assert imports(file, with_types=True) == imports(file) | {"gradbook.board"}
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) in (
        "a -> b -> c -> a",
        "b -> c -> a -> b",
        "c -> a -> b -> c",
    )


def test_files_do_not_import_each_other_in_a_circle():
    # What a function imports late counts, and so does what only a type checker reads: whoever
    # reads the code goes round as well.
    graph = {
        module: imports(path) | {n for n in imports(path, True) if entry(n) == entry(module)}
        for module, path in FILES.items()
    }
    assert circles(graph) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "import gradbook",
        "from d2l import torch",
        "from gradbook import *",
        "from gradbook import Trainer, MLP, FashionMNIST",
    ],
)
def test_an_import_loads_nothing_heavy(statement):
    code = f"{statement}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


@pytest.mark.slow
def test_the_front_door_does_not_wait_for_torch():
    code = "import gradbook, sys; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


@pytest.mark.slow
def test_no_source_is_left_out_of_the_repository():
    root = SOURCE.parent.parent
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("this is no clone")
    sources = [str(path) for folder in ("src", "tests") for path in (root / folder).rglob("*.py")]
    command = ["git", "-C", str(root), "check-ignore", "--stdin"]
    done = subprocess.run(
        command, input="\n".join(sources), capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


#: An attribute of another library's that has no public way in, and the one file that sets it.
FOREIGN = {
    ("interrupts", "_render_traceback_"): "IPython shows what it gives instead of a traceback",
    ("schedules", "_opt_called"): "a scheduler warns unless a step was taken by its optimizer",
}


def own_attributes(Class):
    """What a class sets on itself, in its body and in its methods."""
    names = {node.target.id for node in Class.body if isinstance(node, ast.AnnAssign)}
    for node in ast.walk(Class):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names |= {node.attr} if getattr(node.value, "id", "") in ("self", "cls") else set()
    return names


def private_assignments(tree, own=frozenset()):
    """The private attributes that are assigned, or deleted, from outside of their class."""
    for node in ast.iter_child_nodes(tree):
        known = own | own_attributes(node) if isinstance(node, ast.ClassDef) else own
        name, owner = "", None
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            name, owner = node.attr, node.value
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("setattr", "delattr"):
            owner, name = node.args[0], getattr(node.args[1], "value", "")
        is_private = str(name).startswith("_") and not str(name).startswith("__")
        if is_private and getattr(owner, "id", "") not in ("self", "cls") and name not in known:
            yield name
        yield from private_assignments(node, known)


def test_an_assignment_to_a_private_attribute_from_outside_is_found():
    code = "class A:\n    def f(self, b):\n        self._x = b._x = 1\n        b._y = 2\n"
    code += "a._x = 3\nsetattr(a, '_z', 4)\ndel a._x\na.__dict__ = {}\na.x += 1\n"
    assert list(private_assignments(ast.parse(code))) == ["_y", "_x", "_z", "_x"]


@pytest.mark.parametrize("module", FILES)
def test_no_code_outside_a_class_assigns_its_private_attributes(module):
    found = set(private_assignments(ast.parse(FILES[module].read_text())))
    assert found == {name for file, name in FOREIGN if file == entry(module)}


ROOT = SOURCE.parent.parent
SCRIPTS = [
    path for top in ("benchmarks", "examples", "tools") for path in (ROOT / top).rglob("*.py")
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_what_a_script_imports_of_gradbook_is_there(script):
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gradbook"):
            module = import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module}.{alias.name}"
