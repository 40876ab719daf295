#!/usr/bin/env bash
# The paper's Tables 1 to 3 in small: segments of 8 s, latents of the demo model's autoencoder. As in the
# paper all settings go on from one base, here a model trained in setting A: A, B, C, and C with activity
# control, three seeds each, on the same records with the same budget. Then they are measured. On two
# cores without matrix units that is an hour and a half; what is done is not done again after an
# interruption.
#
#   bash launch/ablation.sh
#   ROOT=runs/longer SEEDS="0 1 2 3 4" BASE_STEPS=5000 STEPS=3000 SONGS=200 bash launch/ablation.sh
#   EXTRAS=cuda JOBS=1 bash launch/ablation.sh     # on a GPU
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
[[ $# == 0 ]] || { echo "stemphonic_jax: '$1': $0 takes variables only; see its first lines" >&2 && exit 2; }
use_venv

export ROOT=${ROOT:-runs/ablation} STEPS=${STEPS:-400}
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)} # trainings at once: so small a model fills no second core
mkdir -p "$ROOT"

run() { # configuration, name, options
  echo "$2: see $ROOT/$2.log"
  python -m stemphonic_jax.main --config="configs/$1.py:small" --config.seconds=8 --mode=train \
    --workdir="$ROOT/$2" --config.data.records="$ROOT/shared/records" "${@:3}" >>"$ROOT/$2.log" 2>&1 ||
    { tail -n 1 "$ROOT/$2.log" >&2 && return 1; }
}

setting() { # setting, seed
  local config=${1}_ii # (i) and (ii) differ in inference alone
  [[ $1 != act ]] || config=c_ii_act
  run "$config" "$1_$2" --config.init_from="$ROOT/base" --config.seed="$2" \
    --config.train.steps="$STEPS" --config.train.learning_rate=5e-4 --config.train.warmup=50
}

run c_ii shared --mode=prepare --config.data.records= --config.init_from=demo
run a_ii base --config.init_from="$ROOT/shared" --config.seed=1000 \
  --config.train.steps="${BASE_STEPS:-1500}"
export -f run setting
for seed in ${SEEDS:-0 1 2}; do
  printf "%s $seed\n" a b c act
done | xargs -P "$jobs" -L 1 bash -c 'setting "$@"' setting

for table in 1 2 3; do
  stemphonic evaluate --table "$table" --models "$ROOT" --out "$ROOT/tables" --songs "${SONGS:-32}"
done
