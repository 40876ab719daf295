#!/usr/bin/env bash
# The whole story on a laptop, from an empty folder to a song: train an autoencoder and a diffusion
# transformer on a small corpus that is composed on the spot, then generate stems with them.
# What is done already is not done again, so after an interruption just run it once more.
#
#   bash launch/quickstart.sh
#   EXTRAS=cuda bash launch/quickstart.sh     # on a GPU
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
use_venv

run() {
  echo "== $1"
  python -m stemphonic_jax.main --config=configs/demo.py --workdir=runs/demo --mode="$1"
}
run train_vae # audio <-> latents
run prepare   # pieces -> records of latents, activity and sub-mixes
run train     # stems of one piece share their noise

echo "== generate"
stemphonic generate "Laid-back country rock in G major with drums, bass, electric piano and guitar" \
  --stems drums,basses,keys,guitars --bpm 100 --seed 0 \
  --model runs/demo --out runs/demo/song --overwrite

echo "The song: $PWD/runs/demo/song (mix.wav, one WAV per stem, stems.png)"
