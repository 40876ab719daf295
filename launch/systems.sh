#!/usr/bin/env bash
# The three systems beside each other (docs/evaluation.md#models-of-several-systems): C-(ii), MusicGen-Stem and StemGen at `:small`,
# songs of 8 s of the demo corpus, each for about as many minutes, three seeds each. Then they are measured.
# On two cores that is four hours; what is done is not done again after an interruption.
#
#   bash launch/systems.sh
#   ROOT=runs/once SEEDS=0 STEPS="1500 180 180" SONGS=24 bash launch/systems.sh
#   EXTRAS=cuda bash launch/systems.sh             # on a GPU
#
# STEPS are of the three: on two cores a step of theirs takes 0.2, 2.6 and 2 s.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
[[ $# == 0 ]] || { echo "stemphonic_jax: '$1': $0 takes variables only; see its first lines" >&2 && exit 2; }
use_venv eval

ROOT=${ROOT:-runs/systems}
read -r c_ii musicgen stemgen <<<"${STEPS:-5000 600 600}"
mkdir -p "$ROOT"

run() { # name, configuration, options
  echo "$1: see $ROOT/$1.log"
  python -m stemphonic_jax.main --config="configs/$2.py:small" --config.seconds=8 --workdir="$ROOT/$1" \
    --config.data.pieces="${PIECES:-2000}" "${@:3}" >>"$ROOT/$1.log" 2>&1 ||
    { tail -n 1 "$ROOT/$1.log" >&2 && return 1; }
}

train() { # system, steps, options; on the records of that system, with a rate that ends at zero
  run "$1_$seed" "$1" --mode=train --config.seed="$seed" --config.data.records="$ROOT/$1/records" \
    --config.train.steps="$2" --config.train.decay=$(($2 / 2)) --config.train.save_every=500 "${@:3}"
}

codecs() { # system, names; options that take them from that system's first stage
  for name in "${@:2}"; do
    echo "--config.codec.$name.path=$ROOT/$1/codecs/$name"
  done
}

run c_ii c_ii --mode=prepare --config.init_from=demo # for its autoencoder and tokenizer
run musicgen_stem musicgen_stem --mode=prepare
run stemgen stemgen --mode=prepare
models=()
for seed in ${SEEDS:-0 1 2}; do
  train c_ii "$c_ii" --config.init_from="$ROOT/c_ii"
  # shellcheck disable=SC2046  # several options
  train musicgen_stem "$musicgen" $(codecs musicgen_stem bass drums other)
  # shellcheck disable=SC2046
  train stemgen "$stemgen" $(codecs stemgen stems)
  models+=("$ROOT/c_ii_$seed" "$ROOT/musicgen_stem_$seed" "$ROOT/stemgen_$seed")
done
stemphonic evaluate --systems "${models[@]}" --music --songs "${SONGS:-72}" --seconds 8 --out "$ROOT/tables"
