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
# Two processes, each with its files to itself, so that a fixture which trains is made once, in the
# order that tests/conftest.py gives them. More processes would not pay: compilation uses several
# threads, and a process takes up to 3 GB.
python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder "$@"
