"""The script for slices of TPUs, before a gcloud that notes what it is asked."""

import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "launch" / "tpu_pod.sh"
WHERE = ("--zone=us-west4-a", "--share=10.0.0.2:/runs")
CONFIG = ("--", "--config=configs/c_ii.py")
# Answers what the test has laid out, a line for each call, and does nothing.
SCRIPTED = """#!/usr/bin/env bash
echo "$*" | tr '\\n' ' ' >>calls && echo >>calls
take() { head -n 1 "$1"; sed -i 1d "$1"; }
case $* in
  *describe*) state=$(take states); [[ $state == absent ]] && { echo NOT_FOUND >&2; exit 1; }
    [[ $state == offline ]] && exit 1; echo "$state" ;;
  *--dry-run*) take reports | tr , '\\n' ;;
esac
"""
# Runs a line meant for a host here, at home.
LOCAL = """#!/usr/bin/env bash
for argument in "$@"; do
  case $argument in --command=*) exec bash -c "cd; ${argument#--command=}" ;; esac
done
"""


def pod(folder, *arguments, gcloud=SCRIPTED):
  """Runs the script where `folder/bin` is first on the path and `folder` is home."""
  program = folder / "bin" / "gcloud"
  program.parent.mkdir(exist_ok=True)
  program.write_text(gcloud.replace("calls", f"{folder}/calls").replace("take ", f"take {folder}/"))
  program.chmod(0o755)
  env = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(folder)}
  return subprocess.run(
    ["bash", SCRIPT, *arguments], env=env, capture_output=True, text=True, timeout=60
  )


def lay_out(folder, states, reports):
  (folder / "states").write_text("\n".join(states) + "\n")
  (folder / "reports").write_text("\n".join(reports) + "\n")


def calls(folder):
  """What the cloud was asked for, in a word each; not how it is."""
  verbs = {"create": "create", "delete": "delete", "scp": "copy", "use_venv tpu": "install"}
  verbs |= {"-m stemphonic_jax.main": "run", "kill $(cat": "stop"}
  done = []
  for line in (folder / "calls").read_text().splitlines():
    if "describe" not in line and "--dry-run" not in line:
      done.append(next(verb for word, verb in verbs.items() if word in line))
  return done


def commands(ended):
  """The commands that a dry run has printed, as lists of words."""
  assert ended.returncode == 0, ended.stderr
  text = re.sub(r"\$'((?:[^'\\]|\\.)*)'", lambda m: shlex.quote(unescape(m[1])), ended.stdout)
  lines = iter(text.splitlines(keepends=True))
  found = []
  for line in lines:
    while True:
      try:
        found.append(shlex.split(line))
        break
      except ValueError:  # a quoted word goes on in the next line
        line += next(lines)
  return found


def unescape(text):
  return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text)


@pytest.mark.parametrize(
  ("kind", "version"),
  [("v5litepod-64", "v2-alpha-tpuv5-lite"), ("v5p-128", "v2-alpha-tpuv5")],
)
def test_create_asks_for_a_spot_slice(tmp_path, kind, version):
  [create, describe] = commands(pod(tmp_path, "create", "--dry-run", *WHERE, f"--type={kind}"))
  assert create[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", "stemphonic"]
  assert set(create[6:]) == {
    "--node-id=stemphonic", f"--accelerator-type={kind}", f"--runtime-version={version}",
    "--spot", "--zone=us-west4-a",
  }  # fmt: skip
  assert describe[3:6] == ["queued-resources", "describe", "stemphonic"]


def test_options_reach_every_command(tmp_path):
  options = ("--name=blue", "--project=music", "--on-demand", "--version=v9", "--type=v9-8")
  for command in commands(pod(tmp_path, "keep", "--dry-run", *WHERE, *options, *CONFIG)):
    assert {"--zone=us-west4-a", "--project=music"} <= set(command)
    assert "--spot" not in command
    assert any(word.startswith("blue") for word in command)


def test_every_host_gets_the_checkout_and_an_environment(tmp_path):
  [copy, install] = commands(pod(tmp_path, "install", "--dry-run", *WHERE))
  assert copy[3:5] == ["tpu-vm", "scp"]
  assert "--worker=all" in copy
  assert "--worker=all" in install
  [line] = [word for word in install if word.startswith("--command=")]
  assert "mount -t nfs -o hard,lookupcache=positive 10.0.0.2:/runs /mnt/stemphonic" in line
  assert "use_venv tpu" in line
  subprocess.run(["bash", "-n", "-c", line.removeprefix("--command=")], check=True)


def test_the_checkout_is_copied_without_what_git_ignores(tmp_path):
  """The archive of a real `install` holds the sources and no run."""
  ended = pod(
    tmp_path, "install", *WHERE,
    gcloud=f'#!/usr/bin/env bash\n[[ $4 != scp ]] || cp "$5" {tmp_path}/archive.tar.gz',
  )  # fmt: skip
  assert ended.returncode == 0, ended.stderr
  listed = subprocess.run(
    ["tar", "-tzf", tmp_path / "archive.tar.gz"], capture_output=True, text=True, check=True
  )
  names = listed.stdout.splitlines()
  assert {"setup.cfg", "launch/supervise.sh", "stemphonic_jax/main.py"} <= set(names)
  assert not [name for name in names if name.startswith((".venv", ".git/", ".pytest_cache"))]


def test_training_runs_supervised_until_it_is_stopped(tmp_path):
  """`run` and `restart` as a host gets them, with a training that saves when it is told to end."""
  home = tmp_path / "stemphonic_jax"
  (home / ".venv" / "bin").mkdir(parents=True)
  shutil.copytree(SCRIPT.parent, home / "launch")
  python = home / ".venv" / "bin" / "python"
  python.write_text(
    '#!/usr/bin/env bash\ntrap "echo saved; exit 75" TERM\nprintf "got %s\\n" "$@"\n'
    "while true; do sleep 0.05; done\n"
  )
  python.chmod(0o755)
  log, pid = tmp_path / "stemphonic.log", tmp_path / "stemphonic.pid"
  try:
    for restarts, verb in enumerate(["run", "restart"]):
      ended = pod(tmp_path, verb, *WHERE, *CONFIG, "--config.text=a 'b' $c", gcloud=LOCAL)
      assert ended.returncode == 0, ended.stderr
      until(lambda n=restarts + 1: log.exists() and log.read_text().count("--workdir") == n)
    words = [line for line in log.read_text().splitlines() if line.startswith("got ")]
    assert words[:4] == ["got -m", "got stemphonic_jax.main", "got --config=configs/c_ii.py",
                         "got --config.text=a 'b' $c"]  # fmt: skip
    assert words[4] == "got --workdir=/mnt/stemphonic/stemphonic"
    assert log.read_text().count("saved") == 1
  finally:
    subprocess.run(["kill", pid.read_text().strip()], check=True)
  until((tmp_path / "stemphonic.exit").exists)
  assert (tmp_path / "stemphonic.exit").read_text() == "75\n"


def until(what):
  end = time.monotonic() + 20
  while not what():
    assert time.monotonic() < end
    time.sleep(0.02)


def test_keep_asks_again_for_a_slice_that_was_taken_away(tmp_path):
  lay_out(
    tmp_path,
    ["absent", "WAITING_FOR_RESOURCES", "ACTIVE", "ACTIVE",
     "SUSPENDED", "ACTIVE", "ACTIVE", "SUSPENDED", "ACTIVE", "ACTIVE"],
    ["running step 100,running step 100", "running step 200,running step 200",
     "ended 0 step 300,ended 0 step 300"],
  )  # fmt: skip
  ended = pod(tmp_path, "keep", *WHERE, "--poll=0.01", "--restarts=1", *CONFIG)
  assert ended.returncode == 0, ended.stderr
  fresh = ["create", "copy", "install", "stop", "run"]
  assert calls(tmp_path) == [*fresh, "delete", *fresh, "delete", *fresh]


def test_keep_starts_a_host_that_forgot_its_training(tmp_path):
  """As after the maintenance of one host: all of them start again, on the slice there is."""
  lay_out(
    tmp_path,
    ["ACTIVE", "ACTIVE", "ACTIVE"],
    ["running step 9,running step 9", "absent step 9,running step 9", "ended 0 step 20"],
  )
  ended = pod(tmp_path, "keep", *WHERE, "--poll=0.01", *CONFIG)
  assert ended.returncode == 0, ended.stderr
  assert calls(tmp_path) == ["copy", "install", "stop", "run"]


def test_keep_gives_up_without_progress(tmp_path):
  lay_out(tmp_path, ["SUSPENDED", "ACTIVE"] * 10, ["running step 100"] * 10)
  ended = pod(tmp_path, "keep", *WHERE, "--poll=0.01", "--restarts=2", *CONFIG)
  assert ended.returncode == 75
  assert calls(tmp_path).count("create") == 2
  assert "given up after 2 attempts without progress" in ended.stderr


def test_keep_ends_with_the_code_of_the_training(tmp_path):
  lay_out(tmp_path, ["ACTIVE"], ["ended 65 step 9,ended 65 step 9"])
  ended = pod(tmp_path, "keep", *WHERE, "--poll=0.01", *CONFIG)
  assert ended.returncode == 65
  assert not re.search("create|delete", (tmp_path / "calls").read_text())


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["fly"], "got 'fly', expected create"),
    (["create"], "--zone is missing"),
    (["create", "--zone=z", "--type=h100-8"], "'h100-8' is none of"),
    (["create", "--zone=z", "--name=Blue Note"], "--name: got 'Blue Note'"),
    (["install", "--zone=z"], "--share=HOST:/EXPORT is missing"),
    (["run", "--zone=z"], "--config=FILE is missing"),
    (["run", "--zone=z", *CONFIG, "--workdir=here"], "choose --name"),
    (["run", "--zonne=z"], "unknown option '--zonne=z'"),
  ],
)
def test_a_wrong_option_is_one_line_and_asks_nothing(tmp_path, arguments, message):
  ended = pod(tmp_path, *arguments)
  assert ended.returncode == 2
  assert message in ended.stderr
  assert ended.stderr.count("\n") == 1
  assert not (tmp_path / "calls").exists()


def test_help_names_every_option_and_command(tmp_path):
  shown = pod(tmp_path, "--help").stdout
  text = SCRIPT.read_text()
  options = set(re.findall(r"^ +(--[a-z-]+)(?:=\*)?\)", text, re.MULTILINE)) - {"--help"}
  assert options <= set(re.findall(r"--[a-z-]+", shown))
  for command in re.search(r"^    (create \|.*)\) shift", text, re.MULTILINE)[1].split(" | "):
    assert re.search(rf"^  {command} ", shown, re.MULTILINE)
