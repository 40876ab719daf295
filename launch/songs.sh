#!/usr/bin/env bash
# Makes the songs of docs/songs.md with the demo model again: 16 s each, stems and mix as OGG Vorbis. The same
# request gives the same songs, to the bit on one machine.
#
#   bash launch/songs.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
[[ $# == 0 ]] || { echo "stemphonic_jax: '$1': $0 takes no arguments" >&2 && exit 2; }
use_venv

song() { # name, stems, bpm, seed, prompt
  stemphonic generate "$5" --stems "$2" --bpm "$3" --seed "$4" --duration 16 --out "runs/songs/$1" --overwrite
  mkdir -p "docs/songs/$1"
  cp "runs/songs/$1/stems.png" "docs/songs/$1/"
  python - "runs/songs/$1" "docs/songs/$1" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import soundfile

made, heard = map(Path, sys.argv[1:])
sounds = {path.stem: soundfile.read(path) for path in sorted(made.glob("*.wav"))}
peaks = {name: np.abs(audio).max() for name, (audio, _) in sounds.items()}
loudest = max(peak for name, peak in peaks.items() if name != "mix")
for name, (audio, rate) in sounds.items():  # stems as loud beside each other as they are, without clipping
  gain = 0.89 / (peaks[name] if name == "mix" else loudest)
  soundfile.write(heard / f"{name}.ogg", audio * gain, rate, compression_level=0.8)
PYTHON
}

song folk guitars,strings,basses,drums 84 1 "A dreamy indie folk song with warm acoustic guitars, gentle brushed \
drums, a deep upright bass and soft strings, in G major"
song house drums,basses,synths,keys 124 2 "Deep house in A minor: four on the floor, a round synth bass, airy pads \
and stabs of electric piano"
song waltz keys,strings,winds,basses 96 3 "A slow, sad waltz in 3/4, D minor, for piano, strings and a clarinet, no drums"
