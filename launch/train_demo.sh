#!/usr/bin/env bash
# Trains the demo model that comes with the package again: an autoencoder, then its decoder alone on
# more pieces, a diffusion transformer on 8 s, where most is learned at a quarter of the cost, and then
# on 32 s. Hours on a CPU; what is done is not done again after an interruption.
#
#   bash launch/train_demo.sh
#   EXTRAS=cuda bash launch/train_demo.sh     # on a GPU
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
use_venv

python -m stemphonic_jax.main --config=configs/demo.py:short --mode=train_vae --workdir=runs/demo_vae
python -m stemphonic_jax.main --config=configs/demo.py:decoder --mode=train_vae \
  --workdir=runs/demo_decoder --config.init_from=runs/demo_vae
python -m stemphonic_jax.main --config=configs/demo.py:short --workdir=runs/demo_short \
  --config.init_from=runs/demo_decoder
python -m stemphonic_jax.main --config=configs/demo.py --workdir=runs/demo \
  --config.init_from=runs/demo_short

echo "The model: $PWD/runs/demo (stemphonic generate … --model runs/demo)"
