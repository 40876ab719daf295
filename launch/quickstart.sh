#!/usr/bin/env bash
# From an empty folder to a song: makes the environment where it is missing, then generates stems with
# the demo model that comes with the package.
#
#   bash launch/quickstart.sh
#   EXTRAS=cuda bash launch/quickstart.sh     # on a GPU
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
use_venv

stemphonic generate "Laid-back country rock in G major with drums, bass, electric piano and guitar" \
  --stems drums,basses,keys,guitars --bpm 100 --seed 0 --out runs/song --overwrite

echo "The song: $PWD/runs/song (mix.wav, one WAV per stem, stems.png)"
