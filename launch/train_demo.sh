#!/usr/bin/env bash
# Trains the demo model that comes with the package again: an autoencoder, its decoder alone on stems and
# the envelope of what that makes; then a diffusion transformer on 8 s, where most is learned at a quarter
# of the cost: first each stem by itself, then stems that hear each other, ordinary sentences and sampled
# instruments; and last on 32 s. Some nine hours on two cores; what is done is not done again after an
# interruption. It needs FluidSynth and a General-MIDI SoundFont
# (apt-get install fluid-soundfont-gm libfluidsynth3).
#
#   bash launch/train_demo.sh
#   SOUNDFONT=FILE.sf2 EXTRAS=cuda bash launch/train_demo.sh     # another font, and on a GPU
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
[[ $# == 0 ]] || { echo "stemphonic_jax: '$1': $0 takes variables only; see its first lines" >&2 && exit 2; }
EXTRAS=soundfont${EXTRAS:+,$EXTRAS}
use_venv

SOUNDFONT=${SOUNDFONT:-/usr/share/sounds/sf2/FluidR3_GM.sf2}
[[ -f $SOUNDFONT ]] || { echo "stemphonic_jax: $SOUNDFONT: no such SoundFont; name one with SOUNDFONT=FILE.sf2" >&2 && exit 66; }

run() { # configuration, its workdir, what it starts from, options
  python -m stemphonic_jax.main --config="configs/demo.py:$1" --workdir="runs/$2" --config.init_from="$3" "${@:4}"
}

run short demo_vae "" --mode=train_vae
run short demo_short runs/demo_vae
run decoder demo_decoder runs/demo_vae --mode=train_vae --config.data.soundfont="$SOUNDFONT"
run envelope demo_envelope runs/demo_decoder --mode=train_vae --config.data.soundfont="$SOUNDFONT"
run ensemble demo_ensemble runs/demo_short --config.data.soundfont="$SOUNDFONT"
run "" demo_long runs/demo_ensemble --config.data.soundfont="$SOUNDFONT"
[[ -e runs/demo/manifest.json ]] ||
  stemphonic bundle export runs/demo_long runs/demo --decoder runs/demo_envelope --average runs/demo_ensemble --half

echo "The model: $PWD/runs/demo (stemphonic generate … --model runs/demo)"
