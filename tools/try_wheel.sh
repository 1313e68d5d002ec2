#!/usr/bin/env bash
# Builds the wheel and the source distribution into dist/, and tries the wheel outside the repository.
#
#     tools/try_wheel.sh .venv/bin/python
#
# The environment it is tried in is empty but for the dependencies, which it sees in that Python's,
# so that PyTorch is not installed twice.
set -euo pipefail
python=$(realpath --no-symlinks "$1")
cd "$(dirname "$0")/.."
repository=$PWD
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

# The wheel is built from the source distribution, so that this is seen to be complete.
rm -rf dist
"$python" -m venv "$place/build"
"$place/build/bin/python" -m pip install --quiet --disable-pip-version-check 'hatchling>=1.27'
(cd "$repository" && "$place/build/bin/python" -m hatchling build --target sdist)
mkdir "$place/source"
tar -xzf dist/*.tar.gz --strip-components 1 -C "$place/source"
(cd "$place/source" && "$place/build/bin/python" -m hatchling build --target wheel -d "$repository/dist")

"$python" -m venv "$place/venv"
bin=$place/venv/bin
"$bin/python" -m pip install --quiet --disable-pip-version-check --no-deps dist/*.whl
packages=$("$python" -c 'from importlib.util import find_spec
print(find_spec("torch").submodule_search_locations[0].removesuffix("/torch"))')
"$bin/python" - "$packages" <<'END'
import sys, sysconfig
from pathlib import Path

# Last on the path, and without its .pth files: the repository's own gradbook is not seen.
Path(sysconfig.get_path("purelib"), "dependencies.pth").write_text(sys.argv[1] + "\n")
END

mkdir "$place/work"
cd "$place/work"
"$bin/python" - "$place" <<'END'
import sys

import gradbook
from d2l import torch as d2l

assert gradbook.__file__.startswith(sys.argv[1]), gradbook.__file__
assert d2l.__file__.startswith(sys.argv[1]), d2l.__file__
END
"$bin/gradbook" doctor
GRADBOOK_OFFLINE=1 "$bin/gradbook" train softmax-scratch --max-epochs 1
"$bin/gradbook" show softmax-regression-scratch-1
echo "The wheel works: $(cd "$repository" && echo dist/*)"
