import numpy as np
import pytest

from stemphonic_jax.audio.figures import spectrogram_figure, stems_figure
from stemphonic_jax.errors import OutputError
from stemphonic_jax.evaluation.shown.figures import scores_figure

RATE = 8000


def stems() -> dict[str, np.ndarray]:
  time = np.arange(2 * RATE) / RATE
  tone = np.where(time < 1.0, 0.5 * np.sin(2 * np.pi * 1000 * time), 0.0)
  sound = np.stack([tone, tone], axis=1).astype(np.float32)
  return {"synths": sound, "guitars 2": np.zeros_like(sound)}


def read_png(path) -> np.ndarray:
  from matplotlib.image import imread

  return imread(path)


def test_the_stems_figure_shows_the_lane_in_the_colour_of_its_stem(tmp_path):
  path = tmp_path / "stems.png"
  hop = 3200  # of which five go into the sound of 16 000 samples; a sixth would go on beyond it
  lanes = {"synths": np.array([1, 1, 1, 0, 0, 0], np.int8)}
  stems_figure(path, stems(), lanes, RATE, "a title " * 40, hop=hop)
  image = read_png(path)
  blue = np.abs(image[..., :3] - [0x3B / 255, 0x6F / 255, 0xB6 / 255]).max(axis=-1) < 0.02
  row = blue[np.flatnonzero(blue.sum(axis=1) > 300)[-1]]  # through the lane, below the waveform
  lit = np.flatnonzero(row)
  assert lit[-1] - lit[0] + 1 == row.sum()  # one block, over 0.6 of the axis of 0.835 of the width
  assert row.sum() / image.shape[1] == pytest.approx(0.6 * 0.835, abs=0.02)
  assert [p.name for p in tmp_path.iterdir()] == ["stems.png"]


def test_figures_take_silence_short_sound_no_lanes_and_any_title(tmp_path):
  silent = {"vocals": np.zeros((10, 2), np.float32), "SFX": np.zeros((10, 2), np.float32)}
  stems_figure(tmp_path / "a.png", silent, None, RATE, r"a title of $100 and \\frac$")
  spectrogram_figure(tmp_path / "b.png", silent, RATE)
  for name in ("a.png", "b.png"):
    assert read_png(tmp_path / name).shape[1] == 1320


@pytest.mark.parametrize(
  "letters", ["慢慢的钢琴", "ギター", "기타", "गिटार", "غيتار", "🎸", "\U000f0000"]
)
def test_letters_that_no_font_has_are_no_noise(tmp_path, letters, recwarn, capfd):
  sound = {letters: np.zeros((100, 2), np.float32)}
  stems_figure(tmp_path / "a.png", sound, None, RATE, letters)
  spectrogram_figure(tmp_path / "b.png", sound, RATE, letters)
  scores_figure(tmp_path / "c.png", {letters: ({}, False)}, {"x": ("X", "higher")}, letters)
  assert not recwarn.list
  assert capfd.readouterr() == ("", "")
  assert len(list(tmp_path.iterdir())) == 3


def test_the_spectrogram_is_brightest_at_the_pitch_while_it_sounds(tmp_path):
  path = tmp_path / "spectrogram.png"
  spectrogram_figure(path, {"synths": stems()["synths"]}, RATE)
  image = read_png(path)
  edge, height, width = round(0.55 * 110), *image.shape[:2]  # margins of 0.55 inches at 110 dpi
  axis = image[edge : height - edge, int(0.15 * width) : int(0.985 * width), :3]
  rows, columns = np.nonzero(axis.sum(axis=-1) > 2.0)
  assert columns.mean() / axis.shape[1] == pytest.approx(0.25, abs=0.03)
  pitch = np.log2(1000 / 40) / np.log2(RATE / 2 / 40)
  assert 1 - rows.mean() / axis.shape[0] == pytest.approx(pitch, abs=0.05)


def test_an_unwritable_place_is_an_output_error(tmp_path):
  with pytest.raises(OutputError, match="cannot be written"):
    stems_figure(tmp_path / "absent" / "x.png", stems(), None, RATE)
