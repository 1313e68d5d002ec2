"""`gradbook data`: where each data set was looked for, and how to get it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradbook.cli.options import Parser
from gradbook.cli.outcome import Outcome
from gradbook.registry import DATA
from gradbook.wrapping import page

#: What is said of each place.
_OF_A_PLACE = ("name", "folder", "status", "detail", "advice")


def run(arguments: list[str]) -> Outcome:
    """Looks for every data set."""
    parser = Parser("data", "Where each data set was looked for, and how to get it.")
    parser.add_argument("--root", default="../data", help="the folder for data (default: ../data)")
    parser.add_argument(
        "--verify", action="store_true", help="check the content of every file, not only its size"
    )
    asked = parser.read_all(arguments)
    found = look(asked.root, asked.verify)
    corrupt = found["fashion-mnist"]["status"] == "corrupt"
    return Outcome({"data": found}, describe(found), code=1 if corrupt else 0)


def look(root: str = "../data", verify: bool = False) -> dict[str, Any]:
    """What there is of each data set.

    The status of Fashion-MNIST is "found", "sample" (only the bundled part of it) or "corrupt"
    (a file that would be used is damaged); that of another which has files is "found" or "sample"
    (a stand-in is used unless the files can be downloaded).
    """
    from gradbook.datasets import locate

    places = locate(root, verify)
    # The order of use: the first that is complete, even if it is damaged; last, the sample.
    used = next((p for p in places if p.status in ("found", "corrupt")), None)
    status: str = "missing" if used is None else used.status
    if used is not None and used.name == "sample" and used.status == "found":
        status = "sample"
    made: dict[str, Any] = {"status": "found", "used": None, "places": []}
    with_files = {
        name: _look_for(Class.book_files, root)
        for name, Class in ((name, entry.load()) for name, entry in DATA.items())
        if hasattr(Class, "book_files")
    }
    return {**dict.fromkeys(DATA, made), **with_files} | {
        "fashion-mnist": {
            "status": status,
            "used": None if used is None else str(used.folder),
            "places": [{key: str(getattr(place, key)) for key in _OF_A_PLACE} for place in places],
        }
    }


def _look_for(names: Sequence[str], root: str) -> dict[str, Any]:
    """What there is of a data set that needs these of the book's files."""
    from gradbook.datasets.stand_ins import STAND_INS, file_name

    places = []
    for name in names:
        path = Path(root) / file_name(name)
        there = path.is_file()
        detail = f"{path.name} is there" if there else f"{path.name} is not there"
        places.append(
            {
                "name": "root",
                "folder": root,
                "status": "found" if there else "missing",
                "detail": detail,
                "advice": f"put {path.name} in {root}",
                "stand_in": STAND_INS[name].text,
            }
        )
    found = all(place["status"] == "found" for place in places)
    return {
        "status": "found" if found else "sample",
        "used": root if found else None,
        "places": places,
    }


def describe(found: dict[str, Any]) -> str:
    """The same for a person."""
    fashion = found["fashion-mnist"]
    from gradbook.datasets.hub import is_offline

    rest = whole = "nothing is downloaded, because GRADBOOK_OFFLINE is set"
    if not is_offline():
        rest = "the rest is downloaded when it is first used"
        whole = "the true data are downloaded when they are first used"
    says = {
        "found": f"found, in {fashion['used']}",
        "sample": f"only the bundled sample; {rest}",
        "corrupt": f"damaged, in {fashion['used']}",
        "missing": "not found",
    }
    lines = [f"fashion-mnist: {says[fashion['status']]}", ""]
    for place in fashion["places"]:
        lines += [f"  {place['name']:<8}{place['folder']}", f"          {place['detail']}"]
        if "found" not in (fashion["status"], place["status"]):
            lines.append(f"          to have it here: {place['advice']}")
    for name in DATA:
        places = found[name]["places"]
        if name == "fashion-mnist":
            continue
        if not places:
            lines += ["", f"{name}: made when it is used, nothing to find"]
        elif found[name]["status"] == "found":
            lines += ["", f"{name}: found, in {found[name]['used']}"]
        else:
            lines += ["", f"{name}: only a stand-in; {whole}", ""]
            for place in places:
                lines += [f"  root    {place['folder']}", f"          {place['detail']}"]
                lines += [f"          to have it here: {place['advice']}"]
                lines += [f"          until then: {place['stand_in']}"]
    return page("\n".join(lines))
