#!/usr/bin/env bash
# What hearing each other is worth (docs/ensemble.md): from one base, on the same records and with the same
# budget, C-(ii) with activity control and D, whose stems attend to each other, three seeds each; D also
# with noise that is shared in training, in half and whole. Then they are measured. On two cores that is
# some six hours; what is done is not done again after an interruption. LENGTH is that of songs in seconds,
# EMA nearer to 0 for fewer steps, and an empty SHARED leaves noise that is shared in training out.
#
#   bash launch/ensemble.sh                        # from runs/demo_short of launch/train_demo.sh
#   ROOT=runs/longer SEEDS=0 STEPS=3500 SONGS=200 bash launch/ensemble.sh
#   ROOT=runs/ensemble_32 LENGTH=32 PIECES=480 STEPS=400 EMA=0.99 SHARED= bash launch/ensemble.sh
#   EXTRAS=cuda bash launch/ensemble.sh            # on a GPU
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
[[ $# == 0 ]] || { echo "stemphonic_jax: '$1': $0 takes variables only; see its first lines" >&2 && exit 2; }
use_venv

ROOT=${ROOT:-runs/ensemble} BASE=${BASE:-runs/demo_short} STEPS=${STEPS:-1500} LENGTH=${LENGTH:-8} # seconds
mkdir -p "$ROOT"

run() { # name, seed, configuration, options
  echo "$1: see $ROOT/$1.log"
  python -m stemphonic_jax.main --config="configs/$3" --workdir="$ROOT/$1" --config.seed="$2" \
    --config.init_from="$BASE" --config.seconds="$LENGTH" --config.data.pieces="${PIECES:-1600}" \
    "${@:4}" >>"$ROOT/$1.log" 2>&1 || { tail -n 1 "$ROOT/$1.log" >&2 && return 1; }
}

train() { # setting, seed, configuration, options
  run "$1_$2" "$2" "$3" --mode=train --config.data.records="$ROOT/shared/records" \
    --config.train.steps="$STEPS" --config.train.decay=$((STEPS / 3)) --config.train.warmup=50 \
    --config.train.learning_rate=5e-4 --config.train.ema_decay="${EMA:-0.998}" \
    --config.train.save_every=250 "${@:4}"
}

run shared 0 ensemble.py:demo --mode=prepare
for seed in ${SEEDS:-0 1 2}; do
  train act "$seed" demo.py:short
  train d "$seed" ensemble.py:demo
done
for noise in ${SHARED-half=0.5 one=1.0}; do
  for seed in ${SEEDS:-0 1 2}; do
    train "d_${noise%=*}" "$seed" ensemble.py:demo --config.data.share_noise="${noise#*=}"
  done
done
stemphonic evaluate --table ensemble --models "$ROOT" --out "$ROOT/tables" --songs "${SONGS:-72}" \
  --reference "${REFERENCE:-150}" --seconds "$LENGTH"
