#!/usr/bin/env bash
# The paper's Tables 1 to 3 in small: settings A, B, C, and C with activity control, three seeds each,
# trained on the same records with the same budget on latents of the demo model's autoencoder, then
# measured. On two cores that is some hours; what is done is not done again after an interruption.
#
#   bash launch/ablation.sh
#   ROOT=runs/longer SEEDS="0 1 2 3 4" SONGS=200 bash launch/ablation.sh --config.train.steps=3000
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
use_venv

root=${ROOT:-runs/ablation}
shared=$root/shared

run() { # configuration, workdir, options
  python -m stemphonic_jax.main --config="configs/$1.py:small" --workdir="$2" "${@:3}"
}

run c_ii "$shared" --config.init_from=demo --mode=prepare "$@"
for seed in ${SEEDS:-0 1 2}; do
  for setting in a b c act; do
    case $setting in
      act) config=c_ii_act ;;
      *) config=${setting}_ii ;; # (i) and (ii) differ in inference alone
    esac
    echo "== $setting, seed $seed"
    run "$config" "$root/${setting}_$seed" --mode=train --config.seed="$seed" \
      --config.init_from="$shared" --config.data.records="$shared/records" "$@"
  done
done

for table in 1 2 3; do
  stemphonic evaluate --table "$table" --models "$root" --out "$root/tables" \
    --songs "${SONGS:-60}"
done
