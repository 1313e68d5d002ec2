#!/usr/bin/env bash
# Runs the tests with another Python and other packages than CI's, in an environment of their own.
#
#     tools/try_python.sh python3.13                  # the newest of everything that pip finds
#     tools/try_python.sh python3.13 torch==2.15.0    # the same, but this PyTorch
#     tools/try_python.sh python3.11 oldest           # the oldest that pyproject.toml allows
#     tools/try_python.sh debian:trixie python3-torch # Debian's Python and PyTorch, the rest newest
#
# What follows `--` goes to pytest instead of `-m "not slow"`. It takes up to 7 GB in TMPDIR where
# pip fetches PyTorch for CUDA, and half an hour on two cores. `debian:` needs root, debootstrap, and
# that suite's signing keys. The environment stays where something failed.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
shift || true
wanted=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do wanted+=("$1"); shift; done
[ $# -gt 0 ] && shift || set -- -m "not slow"
place=$(mktemp -d)
chmod 755 "$place"  # apt-get is not root all the time
root=$place packages=()
inside() { (cd "$place/repo" && "$@"); }

if [[ $python == debian:* ]]; then
    inside() {
        # The mounts are gone with the last of these processes.
        unshare --mount bash -c 'for folder in dev proc sys; do
            mount --rbind "/$folder" "$0/$folder"
        done; exec chroot "$0" env --chdir=/repo "$@"' "$place" "$@"
    }
    # By the script of sid: this debootstrap may be older than the suite. A mirror may lag behind.
    debootstrap --variant=minbase "${python#debian:}" "$place" "" sid
    mkdir "$place/repo"
    inside apt-get update -qq -o Acquire::Check-Valid-Until=no
    inside env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        python3-venv ca-certificates "${wanted[@]}"
    # As pip is set up here, so there.
    for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
        if [ -f "$file" ]; then cp -L "$file" "$place$file"; fi
    done
    python=python3 wanted=() root='' packages=(--system-site-packages)
fi
mkdir -p "$place/repo"
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$place/repo"

inside "$python" -m venv "${packages[@]}" "$root/venv"
bin=$root/venv/bin
if [ "${wanted[*]}" = oldest ]; then
    inside "$bin/python" - >"$place/oldest.txt" <<'PY'
import re, tomllib

with open("pyproject.toml", "rb") as stream:
    project = tomllib.load(stream)["project"]
extras = project["optional-dependencies"]
used = [extras[name] for name in extras if name not in ("test", "docs", "dev")]
for requirement in sum(used, project["dependencies"]):
    print(re.sub(r">=([\w.]+).*", r"==\1", requirement))
PY
    wanted=(--constraint "$root/oldest.txt")
    # What these old ones themselves use is old by now to the newer packages beneath them.
    set -- -W ignore::DeprecationWarning -W ignore::FutureWarning:onnxscript.converter "$@"
fi
inside "$bin/pip" install --quiet --no-cache-dir "${wanted[@]}" --editable '.[test]'

outcome=0
inside env OMP_NUM_THREADS=1 "$bin/python" -m pytest -q -n 2 --dist worksteal "$@" || outcome=$?
inside "$bin/python" - "$outcome" <<'PY'
import platform, sys, time
from importlib.metadata import version

import torch

packages = ("numpy", "matplotlib", "pandas", "networkx", "optuna", "onnx", "ray")
print(f"{time.strftime('%Y-%m-%d')}: Python {platform.python_version()}, PyTorch {torch.__version__},",
      ", ".join(f"{name} {version(name)}" for name in packages),
      "- passed" if sys.argv[1] == "0" else f"- pytest ended with {sys.argv[1]}")
PY
if [ "$outcome" = 0 ]; then rm -rf "$place"; else echo "The environment is kept: $place"; fi
exit "$outcome"
