"""The page in a browser: from a prompt to an export, and all stems start with one sample."""

import functools
import io
import shutil
import zipfile

import numpy as np
import pytest
import soundfile

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra test")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
  CHROMIUM is None, reason="needs Chromium: apt-get install chromium, or another package of it"
)
ARGUMENTS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
WAIT = 20_000  # ms


@pytest.fixture(scope="module")
def browser():
  with sync_api.sync_playwright() as play:
    browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture
def page(browser, studio):
  page = browser.new_page(viewport={"width": 1280, "height": 860})
  said = []
  page.on("pageerror", lambda error: said.append(str(error)))
  page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
  page.goto(studio.base)
  page.set_default_timeout(WAIT)
  yield page
  page.close()
  assert said == []


def until(page, what):
  """Waits for a condition; the page's own policy forbids playwright's way of it, eval."""
  for _ in range(WAIT // 20):
    if page.evaluate(what):
      return
    page.wait_for_timeout(20)
  raise AssertionError(what)


def lane(page, name):
  return page.get_by_role("article", name=name, exact=True)


def drag(page, node, start, end):
  box = node.bounding_box()
  page.mouse.move(box["x"] + start * box["width"], box["y"] + box["height"] / 2)
  page.mouse.down()
  page.mouse.move(box["x"] + end * box["width"], box["y"] + box["height"] / 2, steps=2)
  page.mouse.up()


def test_from_a_prompt_to_an_export(page, studio):
  expect = sync_api.expect
  page.get_by_role("button", name="Tight funk in A minor").click()
  page.get_by_label("Tempo").fill("120")
  page.get_by_role("button", name="Make", exact=True).click()
  expect(lane(page, "guitars").get_by_text("take 1/1")).to_be_visible(timeout=WAIT)
  play = page.get_by_role("button", name="Play", exact=True)
  expect(play).to_be_enabled()
  play.click()
  until(page, "studio.transport.time() > 0.2")
  lane(page, "drums").get_by_role("button", name="Mute drums").click()
  lane(page, "keys").get_by_role("button", name="Solo keys").click()
  levels = page.evaluate("[...studio.transport.tracks.keys()].map(n => studio.transport.level(n))")
  assert levels == [0, 0, 0, 1]
  page.keyboard.press("l")
  page.get_by_role("button", name="Pause").click()
  lane(page, "keys").get_by_role("button", name="Solo keys").click()

  # Beats are painted silent, those between two events of the pointer too.
  strip = lane(page, "basses").get_by_role("slider", name="When basses plays")
  drag(page, strip, 0.26, 0.49)
  assert page.evaluate("studio.activityOf('basses')")[0][1] == 2
  assert page.evaluate("studio.activityOf('basses')")[1][0] == 4
  strip.focus()
  page.keyboard.press("End")
  page.keyboard.press("Space")
  assert page.evaluate("studio.activityOf('basses').at(-1)[1]") == 7.5
  lane(page, "basses").get_by_role("button", name="Again", exact=True).click()
  expect(lane(page, "basses").get_by_text("take 2/2")).to_be_visible(timeout=WAIT)

  drag(page, lane(page, "guitars").locator(".wave"), 0.26, 0.49)
  page.get_by_role("button", name="Repair", exact=True).click()
  expect(lane(page, "guitars").get_by_text("take 2/2")).to_be_visible(timeout=WAIT)
  (name,) = {song["id"] for song in studio("GET", "/api/songs") if song["made"]}
  steps = studio("GET", f"/api/songs/{name}")["song"]["steps"]
  assert [(step["do"], step["ask"].get("range")) for step in steps[1:]] == [
    ("again", None),
    ("again", [2, 4]),
  ]
  page.get_by_role("button", name="Undo").click()
  expect(lane(page, "guitars").get_by_text("take 1/2")).to_be_visible(timeout=WAIT)
  page.get_by_role("button", name="Export").click()
  with page.expect_download() as download:
    page.get_by_role("button", name="WAVs").click()
  archive = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes()))
  assert archive.namelist() == ["basses.wav", "guitars.wav", "keys.wav", "mix.wav"]

  page.reload()
  expect(lane(page, "basses").get_by_text("take 2/2")).to_be_visible(timeout=WAIT)
  expect(lane(page, "guitars").get_by_text("take 1/2")).to_be_visible(timeout=WAIT)
  muted = lane(page, "drums").get_by_role("button", name="Mute drums")
  assert muted.get_attribute("aria-pressed") == "true"


def test_names_other_words_and_what_is_deleted_comes_back(page, studio):
  expect = sync_api.expect
  name = studio.make("Named here", stems=("drums", "guitars"))
  page.goto(f"{studio.base}/#{name}")
  page.reload()
  button = functools.partial(page.get_by_role, "button")
  button(name="More for guitars").click()
  lane(page, "guitars").get_by_role("button", name="Rename", exact=True).click()
  page.keyboard.type("Lead")
  page.keyboard.press("Enter")
  page.get_by_label("Words for Lead").fill("muted")
  button(name="Again", exact=True).last.click()
  expect(lane(page, "Lead").get_by_text("take 2/2")).to_be_visible(timeout=WAIT)
  assert studio("GET", f"/api/songs/{name}")["song"]["words"] == {"guitars": "muted"}
  lane(page, "Lead").get_by_text("take 2/2").click()
  button(name="Rename take 1").click()
  page.keyboard.type("the first")
  page.keyboard.press("Enter")
  expect(lane(page, "Lead").get_by_text("the first")).to_be_visible()
  button(name="Delete take 1").click()
  expect(lane(page, "Lead").get_by_text("take 1/1")).to_be_visible()
  expect(button(name="Undo", exact=True).first).to_be_disabled()  # there is no way back to it
  page.get_by_label("Work").get_by_role("button", name="Undo").click()
  expect(lane(page, "Lead").get_by_text("take 2/2")).to_be_visible()
  page.keyboard.press("Escape")
  page.locator("#songs-button").click()
  button(name="Rename Named here").click()
  page.keyboard.type("Porch")
  page.keyboard.press("Enter")
  button(name="Delete Porch").click()
  expect(page.locator("#title")).to_have_text("New song")
  assert not (studio.songs / name).exists()
  page.locator("#songs summary").click()
  button(name="Bring back Porch").click()
  expect(page.locator("#title")).to_have_text("Porch")
  expect(lane(page, "Lead").get_by_text("take 2/2")).to_be_visible()


def test_own_audio_takes_the_place_of_the_lane_of_its_type(page, studio, tmp_path):
  soundfile.write(tmp_path / "Bass DI.wav", np.ones((16_000, 2)) / 10, 8_000)
  page.locator("#prompt").fill("Mine and yours")
  page.get_by_label("Tempo").fill("120")  # so that none is listened for
  page.locator("#files").set_input_files(tmp_path / "Bass DI.wav")
  page.get_by_role("button", name="Bring in").click()
  sync_api.expect(lane(page, "basses").get_by_text("your audio")).to_be_visible(timeout=WAIT)
  page.get_by_role("button", name="Make 3 more").click()
  sync_api.expect(lane(page, "guitars").get_by_text("take 1/1")).to_be_visible(timeout=WAIT)
  song = studio("GET", "/api/songs/mine-and-yours")["song"]
  assert {name: stem["given"] for name, stem in song["stems"].items()} == {
    "basses": True, "drums": False, "keys": False, "guitars": False,
  }  # fmt: skip


def test_all_stems_start_seek_and_loop_as_one(page, studio):
  name = studio.make("Clicks", stems=("drums", "basses", "keys"))
  page.goto(f"{studio.base}/#{name}")
  page.reload()
  until(page, "studio.transport.tracks.size === 3 && !studio.loading")
  # Each stem is a click at every half second, in the same graph as what is played.
  found = page.evaluate("""async () => {
    const {transport} = studio, names = [...transport.tracks.keys()], out = {};
    for (const name of names) {
      const {buffer} = transport.tracks.get(name);
      for (let c = 0; c < buffer.numberOfChannels; c++) {
        const data = buffer.getChannelData(c);
        data.fill(0);
        for (let k = 0; k < data.length; k += buffer.sampleRate / 2) data[k] = 0.25;
      }
    }
    const ways = [["start", 0, null], ["seek", 1.3, null], ["loop", 1, [1, 2]]];
    for (const [what, from, loop] of ways) {
      const whole = (await transport.render(from, 4, loop)).getChannelData(0), each = [];
      for (const name of names) {
        for (const other of names) transport.tracks.get(other).strip.mute = other !== name;
        const one = (await transport.render(from, 4, loop)).getChannelData(0);
        each.push([...one].flatMap((x, k) => Math.abs(x) > 0.1 ? [k] : []));
      }
      for (const other of names) transport.tracks.get(other).strip.mute = false;
      out[what] = {each, whole: [...whole].flatMap((x, k) => Math.abs(x) > 0.1 ? [k] : [])};
    }
    return out;
  }""")
  for what, first in {"start": 0, "seek": 1600, "loop": 0}.items():
    for clicks in [*found[what]["each"], found[what]["whole"]]:
      expected = np.arange(first, 32_000, 4000)
      assert len(clicks) >= 7, what
      np.testing.assert_allclose(clicks[: len(expected)], expected[: len(clicks)], atol=1)


def test_bars_are_those_of_the_metre(page):
  grid = "import('/page/time.js').then(({Grid}) => { const g = new Grid(12, 60, %s); return %s; })"
  six = "[g.bar, g.name(5), g.range([2, 4])]"
  assert page.evaluate(grid % ("'6/8'", six)) == [2, "3.2", "bar 2"]
  assert page.evaluate(grid % ("null", "[g.bar, g.name(5)]")) == [4, "2.2"]
  page.get_by_label("Metre").select_option("3/4")
  until(page, "document.querySelector('[name=metre]').value === '3/4'")


@pytest.mark.parametrize("width", [390, 2560])
def test_nothing_is_cut_off_at_any_width(page, studio, width):
  name = studio.make("Wide", stems=("drums", "synth-vocals"))
  page.set_viewport_size({"width": width, "height": 900})
  page.goto(f"{studio.base}/#{name}")
  page.reload()
  sync_api.expect(lane(page, "drums").get_by_text("take 1/1")).to_be_visible(timeout=WAIT)
  assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
  for button in page.get_by_role("button").all():
    if button.is_visible():
      box = button.bounding_box()
      assert -1 <= box["x"] < box["x"] + box["width"] <= width + 1, button.inner_text()
  unnamed = page.evaluate("""[...document.querySelectorAll("button, input, select, textarea")]
    .filter(node => node.checkVisibility() && !node.getAttribute("aria-label")
      && !node.textContent.trim() && !node.labels?.length).map(node => node.outerHTML)""")
  assert unnamed == []
