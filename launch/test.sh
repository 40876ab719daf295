#!/usr/bin/env bash
# All that a change must pass: style, layers, tests. Makes or updates .venv by itself (venv.sh).
#
#   bash launch/test.sh
#   bash launch/test.sh tests/test_flow.py -k noise     # arguments go to pytest
#   PYTHON=python3.12 bash launch/test.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
use_venv dev

ruff check .
ruff format --check .
lint-imports
# The page of the studio is driven in Chromium, which pip has not; without it those tests are skipped.
if [[ $EUID -eq 0 ]] && ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null &&
  command -v apt-get >/dev/null; then
  apt-get install --yes --quiet chromium >/dev/null || echo "no Chromium: tests of the page are skipped"
fi
# Three processes, each with its files to itself, so that a fixture which trains is made once, in the
# order that tests/conftest.py gives them: on two cores one of them mostly waits. More would not pay:
# compilation uses several threads, and a process takes up to 3 GB.
python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder "$@"
