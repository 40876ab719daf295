"""Stem types: the paper's eleven (Sec. 4.2), and what else people and datasets call them."""

from __future__ import annotations

import difflib
import re

from stemphonic_jax.errors import UsageError

STEM_TYPES = (
  "drums",
  "basses",
  "percussion",
  "synths",
  "keys",
  "guitars",
  "strings",
  "SFX",
  "vocals",
  "synth-vocals",
  "winds",
)
MIX = "mix"  # the type of a whole mix's only "stem"
# The three parts of a song in MusicGen-Stem: bass, drums, and the sum of what is neither nor sung.
ROLES = {"bass": ("basses",), "drums": ("drums", "percussion"), "other": ()}
SUNG = ("vocals", "synth-vocals")

# Words in lower case with single spaces; `_key` brings every spelling to that form. The short ones
# are those of track sheets and file names: "BGV", "OH L", "gtr 2".
ALIASES = {
  "drums": """
    drum, drumkit, drum kit, drum set, drum machine, drum loop, beat, beats, breakbeat, kit, dr,
    drm, drms, kick, kicks, kick drum, bass drum, bassdrum, kik, kck, bd, snare, snares, snare
    drum, snr, sn, sd, rim, rimshot, sidestick, hi hat, hi hats, hihat, hihats, hat, hats, hh,
    open hat, closed hat, tom, toms, floor tom, rack tom, cymbal, cymbals, cym, crash, ride,
    overhead, overheads, oh, ohs, tr 808, tr 909, 909, 707, 606
  """,
  "basses": """
    bass, bs, bass guitar, bass gtr, e bass, electric bass, bass synthesizer, bass synth, synth
    bass, contrabass, contrabasses, double bass, double basses, upright bass, acoustic bass,
    string bass, fretless bass, slap bass, sub, sub bass, subbass, bassline, bass line, reese,
    808, 808s, 808 bass
  """,
  "percussion": """
    perc, percs, prc, percussions, percussive, chromatic percussion, mallets, shaker, shakers,
    shkr, tambourine, tamb, tambo, conga, congas, bongo, bongos, djembe, cajon, tabla, timbales,
    timpani, cowbell, clap, claps, hand claps, handclaps, snap, snaps, finger snaps, maracas,
    guiro, claves, woodblock, wood block, triangle, bells, chimes, wind chimes, glockenspiel,
    marimba, vibraphone, vibes, xylophone, kalimba, steel drum, steel drums, steel pan
  """,
  "synths": """
    synth, syn, syns, syth, synthesizer, synthesizers, synthesiser, synth lead, synth pad, synth
    brass, synth strings, synth keys, synth pluck, pad, pads, lead, leads, arp, arps, arpeggio,
    arpeggiator, pluck, plucks, stab, stabs, supersaw
  """,
  "keys": """
    key, keyboard, keyboards, kbd, kbds, kb, piano, pianos, pno, grand piano, electric piano, e
    piano, epiano, ep, rhodes, wurlitzer, wurli, organ, organs, hammond, b3, clav, clavinet,
    clavi, harpsichord, celesta, mellotron, accordion, other keys
  """,
  "guitars": """
    guitar, gtr, gtrs, gt, gtar, git, guit, agtr, egtr, acgtr, elgtr, acoustic guitar, electric
    guitar, banjo, mandolin, ukulele, uke, lute, dobro, pedal steel, lap steel, slide guitar, 6
    string, 12 string, 12 string guitar
  """,
  "strings": """
    string, str, strs, bowed strings, string section, violin, violins, vln, vlns, fiddle, viola,
    violas, vla, cello, cellos, vc, vlc, pizz, pizzicato, orchestra, orch, harp
  """,
  "SFX": """
    fx, effects, sound effects, sound effect, sound fx, riser, risers, downlifter, uplifter,
    impact, impacts, sweep, sweeps, whoosh, foley, ambience, atmos, atmosphere, transition,
    transitions
  """,
  "vocals": """
    vocal, voc, vocs, vox, voice, voices, vx, ldv, ldvox, singer, singing, choir, choirs,
    backing vocals, backing vox, backing, bgv, bgvs, bgvox, bv, bvs, bvox, bvx, backups, back
    ups, harm, harms, harmony, harmonies, adlib, adlibs, ad lib, ad libs, rap, acapella,
    acappella, a cappella, a capella, spoken word, speech
  """,
  "synth-vocals": """
    synth vocal, synth voice, synth vox, synth choir, vocoder, talkbox, talk box, vocaloid
  """,
  "winds": """
    wind, brass, brass section, woodwind, woodwinds, horn, horns, hrn, hrns, horn section,
    french horn, english horn, flute, flutes, fl, pan flute, piccolo, recorder, reeds,
    saxophone, saxophones, sax, saxes, alto sax, tenor sax, trumpet, trumpets, tpt, tpts, trpt,
    flugelhorn, trombone, trombones, tbn, bass trombone, tuba, clarinet, clarinets, bass
    clarinet, oboe, bassoon, harmonica, blues harp
  """,
}
ALIASES = {kind: tuple(" ".join(words.split()).split(", ")) for kind, words in ALIASES.items()}

# What is heard together, not a stem: names, or words in the name of what is no stem otherwise.
MIXES = {MIX, "mixture", "mixdown", "mix down", "master", "premaster", "minus", "minus one"}
MIXES |= {"instrumental", "instrumentals", "accompaniment", "karaoke", "backing track", "drumless"}
WITHOUT = {"no", "non", "without", "minus", "less", "w/o", "wo", "sans", "except", "but"}
BETWEEN = {"lead", "the", "main", "any"}  # "no lead vocals"
DRY = re.compile(r"\b(no|without|w/o) (fx|effects|reverb|delay)\b")  # of a stem that it stays
# Beside another word for a type these say which of them: "lead guitar", "backing vocals". So does
# anything of two letters, which may be part of a title, but FX.
WEAK = {"lead", "leads", "backing", "harmony", "sub", "pad", "key"}


NEAR = 0.85  # a word with one letter too few or too many, as difflib compares them


def _key(name: str) -> str:
  return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")  # between the words of "LeadVox"
_TYPE_OF = {_key(name): kind for kind, names in ALIASES.items() for name in (kind, *names)}


def role_of(kind: str) -> str | None:
  """The part of a song, one of ROLES, that a stem type belongs to; None of what is sung.

  A stem that is such a part as a whole may have its name for a type.
  """
  if kind in SUNG:
    return None
  if kind in ROLES:
    return kind
  return next((role for role, kinds in ROLES.items() if kind in kinds), "other")


def parse_type(name: str) -> str:
  """The canonical stem type for a word, whatever its case: 'Bass' -> 'basses', 'fx' -> 'SFX'.

  UsageError with the nearest type and the whole list where the word is not known.
  """
  key = _key(name)
  if key in _TYPE_OF:
    return _TYPE_OF[key]
  near = difflib.get_close_matches(key, _TYPE_OF, n=1)
  hint = f" did you mean {_TYPE_OF[near[0]]!r}?" if near else ""
  raise UsageError(f"unknown stem type {name!r};{hint} types: {', '.join(STEM_TYPES)}")


def guess_type(name: str) -> str:
  """The type that the name of a stem means, or the name as a free type: lower case, no numbers.

  A word for a type, one letter or so beside it ('Gitar 2' -> 'guitars'), or several words of which
  one is such a word and no other contradicts ('lead vocal' -> 'vocals'). 'theremin' stays, and so
  does what is of no type because it is a mix ('no vocals').
  """
  if known := _known(name):
    return known
  key = _unnumbered(name)
  if is_mix(name):
    return key
  spaced = _unnumbered(DRY.sub(" ", _key(_CAMEL.sub(" ", name))))
  words = [word for word in _phrases(spaced) if word in _TYPE_OF]
  strong = [word for word in words if word not in WEAK and (len(word) > 2 or word == "fx")]
  if meant := {_TYPE_OF[word] for word in strong or words}:
    return meant.pop() if len(meant) == 1 else key
  near = difflib.get_close_matches(key, _TYPE_OF, n=1, cutoff=NEAR)
  return _TYPE_OF[near[0]] if near else key


def knows(name: str) -> bool:
  """Whether a stem's name, numbers aside, is a word for a type, so that `guess_type` is certain."""
  return _known(name) is not None


def is_mix(name: str) -> bool:
  """Whether a name says that several stems are heard: 'mixture', 'Mix_v3', 'no_vocals'.

  Only what is named right after 'no' or the like counts: 'guitar no. 2' and 'vox (no reverb)' are
  stems.
  """
  parts = (_unnumbered(part) for part in (name, *re.split(r"[()\[\]]| - ", name)))
  if any(part in MIXES for part in parts):
    return True
  words = _phrases(_unnumbered(DRY.sub(" ", _key(name))))
  if any(word in MIXES for word in words) and not any(word in _TYPE_OF for word in words):
    return True
  for place, word in enumerate(words):
    left = [other for other in words[place + 1 : place + 3] if other not in BETWEEN]
    if word in WITHOUT and left and (left[0] in _TYPE_OF or left[0] == "other"):
      return True
    if word in _TYPE_OF and words[place + 1 : place + 2] == ["removed"]:
      return True
    if word.startswith("no") and len(word) > 4 and word[2:] in _TYPE_OF:  # "novox"
      return True
  return False


def _known(name: str) -> str | None:
  """The type that a name is a word for: as it stands ('808'), or without numbers ('gtr 2')."""
  for key in (_plain(name), _unnumbered(name), _unnumbered(_CAMEL.sub(" ", name))):
    if key in _TYPE_OF:
      return _TYPE_OF[key]
  return None


def _phrases(key: str) -> list[str]:
  """The words of a name, of which those that mean something together are one."""
  words, found = key.split(), []
  while words:
    count = next((n for n in (3, 2) if " ".join(words[:n]) in _TYPE_OF), 1)
    found.append(" ".join(words[:count]))
    words = words[count:]
  return found


def _plain(name: str) -> str:
  """'02 Guitar (L)' -> '02 guitar l'."""
  return _key(re.sub(r"[.,#()\[\]{}]+", " ", name))


def _unnumbered(name: str) -> str:
  """'02 Guitar (L) 1' -> 'guitar l'; what has no letters stays, and nothing is 'other'."""
  key = _key(name)
  return _key(re.sub(r"[\d.,#()\[\]{}]+", " ", key)) or key or "other"
