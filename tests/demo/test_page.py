"""The page in a browser: a newcomer's path, own pictures, broken and huge ones, two at once."""

import json
import shutil
import socket
import struct
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from page_server import PageServer

import vlp_fast
from vlp_fast.data.world.bounds import SMALL
from vlp_fast.data.world.sampling import sample_scene
from vlp_fast.data.world.scene import Scene, scene_from_dict
from vlp_fast.demo.examples import COUNT, SEED
from vlp_fast.demo.uploads import BYTES

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LACKING = [
    name
    for name, is_there in {
        "gradio": find_spec("gradio"),
        "playwright": find_spec("playwright"),
        "the system's chromium": CHROMIUM,
    }.items()
    if not is_there
]
pytestmark = [
    pytest.mark.xdist_group("demo"),
    pytest.mark.slow,
    pytest.mark.skipif(bool(LACKING), reason=f"needs {', '.join(LACKING)}; make .venv/demo"),
]
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
COUNTED = "How many objects are there?"
PATIENCE = 60_000
"""Milliseconds that the page has for what it is asked; it needs one or two tenths of a second."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    served = PageServer(tmp_path_factory.mktemp("demo"), ())
    yield served
    served.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@dataclass
class Visitors:
    """Those of a page, and what is wrong with it for any of them.

    Attributes:
        wrong: what pages ask of other hosts, and what their scripts stumble on.
    """

    server: PageServer
    browser: Any
    wrong: list[str] = field(default_factory=list)

    def open(self) -> Any:
        """The page of a new visitor, with its first results."""
        context = self.browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda asked: self.look_at(asked.url))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.goto(self.server.url)
        page.wait_for_selector("#seen figure")
        return page

    def look_at(self, url: str) -> None:
        if not url.startswith((f"{self.server.url}/", "data:", "blob:")):
            self.wrong.append(url)


@pytest.fixture(scope="module")
def visitors(server: PageServer, browser: Any) -> Visitors:
    return Visitors(server, browser)


@pytest.fixture(scope="module")
def opened(visitors: Visitors) -> Any:
    return visitors.open()


@pytest.fixture
def page(visitors: Visitors, opened: Any) -> Iterator[Any]:
    """One page for several tests, as the one before has left it."""
    yield opened
    assert visitors.wrong == []


@pytest.fixture(scope="module")
def truth(small_drawings: Path) -> list[tuple[Path, Scene]]:
    """Drawings that nobody has seen yet, and what is in them."""
    scenes = json.loads((small_drawings / "world.json").read_text())["scenes"]
    return [
        (small_drawings / "images" / f"{scene['image_id']:012d}.png", scene_from_dict(scene))
        for scene in scenes
    ]


def upload(page: Any, path: Path) -> None:
    """Give a picture by the button, as people do."""
    with page.expect_file_chooser() as chosen:
        page.click("#picture-button")
    chosen.value.set_files(path)


def ask(page: Any, tool: str, words: str) -> None:
    page.fill(f"#{tool} textarea", words)
    page.click(f"#{tool}-button")


def says(page: Any, name: str, words: str) -> None:
    """Wait until a result says so."""
    from playwright.sync_api import expect

    expect(page.locator(name)).to_contain_text(words, timeout=PATIENCE)


def answer(page: Any, words: str) -> None:
    """Wait until this is the answer to the question."""
    says(page, "#answer-result .said", words)


def count(scene: Scene) -> str:
    return str(len(scene.objects))


def test_a_newcomer_finds_results_and_tries_drawings(visitors: Visitors) -> None:
    """Nothing is filled in: a click on a drawing, a click on a question."""
    page = visitors.open()
    scenes = [sample_scene(SEED, number, SMALL) for number in range(COUNT)]
    first = scenes[0].objects
    answer(page, count(scenes[0]))
    says(page, "#seen", f"{len(first)} objects: ")
    for item in first:
        says(page, "#seen figcaption >> nth=0", f"{item.colour} {item.kind}")
    says(page, "#seen", "of the dictionary's 64 codes")
    assert page.locator("#seen figure img").count() == 2
    drawing = next(n for n, scene in enumerate(scenes) if len(scene.objects) == 1)
    page.click(f"#drawings button >> nth={drawing}")
    answer(page, "1")
    (item,) = scenes[drawing].objects
    says(page, "#seen figcaption >> nth=0", f"{item.colour} {item.kind}")
    page.click("text=Background?")
    answer(page, scenes[drawing].background)
    page.click('#fill-tries >> text="Colour"')
    says(page, "#fill-result", f"there is a {item.colour} object")
    says(page, "#match-result", "there are two objects")
    page.context.close()
    assert visitors.wrong == []


def test_own_pictures_are_seen_and_asked_about(page: Any, truth: list[tuple[Path, Scene]]) -> None:
    path, scene = next((path, scene) for path, scene in truth if len(scene.objects) == 1)
    (item,) = scene.objects
    upload(page, path)
    says(page, "#seen", f"{item.colour} {item.kind}")
    answer(page, "1")  # what stood in the field is asked about the new picture
    ask(page, "answer", f"What color is the {item.kind}?")
    answer(page, item.colour)
    page.fill("#answer textarea", "What is in the background?")
    page.press("#answer textarea", "Enter")
    answer(page, scene.background)
    ask(page, "match", f"a {item.colour} {item.kind}\nthere are two objects")
    says(page, "#match-result", f"a {item.colour} {item.kind}")
    told = page.locator("#match-result .model").first.locator("td:last-child").all_inner_texts()
    model = vlp_fast.load("e2e_vlp_small_world", device="cpu")
    texts = [f"a {item.colour} {item.kind}", "there are two objects"]
    expected = model.match([path], texts)[0]  # type: ignore[index]
    assert [float(share) for share in told] == pytest.approx(expected, abs=0.006)
    says(page, "#seen", str(model.caption(path)))


def png(width: int, height: int, content: bytes = b"") -> bytes:
    """A file whose header declares a size, whatever is in it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(content)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def test_what_cannot_be_shown_is_one_line_and_the_next_picture_is_shown(
    page: Any, truth: list[tuple[Path, Scene]], tmp_path: Path, server: PageServer
) -> None:
    good, scene = next((path, scene) for path, scene in truth if len(scene.objects) == 1)
    bytes_ = good.read_bytes()
    bad = {
        "words.png": (b"no picture", "words.png: is not an image that can be read"),
        "cut.png": (bytes_[: len(bytes_) // 2], "cut.png: "),
        "empty.jpg": (b"", "empty.jpg: is not an image that can be read"),
        "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "vector.svg: is not an image"),
        "giga.png": (png(50_000, 50_000), "giga.png: declares more than the 64,000,000 pixels"),
        "many.png": (png(10_000, 10_000), "many.png: declares more than the 64,000,000 pixels"),
    }
    for name, (content, told) in bad.items():
        (tmp_path / name).write_bytes(content)
        upload(page, tmp_path / name)
        says(page, "#seen .refused", told)
        assert "\n" not in page.inner_text("#seen")
        assert str(server.folder) not in page.inner_text("#seen")
        assert page.inner_text("#answer-result") == ""
    ask(page, "answer", COUNTED)
    says(page, "#answer-result .refused", "many.png: declares")
    upload(page, good)
    answer(page, count(scene))
    ask(page, "fill", "no mask")
    says(page, "#fill-result .refused", "expected a text with [MASK]")
    ask(page, "match", "a\n" * 21)
    says(page, "#match-result .refused", "received 21 texts, expected at most 20")
    ask(page, "answer", "is " * 1_000)
    says(page, "#answer-result .refused", "received 3,000 characters")
    page.click("#picture [aria-label='Remove Image']")
    says(page, "#seen", "Upload a picture, or choose a drawing.")
    upload(page, good)
    says(page, "#seen", "of the dictionary's 64 codes")
    assert "Traceback" not in server.errors


def test_files_of_too_many_bytes_are_refused(page: Any, server: PageServer, tmp_path: Path) -> None:
    """By the page, and by the server, whoever sends them."""
    (tmp_path / "long.png").write_bytes(png(8, 8) + bytes(BYTES + 1))
    upload(page, tmp_path / "long.png")
    says(page, "body", "exceed the maximum allowed size")
    before = {path for path in server.folder.rglob("*") if path.is_file()}
    boundary = "----of-the-form"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode() + bytes(BYTES + 1)
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    asked = urllib.request.Request(
        f"{server.url}/gradio_api/upload", body + f"\r\n--{boundary}--\r\n".encode(), kind
    )
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.urlopen(asked)
    left = {path for path in server.folder.rglob("*") if path.is_file()} - before
    assert all(path.stat().st_size <= BYTES for path in left)


def test_visitors_at_once_have_their_own_answers(
    page: Any, visitors: Visitors, truth: list[tuple[Path, Scene]]
) -> None:
    one, other = page, visitors.open()
    grounds: dict[str, Path] = {scene.background: path for path, scene in truth}
    (mine, my_path), (yours, your_path), *_ = grounds.items()
    upload(one, my_path)
    upload(other, your_path)
    for visitor in (one, other):
        ask(visitor, "answer", "What is in the background?")
    answer(one, mine)
    answer(other, yours)
    for visitor in (one, other):
        ask(visitor, "answer", COUNTED)
    scenes = dict(truth)
    answer(other, count(scenes[your_path]))
    answer(one, count(scenes[my_path]))
    other.context.close()


def test_what_visitors_write_is_text_on_the_page(page: Any) -> None:
    hostile = "<img src=x onerror=document.title='taken'> ${1+1} {{value}} `a` \\u0041"
    ask(page, "match", hostile)
    says(page, "#match-result", hostile)
    ask(page, "fill", f"[MASK] {hostile[:20]}")
    says(page, "#fill-result", "img")
    assert page.locator("#match-result img, #fill-result img").count() == 0
    assert page.title() == "vlp_fast demo"


def test_a_narrow_window_shows_everything(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("window.innerWidth == 390")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("#picture", "#drawings", "#seen figure", "#answer-button", "#fill-result .said"):
        page.locator(name).first.scroll_into_view_if_needed()
        box = page.locator(name).first.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["width"] >= 100
    page.set_viewport_size({"width": 1280, "height": 900})


def test_strangers_are_refused_and_nothing_is_fetched_for_anybody(
    page: Any, server: PageServer
) -> None:
    """A name that leads here is none of the page's; an address in place of an upload is not."""
    with pytest.raises(urllib.error.HTTPError, match="400"):
        host = {"Host": "a-page-of-others.example"}
        urllib.request.urlopen(urllib.request.Request(server.url, headers=host))
    upload = f"{server.url.rstrip('/')}/gradio_api/upload"
    for origin, code in (
        (server.url.rstrip("/"), "422|400"),
        ("http://others.example", "403"),
        ("null", "403"),
        ("http://127.0.0.1:1", "403"),
    ):
        sent = urllib.request.Request(upload, data=b"", headers={"Origin": origin})
        with pytest.raises(urllib.error.HTTPError, match=code):
            urllib.request.urlopen(sent)
    with urllib.request.urlopen(server.url) as told:
        assert "default-src 'self'" in told.headers["Content-Security-Policy"]
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0)
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/a.png"

        def replaced(route: Any) -> None:
            asked = json.loads(route.request.post_data)
            asked["data"][0] |= {"path": address, "url": address}
            route.continue_(post_data=json.dumps(asked))

        page.route("**/queue/join*", replaced)
        ask(page, "answer", COUNTED)
        says(page, "body", "that picture was not uploaded")
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    page.unroute("**/queue/join*")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", ["uploadbutton", "image", "textbox"])
def test_files_of_this_machine_are_not_handed_out(
    server: PageServer, first: str, stream: bool
) -> None:
    """Whoever reaches the port may name any file, in any field; none is read or copied."""
    private = Path(__file__)
    file = {"path": str(private), "is_stream": stream, "meta": {"_type": "gradio.FileData"}}
    with urllib.request.urlopen(f"{server.url}/config") as told:
        config = json.load(told)
    kinds = {item["id"]: item["type"] for item in config["components"]}
    for number, asked in enumerate(config["dependencies"]):
        given = [kinds[name] for name in asked["inputs"]]
        if first not in given:
            continue
        data: list[Any] = [0.5 if kind == "slider" else None for kind in given]
        data[given.index(first)] = file
        session = f"{first}-{stream}-{number}"
        end = finished(server, {"data": data, "fn_index": number, "session_hash": session})
        if first != "textbox" or not stream:  # else it is mere text
            assert "that picture was not uploaded" in end, (number, end)
        assert not [*server.folder.rglob(private.name)]


def finished(server: PageServer, asked: dict[str, Any]) -> str:
    """What a request to the page's queue ends with."""
    body, kind = json.dumps(asked).encode(), {"Content-Type": "application/json"}
    api = f"{server.url}/gradio_api/queue"
    urllib.request.urlopen(urllib.request.Request(f"{api}/join", body, kind)).close()
    with urllib.request.urlopen(f"{api}/data?session_hash={asked['session_hash']}") as lines:
        return next(str(line) for line in lines if b"process_completed" in line)


def test_ctrl_c_ends_it_and_it_has_asked_nobody(page: Any, server: PageServer) -> None:
    """The last of the file: the page is gone afterwards."""
    assert page.inner_text("h1")  # an open page does not keep it
    assert (server.stop(), server.errors) == (130, "vlp-fast: stopped\n")
    assert server.connections == []
    assert not list(server.folder.glob("vlp-fast-demo-*"))
