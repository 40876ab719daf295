"""The pages are true: what they show runs, their links lead somewhere, and no option is missing.

A fenced block of `bash` or `python` in README.md or docs/ is run, in the order of the page, in one
folder for all pages: what another page has shown before is not run again. A block that cannot be
run here has the reason in the line before it, `<!-- not run: REASON -->`; its commands are parsed.
"""

import argparse
import functools
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from absl import flags

from configs import demo
from stemphonic_jax import cli, door, errors, main
from stemphonic_jax.evaluation import report
from stemphonic_jax.weights import hub
from stemphonic_jax.weights.bundle import save_bundle
from tests import tiny
from tests.data.sources import trees

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES[1:], *sorted(ROOT.glob("*.md")), ROOT / "stemphonic_jax" / "demo" / "README.md"]
NAMES = {path.name for path in ROOT.glob("[a-z]*/**/*") if path.is_file()}
SECONDS = 4.0  # the longest song of the model that stands in for the demo model

# What is shown takes minutes; here it is done in small. A command that begins so gets these
# options, in place of its own of the same names.
SMALLER = {
  "stemphonic generate": "--steps 2",
  "stemphonic extend": "--seconds 6",
  "stemphonic prepare": "--no-tempo --processes 1",
  "stemphonic evaluate": "--songs 2 --reference 2 --seconds 2",
  "python -m stemphonic_jax.main --config=configs/c_ii.py:tiny": (
    "--config.train.steps=1 --config.train_vae.steps=1 --config.train_vae.pieces=1"
    " --config.data.pieces=2 --config.data.held_out=1 --config.data.submixes=1"
  ),
  "python -m stemphonic_jax.main --config=configs/demo.py ": (
    "--config=configs/demo.py:tiny --config.train.steps=1"
  ),
}


class Block(NamedTuple):
  """A fenced block: why it is not run, if it is not, its language and its text."""

  reason: str
  language: str
  text: str


def blocks(page: Path) -> list[Block]:
  """The fenced blocks of a page, in their order."""
  fence = r"(?:<!-- not run: ([^\n]+?) -->\n)?^```(\w*)\n(.*?)^```$"
  return [Block(*found) for found in re.findall(fence, page.read_text(), re.M | re.S)]


def commands(text: str) -> Iterator[str]:
  """The commands of a block of bash, each on one line."""
  for line in text.replace("\\\n", " ").splitlines():
    if shlex.split(line, comments=True):
      yield " ".join(line.split())


def words_of(command: str) -> list[str]:
  """The words of a command, which is done in small where SMALLER says so."""
  words = shlex.split(command, comments=True)
  for start, options in SMALLER.items():
    if command.startswith(start):
      new = {word.split("=")[0]: word for word in options.split() if "=" in word}
      words = [new.pop(word.split("=")[0], word) for word in words]
      words += [word for word in options.split() if "=" not in word] + list(new.values())
  return words


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
  """A model of the demo model's kind with random parameters, small and of SECONDS."""
  config = demo.get_config("tiny")
  assert config.seconds == SECONDS
  content = {name: config.to_dict()[name] for name in tiny.CONFIG if name in config}
  content |= {name: tiny.CONFIG[name] for name in ("whole_mixes", "licence", "source")}
  content["text"]["vocabulary"] = len(tiny.tokenizer())
  folder = tmp_path_factory.mktemp("stand_in") / "demo"
  parts = tiny.parts(content)
  parts["vae_params"]["decoder"]["conv2"]["kernel"] *= 1e-3  # or it is louder than audio can be
  save_bundle(folder, content, **parts)
  return folder


@pytest.fixture(scope="module")
def run(stand_in, one_device):
  """Runs a command line, in this process where it is ours, unless it has been run before."""
  with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
    patch.setattr(hub, "DEMO", stand_in)
    patch.setattr(report, "SHOWN", 1)
    patch.setattr(door, "set_up", lambda: None)  # it would set up logs of the whole process
    patch.chdir(home)
    for folder in ("configs", "launch"):
      Path(folder).symlink_to(ROOT / folder)
    for mix, name in enumerate(("First Song", "Second Song", "Third Song", "Fourth Song")):
      for stem, kind in enumerate(("drums", "bass", "Lead Vocal")):
        trees.tone(Path("MY_STEMS", name, f"{kind}.wav"), mix + 4 * stem, SECONDS)

    def train(words: list[str]) -> None:
      patch.setattr(sys, "argv", words)
      forget()
      main.run()

    @functools.cache
    def run(command: str) -> None:
      words = words_of(command)
      if words[0] == "stemphonic":
        done = door.run(lambda: cli.run(words[1:]))
      elif words[:3] == ["python", "-m", "stemphonic_jax.main"]:
        done = door.run(lambda: train(words[2:]))
      else:
        done = subprocess.run(["bash", "-ec", command], stdout=subprocess.DEVNULL).returncode
      assert done == 0, f"{shlex.join(words)}: exit {done}"

    yield run
    forget()


def own_flags() -> list[str]:
  """Names of the flags of training, without those that a config adds."""
  found = flags.FLAGS.flags_by_module_dict()[main.__name__]
  return [flag.name for flag in found if "." not in flag.name]


def forget() -> None:
  """Undoes the flags of the command before, in this one process."""
  for name in own_flags():
    if name != "config":
      flags.FLAGS[name].unparse()
  for name in [name for name in flags.FLAGS if name.startswith("config.")]:
    delattr(flags.FLAGS, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_runs(page, run):
  names = {"__name__": page.stem}
  for block in blocks(page):
    if block.reason:
      continue
    if block.language == "bash":
      for command in commands(block.text):
        run(command.partition(" #")[0].strip())
    elif block.language == "python":
      exec(compile(block.text, page.name, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_not_run_is_parsed(page, monkeypatch):
  monkeypatch.chdir(ROOT)
  for block in blocks(page):
    assert block.language in ("bash", "python", "json", "text", "bibtex"), block.text
    if not block.reason:
      continue
    for command in commands(block.text):
      words = shlex.split(command, comments=True)
      if words[0] == "stemphonic":
        cli.parser().parse_args(words[1:])
      elif "stemphonic_jax.main" in words:
        forget()
        monkeypatch.setattr(sys, "argv", words[words.index("stemphonic_jax.main") :])
        main._parse(sys.argv)
      for word in words:
        if word.startswith("launch/"):
          assert (ROOT / word).is_file(), command


def anchors(page: Path) -> set[str]:
  """What can stand behind # in a link to a page: its headings, as GitHub names them."""
  text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
  headings = re.findall(r"^#+ (.+)$", text, re.M)
  return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
  for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
    if "://" in link:
      continue
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    assert target.exists(), f"{page.name}: {link}"
    assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_the_code_are_where_pages_say(page):
  for path in re.findall(r"(?<!no )`((?:\w+/)*\w+\.(?:py|sh|sbatch))`", page.read_text()):
    if "/" in path:
      assert (ROOT / path).is_file() or (ROOT / "stemphonic_jax" / path).is_file(), path
    else:
      assert path in NAMES


def test_every_page_is_in_the_index():
  index = (ROOT / "docs" / "README.md").read_text()
  others = [page.name for page in PAGES if page.name != "README.md"]
  assert [name for name in others if f"({name})" not in index] == []


def test_the_first_page_is_short_and_its_picture_small():
  assert len((ROOT / "README.md").read_text().splitlines()) <= 200
  assert (ROOT / "docs" / "stems.png").stat().st_size < 200_000


# The command line.


def sections(page: Path) -> dict[str, str]:
  """The text below each heading of the second level."""
  parts = re.split(r"^## (.+)$", page.read_text(), flags=re.M)
  return dict(zip(parts[1::2], parts[2::2], strict=True))


COMMAND_LINE = sections(ROOT / "docs" / "command_line.md")


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
  """The parsers of all commands that have no commands of their own."""
  below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
  for choices in below:
    for one in choices.choices.values():
      yield from leaves(one)
  if not below:
    yield parser


def first_cells(text: str) -> list[str]:
  """The first word in code of each row of a section's tables."""
  return [cell.split("=")[0] for cell in re.findall(r"^\| `([^` ]+)", text, re.M)]


def test_every_command_is_on_the_page():
  titles = {title for title in COMMAND_LINE if title.startswith("stemphonic ")}
  assert titles == {parser.prog for parser in leaves(cli.parser())}


@pytest.mark.parametrize("parser", [*leaves(cli.parser())], ids=lambda parser: parser.prog)
def test_every_option_is_on_the_page(parser):
  actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
  expected = {a.option_strings[-1] if a.option_strings else a.dest.upper() for a in actions}
  assert set(first_cells(COMMAND_LINE[parser.prog])) == expected


def test_flags_and_modes_of_training_are_on_the_page():
  shown = first_cells(COMMAND_LINE["python -m stemphonic_jax.main"])
  expected = {f"--{name}" for name in own_flags()} | set(main.MODES)
  assert set(shown) == expected | {"--config.NAME"}


def test_exit_codes_are_on_the_page():
  table = COMMAND_LINE["Exit codes"]
  shown = {
    int(code) for row in re.findall(r"^\| ([\d, ]+)", table, re.M) for code in row.split(",")
  }
  kinds = [errors.StemphonicError, *errors.StemphonicError.__subclasses__()]
  assert {0, *(kind.exit_code for kind in kinds)} < shown
  supervised = re.search(r"again +(70.*?)never +(2 .*?)\n#\n", supervise(), re.S)
  again, never = ({int(n) for n in re.findall(r"\b\d+\b", part)} for part in supervised.groups())
  rows = re.findall(r"^\| ([\d, ]+) \|.*\| (\w+) \|$", table, re.M)
  said = {int(code): answer for codes, answer in rows for code in codes.split(",")}
  assert {code for code, answer in said.items() if answer == "yes"} == again
  assert never - {0} <= {code for code, answer in said.items() if answer == "no"}


def supervise() -> str:
  return (ROOT / "launch" / "supervise.sh").read_text()


def test_scripts_are_on_the_page():
  files = [path for path in (ROOT / "launch").iterdir() if path.is_file()]
  scripts = {path.name for path in files if path.read_text().startswith("#!")}  # not sourced ones
  assert set(first_cells(COMMAND_LINE["Scripts in launch/"])) == scripts
