#!/usr/bin/env bash
# From an empty folder to a song: makes the environment where it is missing, then generates stems with
# the demo model that comes with the package. A song that is there stays.
#
#   bash launch/quickstart.sh
#   EXTRAS=cuda bash launch/quickstart.sh     # on a GPU
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
[[ $# == 0 ]] || { echo "stemphonic_jax: '$1': $0 takes no arguments" >&2 && exit 2; }
use_venv

[[ -e runs/song/song.json ]] ||
  stemphonic generate "Laid-back country rock in G major with drums, bass, electric piano and guitar" \
    --stems drums,basses,keys,guitars --bpm 100 --seed 0 --out runs/song

echo "The song: $PWD/runs/song (mix.wav, one WAV per stem, stems.png)"
echo "Another: source ${PATH%%:*}/activate; stemphonic generate \"Slow ballad in A minor\" --stems drums,basses,keys"
