"""Pages in a browser: they open without an error or a request, and their buttons work.

    python -m pytest -m browser

They need Chromium, for example Debian's package `chromium`.
"""

import pathlib
import shutil

import numpy as np
import pytest
from matplotlib.image import imread

from compad_jax.backend.files import write_json
from compad_jax.reports.evaluation_page import write_report
from tests.evaluation_files import write_evaluation

pytestmark = pytest.mark.browser
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_EXPLORE = pathlib.Path(__file__).parents[2] / "docs" / "explore.html"
_LARGEST = 2_000_000  # Bytes of a page.
_FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
_QUIET = " --disable-background-networking --disable-component-update --disable-sync"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    found = [path for path in map(shutil.which, _NAMES) if path]
    if not found:
        pytest.fail("no browser is installed; on Debian: apt-get install chromium")
    with sync_playwright() as program:
        running = program.chromium.launch(executable_path=found[0], args=(_FLAGS + _QUIET).split())
        yield running
        running.close()


@pytest.fixture(params=["light", "dark"])
def page(request, browser):
    """A tab that must not log anything, raise or load anything but the file."""
    opened = browser.new_page(color_scheme=request.param, viewport={"width": 1100, "height": 900})
    log, requests = [], []
    opened.on("console", lambda message: log.append(message.text))
    opened.on("pageerror", lambda error: log.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    yield opened
    opened.close()
    assert log == []
    assert all(url.startswith(("file:", "data:")) for url in requests) and requests


def _life(**changes):
    """Two episodes of four steps in 2 x 2 cells, two compressions of two latents."""
    life = {
        **{"room": [2, 2], "from": [0, 1, 3, 3, 0, 1, 3, 3], "to": [1, 3, 3, 3, 1, 3, 3, 2]},
        **{"goal": 3, "action": [2, 0, 4, 4, 2, 0, 4, 3], "reward": [0, 1, 1, 1, 0, 1, 1, 0]},
        **{"done": [0, 0, 0, 1] * 2, "waits": [0] * 8, "num_actions": 5, "window": 3},
        **{"length": [1, 2, 3, 1, 2, 3, 1, 2], "version": [0, 0, 0, 1, 1, 1, 2, 2]},
        **{"gates": [[100, 0], [0, 40]], "has_gates": True, "acting": "greedy"},
        "beliefs": {"goal": [[25] * 4, [0, 0, 3, 97]], "visited": [[100, 90, 0, 10]] * 2},
        "quality": {
            **{"visited": 0.8, "found": 1.0, "goal": 0.9, "near_goal": 1.0},
            **{"fitted": 69, "judged": 16},
        },
        **{"num_tasks": 8, "split": "held_out", "shortened": False},
    }
    return life | changes


def _open_report(page, tmp_path, **changes):
    directory = write_evaluation(str(tmp_path))
    write_json(f"{directory}/life.json", _life(**changes))
    write_report(directory)
    path = pathlib.Path(directory, "report.html")
    assert path.stat().st_size < _LARGEST
    page.goto(path.as_uri())


def _check_drawn(page, path):
    """A screenshot shows something, and nothing is wider than the window."""
    page.screenshot(path=path, full_page=True)
    pixels = imread(path)[..., :3]
    assert len(np.unique((pixels * 8).astype(int).reshape(-1, 3), axis=0)) > 20
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_life_is_played(page, tmp_path):
    _open_report(page, tmp_path)
    assert "Step 3 of 8, episode 1, earned in it 2, compressions 0" in page.inner_text("#now")
    assert "Nothing was compressed yet" in page.inner_text(".goal figcaption")
    page.click("#next")
    page.click("#next")
    assert "Step 5 of 8, episode 2, earned in it 0, compressions 1" in page.inner_text("#now")
    page.click("#back")
    assert "Step 4 of 8" in page.inner_text("#now")
    page.fill("#slider", "7")
    assert "Step 8 of 8" in page.inner_text("#now")
    assert "Likeliest: row 2, column 2, 97%" in page.inner_text(".goal figcaption")
    heats = [x.get_attribute("fill-opacity") for x in page.locator(".goal .heat").all()]
    assert heats == ["0.00", "0.00", "0.03", "1.00"]
    assert page.locator(".room .agent").get_attribute("cx") == "0.5"
    page.select_option("#speed", "40")
    page.click("#play")
    page.wait_for_function("document.getElementById('play').textContent === 'Play'")
    assert page.input_value("#slider") == "7"
    line = page.locator("#timeline")
    line.click(position={"x": line.bounding_box()["width"] * 0.56, "y": 9})
    assert page.input_value("#slider") == "3"
    _check_drawn(page, tmp_path / "report.png")


@pytest.mark.parametrize(
    "changes",
    [
        {"room": None, "from": None, "to": None, "goal": None, "beliefs": None, "quality": None},
        {"gates": [[], []], "beliefs": None, "quality": None, "goal": None},
        {"beliefs": {"goal": None, "visited": [[50] * 4] * 2}, "waits": [0, 0, 1, 1] * 2},
        {"gates": [], "version": [0] * 8, "length": list(range(1, 9)), "beliefs": None},
    ],
    ids=["no room", "no memory", "no goal", "never compressed"],
)
def test_what_cannot_be_shown_is_left_out(page, tmp_path, changes):
    changes = {"quality": _life()["quality"] | {"goal": None, "near_goal": None}} | changes
    _open_report(page, tmp_path, **changes)
    page.fill("#slider", "7")
    panels = 3 - (changes["beliefs"] is None) * 2 - (changes.get("room", 0) is None)
    panels -= bool(changes["beliefs"]) and changes["beliefs"]["goal"] is None
    assert page.locator("#panels figure").count() == panels
    assert page.locator("#timeline text", has_text="actions").count() == ("room" in changes)
    text = page.inner_text("body")
    assert not any(word in text for word in ("undefined", "NaN", "null", "None", "$"))
    _check_drawn(page, tmp_path / "report.png")


def test_a_goal_is_hidden_found_and_found_again(page, tmp_path):
    assert _EXPLORE.stat().st_size < _LARGEST
    page.goto(_EXPLORE.as_uri())
    assert page.locator("#room .floor.unseen").count() == 8
    page.locator("#room .floor").nth(0).click()
    assert "The goal is in row 1, column 1. It searches." in page.inner_text("#said")
    page.click("#go")  # Skip.
    assert "the shortest way has 8." in page.inner_text("#said")
    for waited in ("10,000", "20,000"):
        assert page.inner_text("#go") == "Wait 10,000 steps"
        page.click("#go")
        page.wait_for_function("document.getElementById('said').textContent.includes('step 3 of')")
        page.click("#go")
        page.click("#go")
        said = page.inner_text("#said")
        assert said == f"Found in 8 steps; the shortest way has 8. It had waited {waited} steps."
        assert page.locator("[aria-current]").inner_text() == "It walks back"
    _check_drawn(page, tmp_path / "explore.png")
    assert page.inner_text("#go") == "Hide another goal"
    page.click("#go")
    assert page.locator("[aria-current]").inner_text().startswith("Hide the goal")
    page.locator("#room .floor").nth(0).focus()
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert "row 2, column 2" in page.inner_text("#said")
    page.click("#again")
    page.click("#go")  # Choose one for me.
    assert "never a goal in training" in page.inner_text("#said")


def test_the_page_to_explore_fits_a_telephone(page, tmp_path):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(_EXPLORE.as_uri())
    _check_drawn(page, tmp_path / "explore.png")
