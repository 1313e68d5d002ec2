"""`gradbook doctor`: what is installed here, and what is wrong with it."""

import importlib.util
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import gradbook
from gradbook.cli.options import Parser
from gradbook.cli.outcome import Outcome
from gradbook.wrapping import page

#: What gradbook or the book's cells use. torchvision is listed because learners ask for it.
NEEDED: tuple[str, ...] = (
    *("torch", "numpy", "matplotlib", "rich", "platformdirs", "filelock", "fastjsonschema"),
    *("joblib", "networkx", "pandas", "starlette", "uvicorn", "jinja2"),
)
PACKAGES = (
    *(*NEEDED, "ipython", "ipykernel", "safetensors", "onnx", "tensorboard", "wandb"),
    *("mlflow-skinny", "optuna", "distributed", "ray", "gymnasium", "scipy", "gpytorch"),
    "torchvision",
)


def run(arguments: list[str]) -> Outcome:
    """Looks at everything that a training depends on."""
    parser = Parser("doctor", "What is installed here, and what is wrong with it.")
    parser.read_all(arguments)
    problems: list[str] = []
    facts: dict[str, Any] = {
        "gradbook": gradbook.__version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "packages": packages(problems),
        "torch": torch_facts(problems),
        "data": data_facts(problems),
        "terminal": terminal_facts(),
        "d2l": d2l_facts(problems),
    }
    facts["problems"] = problems
    return Outcome(facts, describe(facts), code=1 if problems else 0)


def packages(problems: list[str]) -> dict[str, str | None]:
    """The version of each package, None where it is not installed. Nothing is imported."""
    versions = {name: _version(name) for name in PACKAGES}
    absent = [name for name in NEEDED if versions[name] is None]
    problems += [f"{name} is not installed. Install it: pip install {name}" for name in absent]
    return versions


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def torch_facts(problems: list[str]) -> dict[str, Any]:
    """PyTorch's version with the build, as in 2.13.0+cpu, and its devices and threads."""
    try:
        import torch

        from gradbook.devices import described, num_gpus, try_all_gpus
    except Exception as error:  # a broken installation is what this command is for
        problems.append(f"torch does not import: {error}. Install it again.")
        return {"version": None, "devices": [], "threads": None, "cpus": os.cpu_count()}
    devices = ["cpu", *map(described, try_all_gpus())] if num_gpus() else ["cpu"]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    return {"version": torch.__version__, "devices": devices, "threads": threads, "cpus": usable}


def data_facts(problems: list[str]) -> dict[str, Any]:
    """What there is of each data set."""
    try:
        from gradbook.cli.data import look

        found = look()
    except Exception as error:
        problems.append(f"the data sets cannot be looked for: {error}")
        return {}
    if found["fashion-mnist"]["status"] in ("corrupt", "missing"):
        problems.append("Fashion-MNIST is damaged or missing: see `gradbook data`.")
    return found


def terminal_facts() -> dict[str, Any]:
    """What the terminal can show."""
    size = shutil.get_terminal_size()
    encoding = getattr(sys.stdout, "encoding", None) or "unknown"
    return {
        "is_terminal": sys.stdout.isatty(),
        "columns": size.columns,
        "rows": size.lines,
        "encoding": encoding,
        "unicode": "utf" in encoding.lower(),
        "term": os.environ.get("TERM"),
        "no_color": bool(os.environ.get("NO_COLOR")),
    }


def d2l_facts(problems: list[str]) -> dict[str, Any]:
    """Whose `d2l` Python imports: gradbook's, the original's or another."""
    original = _version("d2l")
    spec = importlib.util.find_spec("d2l")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    folder = Path(places[0]) if places else None
    ours = folder is not None and _is_ours(folder)
    if original is not None:
        problems.append(
            f"The original d2l {original} is installed beside gradbook, and both are imported as "
            f"d2l{'' if ours else ', of which Python takes the original'}. Remove it and put "
            f"gradbook's back: `pip uninstall -y d2l`, then "
            f"`pip install --force-reinstall --no-deps gradbook`"
        )
    elif spec is None:
        problems.append(
            "Python finds no d2l. Install gradbook again: "
            "pip install --force-reinstall --no-deps gradbook"
        )
    elif not ours:
        problems.append(
            f"`import d2l` takes {folder or spec.origin}, which is not gradbook's. Rename it or "
            f"run Python from another folder."
        )
    found = folder or (spec.origin if spec is not None else None)
    return {"folder": found and str(found), "is_gradbooks": ours, "original": original}


def _is_ours(folder: Path) -> bool:
    try:
        return "gradbook" in (folder / "torch.py").read_text(encoding="utf-8")
    except OSError:
        return False


def describe(facts: dict[str, Any]) -> str:
    """The same for a person."""
    torch, terminal, d2l = facts["torch"], facts["terminal"], facts["d2l"]
    fashion = facts["data"].get("fashion-mnist", {})
    told = facts["packages"] | ({"torch": torch["version"]} if torch["version"] else {})
    versions = [f"{name} {version}" for name, version in told.items() if version]
    absent = [name for name, version in facts["packages"].items() if not version]
    shown = "a terminal" if terminal["is_terminal"] else "no terminal"
    rows = [
        ("gradbook", facts["gradbook"]),
        ("python", f"{facts['python']}, {facts['executable']}"),
        ("system", facts["system"]),
        ("packages", ", ".join(versions)),
        ("absent", ", ".join(absent) or "none"),
        ("devices", ", ".join(torch["devices"]) or "none"),
        ("threads", f"{torch['threads']} of {torch['cpus']} processors"),
        ("data", f"fashion-mnist {fashion.get('status', 'unknown')} {fashion.get('used') or ''}"),
        (
            "output",
            f"{shown}, {terminal['columns']} x {terminal['rows']}, {terminal['encoding']}, "
            f"TERM={terminal['term'] or 'unset'}",
        ),
        ("d2l", f"{'gradbook' if d2l['is_gradbooks'] else 'not gradbook'}'s, {d2l['folder']}"),
    ]
    lines = [f"{name:<10}{value}".rstrip() for name, value in rows]
    lines.append("")
    findings = [f"problem: {problem}" for problem in facts["problems"]]
    if fashion.get("status") == "sample":
        findings.append("note: only a sample of Fashion-MNIST is here: see `gradbook data`.")
    lines += findings or ["No problem found."]
    return page("\n".join(lines))
