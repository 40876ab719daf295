#!/usr/bin/env bash
# What this machine's GPU does with the model of configs/c_ii.py, in ten minutes: a training step,
# and generations of 1 to 6 stems in one pass, with and without cuDNN's attention. Of the machine it
# needs a Python with jax and flax; no environment is made, and nothing is downloaded.
#
#   bash launch/gpu_check.sh
#   PYTHON=/path/to/python3 bash launch/gpu_check.sh --out=h100.md
#
#   --out=FILE     the page it writes                                             [gpu_check.md]
#   --rows=N       stems of a training step; 32 take 36 GB                        [32]
#   --minutes=M    after which nothing more is begun                              [8]
#   --tiny         a small model, to see that it runs, on a CPU too
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/options.sh"

out=gpu_check.md rows=32 minutes=8 tiny=""
options "out rows minutes" "tiny" "$@"
python=${PYTHON:-python3}

"$python" -c 'import jax, flax' 2>/dev/null ||
  fail "'$python' has no jax and flax; name one that has: PYTHON=/path/to/python3 bash $0"
[[ $tiny || $("$python" -c 'import jax; print(jax.default_backend())' 2>/dev/null) == gpu ]] ||
  fail "jax of '$python' finds no GPU; --tiny runs without one"

"$python" "$here/gpu_check.py" --out="$out" --rows="$rows" --minutes="$minutes" ${tiny:+--tiny}
say "written to $out"
