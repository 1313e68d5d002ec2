"""The floors of docs/architecture.md: imports go strictly downward, a light one stays light."""

import ast
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import gradbook

SOURCE = Path(gradbook.__file__).parent

#: A file may import from lower floors only; a package may also import within itself.
FLOORS = {
    -1: {"escape"},
    0: {"errors"},
    1: {"hparams", "record", "checks", "chapters", "timing", "seeds", "devices", "tensors"}
    | {"storage", "untrusted", "interrupts", "untrained", "attributes"},
    2: {"board", "data", "optim", "checkpoint", "schedules", "stopping", "execution"}
    | {"settings", "verdicts", "near_misses"},
    3: {"module", "resumable_loader", "resumption"},
    4: {"fingerprint", "evaluation", "rehearsal"},
    5: {"snapshot", "double_softmax"},
    6: {"trainer"},
    7: {"display"},
    8: {"figures", "runs", "trackers", "watching"},
    9: {"datasets", "models"},
    10: {"classic", "torchvision_standin", "inspection", "experiments"},
    11: {"sweeps"},
    12: {"cli"},
    13: {"__main__"},
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}

#: Imports that go upward on purpose, by name and late.
UPWARD = {
    ("board", "display"): "a board opens its display when it draws its first point",
    ("record", "display"): "a history draws itself when it is asked to",
    ("trainer", "watching"): "a trainer is watched by what stands above it",
    ("trainer", "runs"): "a trainer keeps a run when it is given a folder for it",
}

HEAVY = ["matplotlib", "pandas", "IPython", "rich", "pooch", "requests", "PIL", "torchvision"]


def module_name(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
del FILES["gradbook"]  # the front door names all floors, each when it is first used


def is_type_checking(node):
    test = node.test if isinstance(node, ast.If) else None
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def nodes(tree, at_import):
    """The nodes that run; with `at_import`, only those that run when the file is imported."""
    for child in ast.iter_child_nodes(tree):
        if is_type_checking(child):
            continue
        if at_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield child
        yield from nodes(child, at_import)


def imports(path, at_import=False):
    """The modules of gradbook that a file imports, by statement or by a literal name."""
    for node in nodes(ast.parse(path.read_text()), at_import):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names = [
                full if (full := f"{node.module}.{alias.name}") in FILES else node.module
                for alias in node.names
            ]
        elif isinstance(node, ast.Call):
            function = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if function == "import_module" and isinstance(node.args[0], ast.Constant):
                names = [node.args[0].value]
        yield from (name for name in names if name.partition(".")[0] == "gradbook")


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
        if other == own or (own, other) in UPWARD:
            continue
        if not other:  # the front door, which knows the version
            assert own in ("cli", "runs"), f"{module} imports gradbook itself"
            continue
        assert FLOOR_OF[other] < FLOOR_OF[own], f"{module} imports {imported}"


def test_no_upward_import_is_listed_in_vain():
    found = {(entry(module), entry(name)) for module in FILES for name in imports(FILES[module])}
    assert set(UPWARD) <= found


def test_files_do_not_import_each_other_in_a_circle():
    graph = {
        module: {name for name in imports(path, at_import=True) if name != module}
        for module, path in FILES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


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


def test_the_front_door_does_not_wait_for_torch():
    code = "import gradbook, sys; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


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
