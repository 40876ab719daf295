"""What docs/studio.md says of the REST API is run, against a studio of its own."""

import re
import shutil
import subprocess

import pytest

from tests.studio.conftest import ROOT

PAGE = (ROOT / "docs" / "studio.md").read_text()


def block(language, studio):
  """The example in a language, at the address of the studio that runs."""
  section = PAGE.partition("## The REST API")[2]
  (code,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.M | re.S)
  return code.replace("http://127.0.0.1:7700", studio.base)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(studio, tmp_path):
  code = block("bash", studio)
  subprocess.run(["bash", "-euo", "pipefail", "-c", code], cwd=tmp_path, check=True)
  assert (tmp_path / "beginning.wav").stat().st_size == 100_000
  assert (tmp_path / "slow-dub.dawproject").read_bytes()[:2] == b"PK"


def test_python(studio, tmp_path):
  done = subprocess.run(
    ["python", "-c", block("python", studio)], capture_output=True, text=True, check=True
  )
  assert done.stdout == "done None\n"
