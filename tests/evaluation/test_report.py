"""The page to listen to: it holds together by itself, and says what it was given and no more."""

from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from stemphonic_jax.audio.levels import MIX_DBFS, dbfs
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.evaluation import report
from stemphonic_jax.evaluation.scores import Score
from stemphonic_jax.evaluation.shown.sheet import Line, Sheet
from stemphonic_jax.evaluation.songs.ablation import Run
from stemphonic_jax.evaluation.songs.trained import Model
from stemphonic_jax.evaluation.tables.paper import Measured
from tests import tiny

WILD = '<script>alert("1")</script> & $title'
VOID = {"meta", "input", "img", "br", "rect"}


class Page(HTMLParser):
  """What a page links to and says, and its tags if they nest."""

  def __init__(self, text):
    super().__init__()
    self.links, self.tags, self.open, self.text = [], [], [], ""
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))
    self.links += [value for name, value in attributes if name in ("src", "href", "srcset")]
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data


def piece(number, level=0.05):
  """Two tones, of which the second starts after half a second."""
  hertz = np.array([200, 500])[:, None] + number
  tones = level * np.sin(2 * np.pi * hertz * np.arange(tiny.SAMPLES) / tiny.RATE)
  audio = np.repeat(tones[..., None], 2, axis=2).astype(np.float32)
  audio[1, : tiny.SAMPLES // 4] = 0
  stems = {kind: Stem(kind, audio[k]) for k, kind in enumerate(("drums", "synth-vocals"))}
  return Mix(f"piece {number}", stems, WILD, 120.0)


def sheet():
  line = Line(WILD, (WILD,), {"synchrony": Score(0.9, 0.8, 0.95, 9)})
  return Sheet("figures", WILD, WILD, ("Songs",), ("synchrony", "fad_mix"), [line], {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """The folder of a report on a piece as the tiny model makes it in two ways."""
  out = tmp_path_factory.mktemp("report")
  model = Model("tiny", tiny.pipeline().bundle)
  asked = {"C-(ii) ✓ ✗": (model, Run()), "C-(ii) ✓ ✓": (model, Run(activity=True))}
  real = [piece(0), piece(1)]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(report, "StemPipeline", lambda _: tiny.pipeline())
    written = report.write_report(out, Measured([sheet()], asked, real, {None: 1}), 0)
  assert written == out / "figures" / "index.html"  # so that each table has its own
  return written.parent


@pytest.fixture(scope="module")
def page(folder):
  return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_tags_nest_and_ask_for_nothing_but_files_beside_the_page(folder, page):
  assert page.open == []
  assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "object", "embed", "base"})
  assert all((folder / link).is_file() for link in page.links)
  found = {str(path.relative_to(folder)) for path in folder.glob("audio/*/*/*")}
  assert set(page.links) == found
  assert "http" not in (folder / "index.html").read_text()


def test_there_is_a_player_for_every_stem_and_mix_of_every_version(page):
  players = [attributes for tag, attributes in page.tags if tag == "audio"]
  assert len(players) == 3 * (2 + 1)  # versions, stems and their mix
  assert all("controls" in player and player["aria-label"] for player in players)
  assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")


def test_style_and_script_are_in_the_page(folder):
  text = (folder / "index.html").read_text(encoding="utf-8")
  assert all(
    word in text for word in ("prefers-color-scheme", ".lanes {", "data-play", "timeupdate")
  )


def test_text_is_escaped(page):
  assert sum(tag == "script" for tag, _ in page.tags) == 1
  assert page.text.count(WILD) >= 5  # title, heading, row, note, and the prompts


def test_lanes_say_what_was_asked_and_what_is_found(page):
  said = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
  assert said[:2] == ["sounds 0.0 to 2.0 s", "sounds 0.5 to 2.0 s"]
  assert [word.startswith("asked for") for word in said[2:6]] == [False, False, True, True]
  assert said[5].startswith("asked for 0.5 to 2.0 s; sounds ")


def test_all_of_a_page_is_replaced_by_the_next_and_nothing_else(folder):
  audio = folder / "audio"
  found = {str(path.relative_to(audio)) for path in audio.glob("*/*/*")}
  (audio / "1" / "my notes.txt").touch()
  assert report._played(audio) == found
  (audio / "1" / "my notes.txt").unlink()


@pytest.mark.parametrize("level", [1e-3, 0.05, 3.0])
def test_stems_add_up_to_their_mix_and_none_is_clipped(tmp_path, level):
  version = report._save(tmp_path, "1/0-real", "real", piece(0, level), {})
  read = lambda name: soundfile.read(tmp_path / "1/0-real" / name)[0]  # noqa: E731
  whole, parts = read("mix.ogg"), [read(file) for file, _, _ in version.stems.values()]
  np.testing.assert_allclose(sum(parts), whole, atol=0.1)  # Vorbis is lossy
  assert dbfs(whole) == pytest.approx(MIX_DBFS, abs=0.5)
  assert max(np.abs(part).max() for part in (whole, *parts)) < 1.02
