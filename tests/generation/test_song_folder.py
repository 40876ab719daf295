"""Where a song may be written, as it is known before the work, and which files are its own."""

import pytest

from stemphonic_jax.errors import OutputError
from stemphonic_jax.generation import song_folder
from stemphonic_jax.generation.song_folder import check_output


def test_places_that_cannot_be_written_are_known_before_the_work(tmp_path):
  (tmp_path / "file").touch()
  for path in ("file/song", "file/deep/down"):
    with pytest.raises(OutputError, match="file cannot be written to"):
      check_output(tmp_path / path, overwrite=False)
  check_output(tmp_path / "not" / "yet" / "there", overwrite=False)
  assert not (tmp_path / "not").exists()


def test_a_folder_without_permission_is_known_before_the_work(tmp_path, monkeypatch):
  monkeypatch.setattr(song_folder.os, "access", lambda path, mode: path != tmp_path)
  with pytest.raises(OutputError, match="cannot be written to"):
    check_output(tmp_path / "song", overwrite=False)


@pytest.mark.parametrize(
  "name", ["a" * 300, "a" * 250, "a/" * 2500 + "b", "nul\0", "link", "loop/song"]
)
def test_paths_that_cannot_be_are_known_before_the_work(tmp_path, name):
  (tmp_path / "link").symlink_to("nowhere")
  (tmp_path / "loop").symlink_to("loop")
  for overwrite in (False, True):
    with pytest.raises(OutputError) as error:
      check_output(tmp_path / name, overwrite)
    assert len(str(error.value)) < 400


def test_a_song_json_nested_too_deeply_names_no_stems(tmp_path):
  (tmp_path / "song.json").write_text("[" * 100_000)
  assert "drums.wav" not in song_folder.song_files(tmp_path)
