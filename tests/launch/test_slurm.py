"""The batch script for SLURM, before an srun that runs its command here."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
SCRIPT = LAUNCH / "slurm_gpu.sbatch"


@pytest.fixture
def job(tmp_path):
  """Starts the script as SLURM does: a copy of it elsewhere, `folder` being where it was submitted.

  The training is a line of bash; what SLURM was told is in `folder/told`.
  """
  folder = tmp_path / "checkout"
  (folder / "launch").mkdir(parents=True)
  (folder / "launch" / "venv.sh").write_text("use_venv() { echo venv $1 >>told; }\n")
  for name in ("supervise.sh", "options.sh"):
    shutil.copy(LAUNCH / name, folder / "launch")
  spool = tmp_path / "slurm_script"
  shutil.copy(SCRIPT, spool)
  programs = tmp_path / "bin"
  programs.mkdir()

  def start(training):
    for name, line in {
      "srun": f"echo srun $* >>{folder}/told; exec bash -c '{training}'",
      "scontrol": f"echo scontrol $* >>{folder}/told",
    }.items():
      (programs / name).write_text(f"#!/usr/bin/env bash\n{line}\n")
      (programs / name).chmod(0o755)
    env = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    env |= {"SLURM_SUBMIT_DIR": str(folder), "SLURM_JOB_ID": "17"}
    return subprocess.Popen(
      ["bash", spool, "--config=c.py", f"--workdir={folder}/run"],
      env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip

  start.folder = folder
  return start


def told(job):
  return (job.folder / "told").read_text().splitlines()


def test_the_training_runs_on_every_node_in_the_environment(job):
  ended = job("exit 0")
  ended.communicate(timeout=20)
  assert ended.returncode == 0
  [venv, srun] = told(job)
  assert venv == "venv cuda"
  assert "python -m stemphonic_jax.main --config=c.py --workdir=" in srun
  # Hosts that fail together must be left to say so together.
  assert "--kill-on-bad-exit=0" in srun


def test_when_the_time_is_up_the_run_saves_and_is_queued_again(job):
  running = job('trap "exit 75" TERM; touch up; while true; do sleep 0.05; done')
  while not (job.folder / "up").exists():
    time.sleep(0.01)
  running.send_signal(signal.SIGTERM)
  running.communicate(timeout=20)
  assert running.returncode == 75
  assert told(job)[-1] == "scontrol requeue 17"


def test_a_run_that_cannot_go_on_is_not_queued_again(job):
  ended = job("exit 78")
  ended.communicate(timeout=20)
  assert ended.returncode == 78
  assert not [line for line in told(job) if "scontrol" in line]


def test_slurm_is_asked_to_warn_and_to_queue_again():
  options = [line.split()[1] for line in SCRIPT.read_text().splitlines() if "#SBATCH -" in line]
  assert {"--requeue", "--signal=B:TERM@600", "--ntasks-per-node=1"} <= set(options)
  # What SLURM reads ends at the first command.
  before = SCRIPT.read_text().partition("set -euo")[0]
  assert before.count("#SBATCH") == len(options)


def test_dry_run_prints_the_command(tmp_path):
  ended = subprocess.run(
    ["bash", SCRIPT, "--dry-run", "--config=c.py", f"--workdir={tmp_path}"],
    capture_output=True, text=True, timeout=20, check=True,
  )  # fmt: skip
  assert "srun --kill-on-bad-exit=0 --wait=60 python -m stemphonic_jax.main" in ended.stdout
  assert f"progress in {tmp_path}" in ended.stdout


def test_a_workdir_that_all_nodes_see_must_be_named():
  ended = subprocess.run(["bash", SCRIPT, "--config=c.py"], capture_output=True, text=True)
  assert ended.returncode == 2
  assert ended.stderr == "slurm_gpu: --workdir=DIR is missing; name a folder that all nodes see\n"
