"""What the second version of the corpus plays beside the styles of styles.py, some of it in 3/4 and
6/8, in the same notation (triple.py).
"""

from __future__ import annotations

from stemphonic_jax.data.sources.demo.styles import (
  BACKBEAT,
  EIGHTHS,
  FOUR,
  OFFBEATS,
  SIXTEENTHS,
  STYLES,
  WHOLE,
  Groove,
  Line,
  Style,
)
from stemphonic_jax.data.sources.demo.triple import HELD

MORE = {
  "blues": Style(
    bpm=(76, 126),
    minor_share=0.35,
    moods=(),
    major=("I7 IV7 I7 V7", "I7 I7 IV7 I7", "IV7 I7 V7 I7"),
    minor=("i7 iv7 i7 V7", "i7 i7 iv7 i7"),
    core=("guitars", "basses", "drums", "keys", "vocals"),
    swing=0.33,
    swing_steps=2,
    parts={
      "drums": (
        Groove("shuffle drums", {"kick": "X.......X.x.....", "snare": BACKBEAT, "hat": EIGHTHS}),
        Groove("shuffle drums", {"kick": "X.....x.X.......", "snare": BACKBEAT, "ride": EIGHTHS}),
      ),
      "basses": (
        Line("fingered bass", 34, "1-1-3-3-5-5-3-a-"),
        Line("upright bass", 34, "1---3---5---a---"),
      ),
      "guitars": (
        Line("electric guitar", 57, "x.x...x.x.x...x."),
        Line("distorted guitar", 64),
        Line("acoustic guitar", 55, "X-o-x-o-X-o-x-o-"),
      ),
      "keys": (Line("organ", 62, WHOLE), Line("grand piano", 60, "x.x.x.x.x.x.x.x.")),
      "winds": (Line("saxophone", 65), Line("brass section", 63, "....x-......x-..")),
    },
  ),
  "metal": Style(
    bpm=(112, 190),
    minor_share=0.95,
    moods=(),
    major=("I bVII IV I", "I IV bVII IV"),
    minor=("i VI VII i", "i i VI VII", "i VII VI VII", "i iv VI VII"),
    core=("guitars", "drums", "basses", "vocals"),
    parts={
      "drums": (
        Groove("metal drums", {"kick": "XxxxXxxxXxxxXxxx", "snare": BACKBEAT, "crash": FOUR}),
        Groove("metal drums", {"kick": "X.xxX.xxX.xxX.xx", "snare": BACKBEAT, "hat": EIGHTHS}),
      ),
      "basses": (
        Line("picked bass", 33, "1-1-1-1-1-1-1-1-"),
        Line("picked bass", 33, "1.111.111.111.11"),
      ),
      "guitars": (
        Line("distorted guitar", 45, "p.ppp.ppp.ppp.pp"),
        Line("distorted guitar", 45, "p-------p---p---"),
        Line("distorted guitar", 69),
      ),
    },
  ),
  "techno": Style(
    bpm=(124, 140),
    minor_share=0.85,
    moods=(),
    major=("I vi IV I", "IM7 ii7 IM7 V7"),
    minor=("i i VI VII", "i iv VI i", "i7 iv7 v7 i7"),
    core=("drums", "synths", "basses", "SFX", "percussion"),
    parts={
      "drums": (
        Groove("techno drums", {"deep kick": FOUR, "clap": BACKBEAT, "hat": OFFBEATS}),
        Groove("techno drums", {"deep kick": FOUR, "open hat": OFFBEATS, "hat": SIXTEENTHS}),
      ),
      "basses": (
        Line("synth bass", 33, "..11..11..11..11"),
        Line("sub bass", 33, "1..1..1.1..1..1."),
      ),
      "synths": (
        Line("plucked synth", 67, "1.1.2.1.3.1.2.1."),
        Line("plucked synth", 64, "x..x..x...x..x.."),
        Line("synth pad", 60, WHOLE),
      ),
    },
  ),
  "disco": Style(
    bpm=(110, 126),
    minor_share=0.5,
    moods=(),
    major=("IM7 vi7 ii7 V7", "I vi IV V", "IV V iii7 vi7"),
    minor=("i7 VII VI v7", "i7 iv7 VII IIIM7", "i7 i7 iv7 v7"),
    core=("drums", "basses", "guitars", "strings", "keys"),
    parts={
      "drums": (
        Groove("disco drums", {"kick": FOUR, "snare": BACKBEAT, "open hat": OFFBEATS}),
        Groove("disco drums", {"kick": FOUR, "clap": BACKBEAT, "hat": SIXTEENTHS}),
      ),
      "basses": (
        Line("fingered bass", 33, "1-8-1-8-1-8-1-8-"),
        Line("fingered bass", 33, "1..81.8.1..85.8."),
      ),
      "guitars": (
        Line("muted guitar", 62, "xoxxoxoxxoxxoxox"),
        Line("electric guitar", 62, "....x..x....x.x."),
      ),
      "strings": (
        Line("staccato strings", 67, "1.2.3.4.3.2.1.2."),
        Line("string ensemble", 67, WHOLE),
      ),
      "winds": (Line("brass section", 65, "x..x..x-........"),),
    },
  ),
  "folk": Style(
    bpm=(76, 124),
    minor_share=0.35,
    moods=(),
    major=("I IV I V", "I V vi IV", "I iii IV I", "vi IV I V"),
    minor=("i VII VI VII", "i III VII i", "i iv i VII"),
    core=("guitars", "vocals", "strings", "basses", "keys"),
    parts={
      "drums": (
        Groove("brushed drums", {"brushed snare": "x.o.X.o.x.o.X.o.", "kick": "x.......x......."}),
      ),
      "basses": (
        Line("upright bass", 34, "1-------5-------"),
        Line("upright bass", 34, "1-----1-5---a---"),
      ),
      "guitars": (
        Line("acoustic guitar", 57, "1-3-2-4-1-3-2-4-"),
        Line("acoustic guitar", 57, "X---x-o-..x-x-o-"),
        Line("nylon guitar", 57, "1-2-3-2-4-2-3-2-"),
      ),
      "percussion": (
        Groove("tambourine", {"tambourine": "....x.......x.o."}),
        Groove("shaker", {"shaker": EIGHTHS}),
      ),
      "strings": (Line("solo violin", 74), Line("string ensemble", 62, WHOLE)),
      "winds": (Line("flute", 76), Line("clarinet", 67)),
    },
  ),
  "soul": Style(
    bpm=(66, 108),
    minor_share=0.4,
    moods=(),
    major=("IM7 vi7 ii7 V7", "I IV ii7 V7", "IVM7 iii7 ii7 IM7"),
    minor=("i7 iv7 VII IIIM7", "i7 VIM7 iv7 V7", "i7 iv7 i7 V7"),
    core=("vocals", "keys", "basses", "drums", "winds"),
    swing=0.1,
    parts={
      "drums": (
        Groove("soul drums", {"kick": "X..x..x...x.....", "snare": BACKBEAT, "hat": EIGHTHS}),
        Groove("soul drums", {"kick": "X.......X.x.....", "rim": BACKBEAT, "hat": SIXTEENTHS}),
      ),
      "basses": (
        Line("fingered bass", 34, "1-..1.5-8..5.1.a"),
        Line("fingered bass", 34, "1----.1.5---3-a-"),
      ),
      "keys": (
        Line("electric piano", 60, "x---..x-x---..x-"),
        Line("organ", 62, WHOLE),
        Line("grand piano", 60, "x---x---x---x-x-"),
      ),
      "guitars": (
        Line("electric guitar", 62, "....x.......x.x."),
        Line("muted guitar", 62, "..x...x...x...xo"),
      ),
      "winds": (Line("brass section", 65, "x-............x-"), Line("saxophone", 66)),
    },
  ),
  "latin": Style(
    bpm=(86, 112),
    minor_share=0.6,
    moods=(),
    major=("I IV V IV", "ii7 V7 IM7 IM7", "I vi ii V"),
    minor=("i iv v i", "i VII VI V", "i7 iv7 VII i7"),
    core=("percussion", "keys", "basses", "winds", "vocals"),
    parts={
      "drums": (
        Groove(
          "latin drums", {"kick": "x.....x.x.....x.", "rim": "x..x..x...x.x...", "hat": EIGHTHS}
        ),
      ),
      "basses": (
        Line("upright bass", 34, "1.....5.....8---"),
        Line("fingered bass", 34, "1--...5---..8---"),
      ),
      "percussion": (
        Groove(
          "congas and cowbell", {"high conga": "..x...x...xx..x.", "cowbell": "X...x.x.X...x.x."}
        ),
        Groove("congas", {"high conga": "..x...x...xx..x.", "low conga": "x......xx......."}),
        Groove("shaker and claves", {"shaker": SIXTEENTHS, "claves": "x..x..x...x.x..."}),
      ),
      "keys": (
        Line("grand piano", 65, "x.xx.x.xx.xx.x.x"),
        Line("grand piano", 65, "1.3.2.43.2.3.142"),
      ),
      "guitars": (Line("nylon guitar", 60, "x..x..x.x..x..x."),),
      "winds": (Line("brass section", 65, "x..x-...x..x-..."), Line("flute", 76)),
    },
  ),
  "classical": Style(
    bpm=(66, 132),
    minor_share=0.5,
    moods=(),
    major=("I IV V I", "I vi ii V", "I V vi iii", "IV I V I"),
    minor=("i iv v i", "i VI iv V", "i iv VII III", "i III VI VII"),
    core=("strings", "keys", "winds", "basses"),
    parts={
      "drums": (
        Groove("orchestral drums", {"snare": "x.......x.xxx...", "kick": "x..............."}),
      ),
      "percussion": (
        Groove("timpani", {"timpani": "X.......x...x.xx"}),
        Groove("triangle", {"triangle": "x...........x..."}),
      ),
      "basses": (
        Line("upright bass", 34, "1-------5-------"),
        Line("upright bass", 34, "1---3---5---a---"),
      ),
      "keys": (
        Line("grand piano", 62, "1.3.2.3.1.3.2.3."),
        Line("grand piano", 60, "x-------x---x---"),
        Line("grand piano", 65, "1.2.3.4.3.2.3.2."),
      ),
      "strings": (
        Line("string ensemble", 64, "x-------x-------"),
        Line("staccato strings", 62, "1.1.2.2.3.3.2.2."),
        Line("solo violin", 76),
      ),
      "guitars": (Line("nylon guitar", 57, "1-3-2-3-1-3-2-3-"),),
      "vocals": (Line("choir", 62, WHOLE),),
      "winds": (Line("flute", 77), Line("clarinet", 69), Line("brass section", 60, WHOLE)),
    },
  ),
  "waltz": Style(
    bpm=(92, 168),
    minor_share=0.45,
    moods=(),
    major=("I V V I", "I IV V I", "I vi ii V", "IV I V I"),
    minor=("i v VI i", "i iv V i", "i VI III VII"),
    core=("strings", "keys", "winds", "basses"),
    metre="3/4",
    parts={
      "basses": (
        Line("upright bass", 34, "1-----------"),
        Line("upright bass", 34, "1---3---5---"),
      ),
      "keys": (
        Line("grand piano", 62, "....x---x---"),
        Line("grand piano", 62, "1---2---3---"),
        Line("electric piano", 62, "x-----x-x---"),
      ),
      "guitars": (
        Line("nylon guitar", 57, "1...x...x..."),
        Line("acoustic guitar", 57, "X---x-o-x-o-"),
      ),
      "strings": (
        Line("string ensemble", 64, HELD),
        Line("staccato strings", 62, "....x...x..."),
        Line("solo violin", 76),
      ),
    },
  ),
  "jig": Style(
    bpm=(96, 124),
    minor_share=0.4,
    moods=(),
    major=("I IV I V", "I V IV V", "I vi IV V"),
    minor=("i VII i VII", "i VII VI VII", "i III VII i"),
    core=("strings", "winds", "guitars", "percussion"),
    metre="6/8",
    parts={
      "drums": (
        Groove(
          "jig drums", {"kick": "X.....x.....", "snare": "o.o.x.o.o.X.", "hat": "x.....x....."}
        ),
      ),
      "percussion": (
        Groove("taiko drums", {"taiko": "X.o.x.X.o.x."}),
        Groove("tambourine", {"tambourine": "x.o.x.X.o.x."}),
      ),
      "basses": (
        Line("upright bass", 34, "1-----5-----"),
        Line("fingered bass", 34, "1---1-5---5-"),
      ),
      "guitars": (
        Line("acoustic guitar", 57, "X.o.x.X.o.x."),
        Line("acoustic guitar", 57, "1.3.2.4.3.2."),
      ),
      "strings": (Line("solo violin", 76),),
      "winds": (Line("flute", 77),),
    },
  ),
  "doo-wop": Style(
    bpm=(48, 68),
    minor_share=0.2,
    moods=(),
    major=("I vi IV V", "I vi ii V", "I iii IV V"),
    minor=("i VI iv V", "i iv VI V"),
    core=("vocals", "keys", "basses", "drums", "guitars"),
    metre="6/8",
    parts={
      "keys": (Line("grand piano", 62, "x.x.x.x.x.x."), Line("organ", 62, HELD)),
      "basses": (
        Line("upright bass", 34, "1-----1---3-"),
        Line("fingered bass", 34, "1-----5---a-"),
      ),
      "guitars": (
        Line("electric guitar", 60, "1.2.3.4.3.2."),
        Line("electric guitar", 60, "......x....."),
      ),
      "winds": (Line("saxophone", 65),),
    },
  ),
}

# Basses that walk: on every beat, toward the next root.
WALKING = {"jazz": 0.8, "blues": 0.5, "country": 0.25, "waltz": 0.2, "classical": 0.15}
# How often a weak step of a snare has a ghost note.
GHOSTS = {
  "funk": 0.3, "soul": 0.22, "hip-hop": 0.12, "drum and bass": 0.2, "rock": 0.06, "jazz": 0.15,
  "disco": 0.08, "blues": 0.12, "pop": 0.04, "country": 0.08, "latin": 0.1, "reggae": 0.06,
}  # fmt: skip
WEIGHTS = {"waltz": 1.6, "jig": 0.8, "doo-wop": 0.8}  # beside 1 of the others
# Styles that are played in other metres too, with what is common to these, and how often.
OTHERWISE = {
  "3/4": ("ballad", "folk", "jazz", "country", "classical", "film score", "ambient", "soul"),
  "6/8": ("ballad", "folk", "blues", "rock", "film score", "soul", "pop"),
}
OTHERWISE_SHARE = 0.16
STYLES_TWO = STYLES | MORE
