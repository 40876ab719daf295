"""Styles as data: tempo, harmony and what each stem type may play, in a small notation of patterns.

A bar has 16 steps (sixteenth notes). In a pattern each character is one step; one of 32 characters
takes two bars.
  .  rest            -  hold the last note
  x  hit or chord    X  accented    o  soft    p  root, fifth and octave
  1..9  one chord tone, counted from the lowest; beyond the chord's size an octave higher
In a bass line, 1 3 5 are root, third and fifth, 8 is the octave and `a` approaches the next root.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
  """A pitched part: the voice that plays (voices.py), its pattern, the pitch it stays around.

  Without a pattern it is a melody, which the composer makes up.
  """

  voice: str
  centre: int
  pattern: str | None = None

  @property
  def name(self) -> str:
    return self.voice


@dataclass(frozen=True)
class Groove:
  """An unpitched part: one pattern per drum (drums.py), and its name in captions."""

  name: str
  lines: dict[str, str]


@dataclass(frozen=True)
class Effects:
  """Sounds at the borders of sections (effects.py): before a border, on it, and between."""

  name: str
  before: str
  on: str
  between: str | None = None


@dataclass(frozen=True)
class Style:
  """`swing` in [0, 0.5] delays every second of the steps `swing_steps` apart by that fraction."""

  bpm: tuple[int, int]
  minor_share: float  # probability of a minor key
  moods: tuple[str, ...]
  major: tuple[str, ...]  # progressions in major keys, one chord a bar
  minor: tuple[str, ...]  # and in minor keys
  core: tuple[str, ...]  # stem types that most pieces of the style have
  parts: dict[str, tuple[Line | Groove | Effects, ...]]  # where it differs from COMMON
  swing: float = 0.0
  swing_steps: int = 1
  metre: str = "4/4"


BACKBEAT = "....X.......X..."
FOUR = "X...X...X...X..."
EIGHTHS = "X.x.X.x.X.x.X.x."
SIXTEENTHS = "XoxoXoxoXoxoXoxo"
OFFBEATS = "..x...x...x...x."
WHOLE = "x---------------"

COMMON: dict[str, tuple[Line | Groove | Effects, ...]] = {
  "drums": (
    Groove("drums", {"kick": "X.....x.x.......", "snare": BACKBEAT, "hat": EIGHTHS}),
    Groove("drums", {"kick": "X.........x.....", "snare": BACKBEAT, "ride": "x.x.x.x.x.x.x.x."}),
  ),
  "basses": (
    Line("fingered bass", 34, "1-----1-1---5---"),
    Line("picked bass", 34, "1-1-1-1-1-1-1-a-"),
    Line("synth bass", 34, "1---..1-..1-8-5-"),
  ),
  "percussion": (
    Groove("shaker and tambourine", {"shaker": SIXTEENTHS, "tambourine": BACKBEAT}),
    Groove("congas", {"high conga": "..x...x...x.X.x.", "low conga": "x.......x..x...."}),
    Groove("shaker and claves", {"shaker": EIGHTHS, "claves": "x..x..x...x.x..."}),
    Groove("tambourine", {"tambourine": "x.x.X.x.x.x.X.x."}),
  ),
  "synths": (
    Line("synth pad", 60, WHOLE),
    Line("plucked synth", 70, "1.2.3.4.3.2.1.2."),
    Line("synth lead", 74),
    Line("bell synth", 74, "1...3...2...4..."),
  ),
  "keys": (
    Line("grand piano", 60, "x-------x---x---"),
    Line("electric piano", 60, "x-----x---x-----"),
    Line("organ", 62, WHOLE),
  ),
  "guitars": (
    Line("acoustic guitar", 57, "X-..x-o-..x-x-o-"),
    Line("electric guitar", 57, "1-2-3-4-3-2-4-3-"),
    Line("muted guitar", 60, "x.o.x.ox.ox.x.o."),
    Line("nylon guitar", 57, "1-3-2-4-3-4-2-3-"),
  ),
  "strings": (
    Line("string ensemble", 64, WHOLE),
    Line("staccato strings", 62, "1.3.2.3.4.3.2.3."),
    Line("solo violin", 77),
  ),
  "SFX": (
    Effects("risers and impacts", "riser", "impact"),
    Effects("reversed cymbals and sweeps", "reverse cymbal", "fall"),
    Effects("electronic effects", "riser", "fall", "blip"),
  ),
  "vocals": (Line("lead vocals", 67), Line("choir", 62, WHOLE)),
  "synth-vocals": (
    Line("vocoder", 62, "x---x-..x---..x-"),
    Line("vocal chops", 71, "..1.3...2.1...3."),
  ),
  "winds": (
    Line("flute", 77),
    Line("clarinet", 69),
    Line("saxophone", 65),
    Line("brass section", 63, "X-....x-....x-x-"),
  ),
}

STYLES = {
  "rock": Style(
    bpm=(104, 156),
    minor_share=0.4,
    moods=("driving", "gritty", "energetic", "defiant"),
    major=("I V vi IV", "I IV V IV", "I bVII IV I"),
    minor=("i VI III VII", "i VII VI VII", "i iv VI V"),
    core=("drums", "basses", "guitars", "vocals"),
    parts={
      "drums": (
        Groove("rock drums", {"kick": "X.....x.X.x.....", "snare": BACKBEAT, "hat": EIGHTHS}),
        Groove("rock drums", {"kick": "X.x...x...x..x..", "snare": BACKBEAT, "crash": FOUR}),
      ),
      "basses": (
        Line("picked bass", 34, "1-1-1-1-1-1-1-1-"),
        Line("picked bass", 34, "1---1-1-1---5-a-"),
      ),
      "guitars": (
        Line("distorted guitar", 46, "p-p-p-p-p-p-p-p-"),
        Line("distorted guitar", 46, "p-----p---p-----"),
        Line("electric guitar", 60, "1-3-2-3-4-3-2-3-"),
      ),
      "keys": (Line("organ", 62, WHOLE), Line("grand piano", 60, "x---x---x---x---")),
    },
  ),
  "pop": Style(
    bpm=(96, 128),
    minor_share=0.35,
    moods=("bright", "catchy", "uplifting", "bittersweet"),
    major=("I V vi IV", "vi IV I V", "I vi IV V"),
    minor=("i VI III VII", "VI VII i i", "i v VI VII"),
    core=("drums", "basses", "keys", "vocals", "synths"),
    parts={
      "drums": (
        Groove("pop drums", {"kick": "X.....x.X.......", "snare": BACKBEAT, "hat": EIGHTHS}),
        Groove("pop drums", {"deep kick": FOUR, "clap": BACKBEAT, "hat": OFFBEATS}),
      ),
    },
  ),
  "funk": Style(
    bpm=(92, 116),
    minor_share=0.7,
    moods=("groovy", "tight", "syncopated", "playful"),
    major=("I7 I7 IV7 I7", "I7 IV7 I7 V7", "IM7 ii7 IM7 ii7"),
    minor=("i7 i7 iv7 i7", "i7 IV7 i7 IV7", "i7 VII iv7 V7"),
    core=("drums", "basses", "guitars", "keys", "winds"),
    swing=0.14,
    parts={
      "drums": (
        Groove(
          "funk drums",
          {"kick": "X.x...x...x..x..", "tight snare": "....X..o.o..X..o", "hat": SIXTEENTHS},
        ),
        Groove(
          "funk drums",
          {"kick": "X..x..x...X.....", "tight snare": "....X..o....X.o.", "open hat": OFFBEATS},
        ),
      ),
      "basses": (
        Line("fingered bass", 34, "1..1..8.1.5..8.a"),
        Line("fingered bass", 34, "1.1..8...5.1.8.."),
      ),
      "guitars": (
        Line("muted guitar", 62, "x.xo.xx.xo.xx.xo"),
        Line("electric guitar", 62, "....x.x.....x.x."),
      ),
      "keys": (
        Line("clavinet", 60, "x.x..x.xo.x..x.."),
        Line("electric piano", 60, "x--.--x-..x---.."),
      ),
      "winds": (Line("brass section", 65, "......x.x-......"), Line("saxophone", 67)),
      "percussion": (
        Groove("congas and cowbell", {"high conga": "x..x..x.x..x.x..", "cowbell": FOUR}),
      ),
    },
  ),
  "house": Style(
    bpm=(118, 128),
    minor_share=0.7,
    moods=("hypnotic", "deep", "uplifting", "late-night"),
    major=("IM7 vi7 ii7 V7", "vi7 IV I V"),
    minor=("i7 VI VII v7", "i7 iv7 i7 v7", "VI VII i7 i7"),
    core=("drums", "basses", "synths", "keys", "SFX"),
    parts={
      "drums": (
        Groove("house drums", {"deep kick": FOUR, "clap": BACKBEAT, "open hat": OFFBEATS}),
        Groove(
          "house drums",
          {"deep kick": FOUR, "clap": BACKBEAT, "open hat": OFFBEATS, "hat": "xox.xoxoxox.xoxo"},
        ),
      ),
      "basses": (
        Line("synth bass", 34, "..1-..1-..1-..8-"),
        Line("sub bass", 34, "..1...1-..1..1.."),
      ),
      "keys": (
        Line("organ", 62, "..x...x...x..x.."),
        Line("electric piano", 60, "x..x..x...x..x.."),
      ),
      "synths": (
        Line("plucked synth", 70, "1.3.2.4.3.5.4.3."),
        Line("synth pad", 62, WHOLE),
        Line("plucked synth", 67, "x..x..x..x..x.x."),
      ),
    },
  ),
  "ballad": Style(
    bpm=(60, 84),
    minor_share=0.3,
    moods=("tender", "relaxing", "emotional", "nostalgic"),
    major=("I V vi IV", "I iii IV V", "I vi ii V", "IV V iii vi"),
    minor=("i VI III VII", "i iv VII III", "i v VI iv"),
    core=("keys", "strings", "vocals", "basses", "drums"),
    parts={
      "drums": (
        Groove(
          "soft drums", {"kick": "X.........x.....", "rim": "....x.......x...", "hat": EIGHTHS}
        ),
        Groove("soft drums", {"kick": "X.......x.......", "snare": BACKBEAT, "ride": EIGHTHS}),
      ),
      "basses": (
        Line("fingered bass", 34, "1-------5---1---"),
        Line("upright bass", 34, "1-----1-5-----a-"),
      ),
      "keys": (
        Line("grand piano", 62, "1-2-3-4-3-2-4-3-"),
        Line("grand piano", 60, "x-------x-----x-"),
        Line("electric piano", 60, "x-------1-2-3-4-"),
      ),
      "guitars": (
        Line("nylon guitar", 57, "1-3-4-3-2-3-4-3-"),
        Line("acoustic guitar", 57, "X---o---x---o-x-"),
      ),
    },
  ),
  "hip-hop": Style(
    bpm=(78, 98),
    minor_share=0.8,
    moods=("laid-back", "dusty", "moody", "smoky"),
    major=("IM7 vi7 ii7 V7", "IVM7 iii7 ii7 IM7"),
    minor=("i7 VIM7 iv7 v7", "i7 i7 VIM7 v7", "iv7 i7 iv7 V7"),
    core=("drums", "basses", "keys", "synth-vocals", "SFX"),
    swing=0.24,
    parts={
      "drums": (
        Groove(
          "boom bap drums",
          {"deep kick": "X..x......x..x..", "snare": BACKBEAT, "hat": EIGHTHS},
        ),
        Groove(
          "trap drums",
          {"deep kick": "X.....x...x.....", "clap": "........X.......", "hat": "xoxoxoxxxoxoxxxx"},
        ),
      ),
      "basses": (
        Line("sub bass", 32, "1--1------1--a--"),
        Line("sub bass", 32, "1-----1---1---5-"),
      ),
      "keys": (
        Line("electric piano", 60, "x------x--x-----"),
        Line("grand piano", 65, "1.2.3...4.3.2..."),
      ),
      "winds": (Line("saxophone", 65), Line("flute", 74)),
    },
  ),
  "country": Style(
    bpm=(84, 132),
    minor_share=0.1,
    moods=("relaxing", "sunny", "rootsy", "heartfelt"),
    major=("I IV I V", "I V IV I", "I IV V I", "I vi IV V"),
    minor=("i VII VI VII", "i III VII i"),
    core=("guitars", "basses", "drums", "vocals", "strings"),
    parts={
      "drums": (
        Groove("country drums", {"kick": "X.......X.......", "snare": BACKBEAT, "hat": EIGHTHS}),
        Groove(
          "train beat drums", {"kick": "X...x...X...x...", "brushed snare": "xoxXxoxXxoxXxoxX"}
        ),
      ),
      "basses": (
        Line("upright bass", 34, "1-------5-------"),
        Line("fingered bass", 34, "1---..5-1---5-a-"),
      ),
      "guitars": (
        Line("acoustic guitar", 57, "1---x-o-2---x-o-"),
        Line("acoustic guitar", 55, "X---x-o-..x-x-o-"),
        Line("electric guitar", 62, "1-2-4-3-1-2-4-3-"),
      ),
      "strings": (Line("solo violin", 76), Line("string ensemble", 64, WHOLE)),
    },
  ),
  "jazz": Style(
    bpm=(108, 176),
    minor_share=0.4,
    moods=("smooth", "swinging", "sophisticated", "cool"),
    major=("ii7 V7 IM7 vi7", "IM7 vi7 ii7 V7", "iii7 vi7 ii7 V7"),
    minor=("iio7 V7 i7 i7", "i7 iv7 iio7 V7", "iv7 VII7 IIIM7 V7"),
    core=("drums", "basses", "keys", "winds", "guitars"),
    swing=0.3,
    swing_steps=2,
    parts={
      "drums": (
        Groove("jazz drums", {"kick": "o.......o.......", "ride": "x...X.x.x...X.x."}),
        Groove(
          "brushed drums",
          {
            "brushed snare": "x...X.o.x...X.o.",
            "ride": "x...x.x.x...x.x.",
            "hat": "....x.......x...",
          },
        ),
      ),
      "basses": (
        Line("upright bass", 36, "1---3---5---a---"),
        Line("upright bass", 36, "1---5---8---a---1---3---5---a---"),
      ),
      "keys": (
        Line("grand piano", 62, "x--...x-....x-.."),
        Line("electric piano", 60, "..x-....x---..x-"),
      ),
      "guitars": (Line("electric guitar", 58, "x-..x-..x-..x-.."),),
      "winds": (Line("saxophone", 66), Line("clarinet", 70), Line("brass section", 64)),
      "percussion": (Groove("shaker", {"shaker": "o...x.o.o...x.o."}),),
    },
  ),
  "bossa nova": Style(
    bpm=(112, 144),
    minor_share=0.4,
    moods=("breezy", "warm", "romantic", "lazy"),
    major=("IM7 ii7 V7 IM7", "IM7 II7 ii7 V7", "IM7 IVM7 iii7 vi7"),
    minor=("i7 iio7 V7 i7", "i7 iv7 VII7 IIIM7"),
    core=("guitars", "basses", "percussion", "winds", "drums"),
    parts={
      "drums": (
        Groove(
          "bossa nova drums",
          {
            "kick": "x.....o.x.....o.",
            "rim": "x.....x.....x.......x.....x.....",
            "hat": "xoxoxoxoxoxoxoxo",
          },
        ),
      ),
      "basses": (Line("upright bass", 34, "1-----5-5-----1-"),),
      "guitars": (
        Line("nylon guitar", 57, "x-..x-..x-.x..x-"),
        Line("nylon guitar", 57, "1-.xx-.x1-.x.x.."),
      ),
      "percussion": (
        Groove(
          "shaker and claves",
          {"shaker": SIXTEENTHS, "claves": "x.....x.....x.......x.....x....."},
        ),
        Groove("congas", {"low conga": "x.......x.....x.", "high conga": "....x.x.....x..."}),
      ),
      "winds": (Line("flute", 76), Line("saxophone", 66)),
    },
  ),
  "reggae": Style(
    bpm=(66, 92),
    minor_share=0.5,
    moods=("sunny", "easygoing", "rootsy", "mellow"),
    major=("I IV I IV", "I V vi IV", "I ii IV V"),
    minor=("i iv i iv", "i VII i VII", "i v iv i"),
    core=("drums", "basses", "guitars", "keys", "vocals"),
    swing=0.12,
    parts={
      "drums": (
        Groove(
          "one drop drums", {"kick": "........X.......", "rim": "........X.......", "hat": EIGHTHS}
        ),
        Groove(
          "steppers drums", {"kick": FOUR, "rim": "........X.......", "hat": "x.xox.xox.xox.xo"}
        ),
      ),
      "basses": (
        Line("fingered bass", 33, "1-..1-3-5---..1-"),
        Line("sub bass", 33, "....1-1-3-5-..5-"),
      ),
      "guitars": (Line("muted guitar", 62, "....x.......x..."), Line("muted guitar", 62, OFFBEATS)),
      "keys": (Line("organ", 62, "..xo..xo..xo..xo"),),
      "winds": (
        Line("brass section", 63, "x-..x-.........................."),
        Line("saxophone", 65),
      ),
    },
  ),
  "synthwave": Style(
    bpm=(84, 122),
    minor_share=0.75,
    moods=("nostalgic", "neon-lit", "driving", "dreamy"),
    major=("IV V vi I", "I V ii IV"),
    minor=("i VI III VII", "VI VII i i", "i VII VI iv"),
    core=("synths", "drums", "basses", "SFX", "synth-vocals"),
    parts={
      "drums": (
        Groove("electronic drums", {"deep kick": FOUR, "snare": BACKBEAT, "hat": EIGHTHS}),
        Groove(
          "electronic drums",
          {"deep kick": "X.....x.X.......", "snare": BACKBEAT, "hat": SIXTEENTHS},
        ),
      ),
      "basses": (
        Line("synth bass", 34, "1.1.1.1.1.1.1.1."),
        Line("synth bass", 34, "1.1.8.1.1.8.1.8."),
      ),
      "synths": (
        Line("plucked synth", 72, "1234321254323432"),
        Line("synth pad", 60, WHOLE),
        Line("synth lead", 74),
      ),
      "winds": (Line("saxophone", 67),),
    },
  ),
  "drum and bass": Style(
    bpm=(164, 180),
    minor_share=0.8,
    moods=("frantic", "dark", "liquid", "energetic"),
    major=("I vi IV V", "IVM7 V iii7 vi7"),
    minor=("i VI VII v", "i7 i7 VIM7 VII", "i iv VI VII"),
    core=("drums", "basses", "synths", "SFX", "synth-vocals"),
    parts={
      "drums": (
        Groove(
          "breakbeat drums",
          {"kick": "X.........X.....", "tight snare": "....X..o.o..X..o", "hat": EIGHTHS},
        ),
        Groove(
          "breakbeat drums",
          {"kick": "X.x.......x.....", "tight snare": "....X..o.o..X...", "ride": EIGHTHS},
        ),
      ),
      "basses": (
        Line("sub bass", 32, "1-------..1-----"),
        Line("synth bass", 32, "1--1--1-..5--8--"),
      ),
      "keys": (
        Line("electric piano", 62, "x-----------x---"),
        Line("grand piano", 65, "x..x..x........."),
      ),
    },
  ),
  "ambient": Style(
    bpm=(60, 80),
    minor_share=0.5,
    moods=("calm", "floating", "meditative", "spacious"),
    major=("IM7 IVM7 IM7 IVM7", "I iii IV I", "IM7 vi7 IVM7 IVM7"),
    minor=("i VI i VI", "i7 VIM7 III VII", "i iv VI i"),
    core=("synths", "strings", "keys", "SFX", "vocals"),
    parts={
      "drums": (
        Groove("sparse drums", {"deep kick": "x...............", "rim": "........o....o.."}),
      ),
      "basses": (Line("sub bass", 32, WHOLE),),
      "percussion": (
        Groove(
          "triangle and shaker", {"triangle": "x...............", "shaker": "o...o...o...o..."}
        ),
      ),
      "synths": (
        Line("synth pad", 62, WHOLE),
        Line("bell synth", 76, "1...3.....2...4."),
      ),
      "keys": (
        Line("electric piano", 62, "1---3---2---4---"),
        Line("grand piano", 64, "x-----------1-3-"),
      ),
      "guitars": (
        Line("electric guitar", 60, "1---3---4---2---"),
        Line("nylon guitar", 57, "1-3-4-3-2-3-4-3-"),
      ),
      "vocals": (Line("choir", 62, WHOLE), Line("lead vocals", 67)),
      "SFX": (Effects("reversed cymbals and sweeps", "reverse cymbal", "fall", "blip"),),
      "winds": (Line("flute", 76), Line("clarinet", 67)),
    },
  ),
  "film score": Style(
    bpm=(76, 140),
    minor_share=0.8,
    moods=("epic", "tense", "heroic", "mysterious"),
    major=("I IV vi V", "I bVII IV I", "vi IV I V"),
    minor=("i VI III VII", "i VI iv V", "i i VI VII"),
    core=("strings", "percussion", "winds", "SFX", "vocals"),
    parts={
      "drums": (Groove("epic drums", {"taiko": "X.....x.x..x....", "snare": "....x.......x.xx"}),),
      "percussion": (
        Groove("timpani and taiko", {"timpani": "X.......x.....xx", "taiko": "X..x..x.X..x..x."}),
        Groove("taiko drums", {"taiko": "X.oox.ooX.oox.xx", "triangle": "x..............."}),
      ),
      "basses": (
        Line("upright bass", 34, "1---1---1---1---"),
        Line("sub bass", 32, WHOLE),
      ),
      "strings": (
        Line("staccato strings", 60, "1232123212321232"),
        Line("string ensemble", 65, WHOLE),
        Line("staccato strings", 57, "X.ox.oX.ox.oX.x."),
      ),
      "keys": (
        Line("grand piano", 65, "1.2.3.2.4.3.2.3."),
        Line("grand piano", 53, "X-------x-------"),
      ),
      "guitars": (
        Line("nylon guitar", 57, "1-3-2-4-3-4-2-3-"),
        Line("distorted guitar", 46, "p-------p---p---"),
      ),
      "winds": (
        Line("brass section", 60, "x-------x---x---"),
        Line("brass section", 65),
        Line("flute", 77),
      ),
      "vocals": (Line("choir", 62, WHOLE), Line("choir", 65, "x-------x-------")),
      "SFX": (Effects("risers and impacts", "riser", "impact"),),
    },
  ),
}
