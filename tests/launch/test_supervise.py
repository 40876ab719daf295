"""The supervisor of a run, on commands small enough to see through: what is run again, and when."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "launch" / "supervise.sh"
FAST = ("--wait=0.01", "--longest=0.02")


def supervise(command, *options, **kwargs):
  """Runs a line of bash under the supervisor with waits that do not matter."""
  return subprocess.run(
    ["bash", SCRIPT, *FAST, *options, "--", "bash", "-c", command],
    capture_output=True, text=True, timeout=30, **kwargs,
  )  # fmt: skip


def start(command, *options):
  return subprocess.Popen(
    ["bash", SCRIPT, *FAST, *options, "--", "bash", "-c", command],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    # Bash cannot trap what was ignored when it began, as SIGINT is in jobs of the background.
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )  # fmt: skip


def wait_for(path):
  while not path.exists():
    time.sleep(0.01)


@pytest.mark.parametrize("code", [70, 71, 75, 134, 137, 139, 142, 143])
def test_what_may_pass_is_run_again_until_it_is_done(tmp_path, code):
  ended = supervise(f"echo >>{tmp_path}/runs; (($(wc -l <{tmp_path}/runs) > 2)) || exit {code}")
  assert ended.returncode == 0
  assert len((tmp_path / "runs").read_text()) == 3
  assert ended.stderr.count(f"exit {code}") == 2


@pytest.mark.parametrize("code", [1, 2, 65, 66, 73, 74, 76, 78, 127, 130])
def test_what_would_happen_again_is_not(tmp_path, code):
  ended = supervise(f"echo >>{tmp_path}/runs; exit {code}")
  assert ended.returncode == code
  assert len((tmp_path / "runs").read_text()) == 1
  assert ended.stderr.count("\n") == 1


def test_a_killed_command_is_run_again(tmp_path):
  ended = supervise(f"[ -e {tmp_path}/killed ] || {{ touch {tmp_path}/killed; kill -9 $$; }}")
  assert ended.returncode == 0
  assert "exit 137" in ended.stderr


def test_restarts_without_progress_end_with_the_last_code(tmp_path):
  ended = supervise(f"echo >>{tmp_path}/runs; exit 70", "--restarts=3")
  assert ended.returncode == 70
  assert len((tmp_path / "runs").read_text()) == 4
  assert "given up after 3 restarts without progress" in ended.stderr


@pytest.mark.parametrize("kind", ["checkpoints", "log"])
def test_progress_renews_the_restarts(tmp_path, kind):
  """Seven failures with two restarts allowed: steps go on six times, then stand still."""
  run, log = tmp_path / "dit", tmp_path / "dit" / "metrics.jsonl"
  run.mkdir()
  log.touch()
  save = {
    "checkpoints": f"mkdir -p {run}/checkpoints/$((n * 500)) {run}/checkpoints/9999.partial",
    "log": f"""echo '{{"step": '$((n * 500))', "loss": 0.5}}' >>{log}""",
  }[kind]
  ended = supervise(
    f"echo >>{tmp_path}/runs; n=$(wc -l <{tmp_path}/runs); ((n > 5)) && n=5; {save}; exit 70",
    "--restarts=2",
    f"--workdir={tmp_path}",
  )
  assert ended.returncode == 70
  steps = [int(step) for step in re.findall(r"exit 70 at step (\d+)", ended.stderr)]
  assert steps == [500, 1000, 1500, 2000, 2500, 2500, 2500]


def test_an_older_step_is_no_progress(tmp_path):
  """A run that falls behind its last checkpoint and catches up again has gained nothing."""
  run = tmp_path / "dit"
  (run / "checkpoints" / "20").mkdir(parents=True)
  (run / "metrics.jsonl").touch()
  move = "mv 20 10 2>/dev/null || mv 10 20"
  ended = supervise(
    f"cd {run}/checkpoints; {move}; exit 75", f"--workdir={tmp_path}", "--restarts=2"
  )
  assert ended.returncode == 75
  assert re.findall(r"at step (\d+)", ended.stderr) == ["10", "20", "10"]


def test_waits_double_within_their_bounds():
  ended = supervise("exit 70", "--wait=0.04", "--longest=0.3", "--restarts=5")
  waits = [float(seconds) for seconds in re.findall(r"in ([\d.]+) s", ended.stderr)]
  for wait, most in zip(waits, [0.04, 0.08, 0.16, 0.3, 0.3], strict=True):
    assert most / 2 <= wait <= most


def test_sigterm_reaches_the_command_which_is_not_run_again(tmp_path):
  job = start(
    f"trap 'echo saved >{tmp_path}/saved; exit 75' TERM; touch {tmp_path}/up;"
    " while true; do sleep 0.05; done"
  )
  wait_for(tmp_path / "up")
  job.terminate()
  _, log = job.communicate(timeout=10)
  assert job.returncode == 75
  assert (tmp_path / "saved").read_text() == "saved\n"
  assert "restart" not in log


def test_sigterm_between_two_runs_ends_it():
  job = start("exit 70", "--wait=60", "--longest=60")
  assert "restart 1" in job.stderr.readline()
  job.terminate()
  job.communicate(timeout=10)
  assert job.returncode == 70


def test_a_command_that_ignores_sigterm_is_killed_with_all_it_has_started(tmp_path):
  job = start(
    f"trap '' TERM; sleep 60 & echo $! >{tmp_path}/worker.partial;"
    f" mv {tmp_path}/worker.partial {tmp_path}/worker; wait",
    "--grace=0.2",
  )
  wait_for(tmp_path / "worker")
  job.terminate()
  _, log = job.communicate(timeout=10)
  assert job.returncode == 137
  assert "SIGKILL" in log
  assert dies(int((tmp_path / "worker").read_text()))


def test_what_a_dead_command_has_left_behind_is_ended(tmp_path):
  supervise(f"sleep 60 >/dev/null 2>&1 & echo $! >{tmp_path}/worker; exit 2")
  assert dies(int((tmp_path / "worker").read_text()))


def test_ctrl_c_asks_the_command_to_save(tmp_path):
  job = start(f"trap 'exit 75' TERM; touch {tmp_path}/up; while true; do sleep 0.05; done")
  wait_for(tmp_path / "up")
  job.send_signal(signal.SIGINT)
  job.communicate(timeout=10)
  assert job.returncode == 75


def test_dry_run_runs_nothing(tmp_path):
  ended = supervise(f"touch {tmp_path}/ran", "--dry-run", f"--workdir={tmp_path}")
  assert ended.returncode == 0
  assert f"touch\\ {tmp_path}/ran" in ended.stdout
  assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (["--restart=3", "--", "true"], "unknown option '--restart=3'"),
    (["--restarts=many", "--", "true"], "--restarts: got 'many'"),
    (["--wait=soon", "--", "true"], "--wait: got 'soon'"),
    ([], "no command"),
  ],
)
def test_a_wrong_option_is_one_line(options, message):
  ended = subprocess.run(["bash", SCRIPT, *options], capture_output=True, text=True, timeout=10)
  assert ended.returncode == 2
  assert message in ended.stderr
  assert ended.stderr.count("\n") == 1


def test_help_names_every_option():
  ended = subprocess.run(["bash", SCRIPT, "--help"], capture_output=True, text=True, check=True)
  options = set(re.findall(r"^ +(--[a-z-]+)[=)]", SCRIPT.read_text(), re.MULTILINE))
  assert options - {"--help"} <= set(re.findall(r"--[a-z-]+", ended.stdout))


def dies(process):
  """Whether a process that was sent SIGKILL ends, which takes the kernel a moment."""
  until = time.monotonic() + 10
  while alive(process) and time.monotonic() < until:
    time.sleep(0.01)
  return not alive(process)


def alive(process):
  """Whether a process runs; one that has ended but was not asked about does not."""
  try:
    os.kill(process, 0)
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
  except (ProcessLookupError, FileNotFoundError):
    return False
