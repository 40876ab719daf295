"""Every script is bash that parses, and that shellcheck finds nothing in."""

import subprocess
import sys
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
SHELLCHECK = Path(sys.executable).with_name("shellcheck")  # that of the extra `test`


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_parse(script):
  subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script):
  found = subprocess.run(
    [SHELLCHECK, "--severity=warning", "--external-sources", "--source-path=SCRIPTDIR", script],
    capture_output=True,
    text=True,
  )
  assert found.stdout == ""
