"""The site: built as ``make site`` does, read, and followed in headless Chromium."""

import contextlib
import functools
import http.server
import importlib
import inspect
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from numbarank import __main__

pytestmark = pytest.mark.environment

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("sphinx", "furo", "myst_parser", "numpydoc", "matplotlib", "torch", "dask")
MODULES = ("numbarank", "numbarank.torch", "numbarank.dask", "numbarank.objectives")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PHONE = 390  # pixels

# Run in a page with a frame of a phone's width: follow "Next" from the first page to the last, then search.
FOLLOW = """<!doctype html><meta charset="utf-8"><title>check</title>
<iframe style="width: %PHONE%px; height: 800px; border: 0"></iframe><script>
const frame = document.querySelector("iframe");
const loaded = act => new Promise(done => { frame.onload = () => setTimeout(done, 20); act(); });
const page = () => frame.contentDocument;
async function check() {
    const pages = [], wide = [];
    await loaded(() => { frame.src = "/index.html"; });
    while (true) {
        const name = frame.contentWindow.location.pathname;
        pages.push(name);
        if (page().documentElement.scrollWidth > %PHONE%) wide.push(name);
        const next = page().querySelector("a.next-page");
        if (!next) break;
        await loaded(() => next.click());
    }
    const linked = [...page().querySelectorAll(".sidebar-tree a.reference.internal")].map(link => link.pathname);
    await loaded(() => { frame.src = "/index.html"; });
    page().querySelector("input.sidebar-search").value = "retrieval_hinge_loss_and_grad";
    await loaded(() => page().querySelector("form.sidebar-search-container").submit());
    let found = [];
    for (let i = 0; i < 200 && !found.length; i++) {
        await new Promise(done => setTimeout(done, 50));
        found = [...page().querySelectorAll("#search-results li a")].map(link => link.getAttribute("href"));
    }
    return {pages, wide, linked, found};
}
check().catch(error => ({error: String(error)})).then(result =>
    fetch("/result", {method: "POST", body: JSON.stringify(result)}));
</script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    for package in NEEDED:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    folder = tmp_path_factory.mktemp("built") / "site"
    command = ["make", "site", f"PYTHON={sys.executable}", f"SITE={folder}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """The HTML of each page by its path."""
    found = {path.relative_to(site).as_posix(): path.read_text() for path in site.rglob("*.html")}
    return {name: text for name, text in found.items() if not name.startswith("_static/")}


def public_names(module):
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return [name for name in names if not name.startswith("_")]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_an_entry_with_parameters_and_examples(pages, module):
    reference = "".join(text for name, text in pages.items() if name.startswith("reference/"))
    module = importlib.import_module(module)
    names = public_names(module)
    assert len(names) >= 4
    for name in names:
        start = reference.index(f'id="{module.__name__}.{name}"')
        assert '<span class="sig-paren">(</span>' in reference[start : start + 2000], name
        words = inspect.getdoc(getattr(module, name))
        for heading in ("Parameters", "Examples"):
            assert f"\n{heading}\n---" in words, (name, heading)


def test_every_option_of_the_command_line_is_described(pages):
    options = set(re.findall(r'"(--[a-z]+)"', inspect.getsource(__main__.main)))
    assert options
    for option in options:
        assert option in pages["reference/command-line.html"]


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for name, text in pages.items():
        loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"([^\"]*)\"", text)
        assert loaded
        assert [url for url in loaded if url.startswith(("http:", "https:", "//"))] == [], name
    for sheet in (site / "_static").rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", sheet.read_text()), sheet.name


def test_pictures_have_alternatives_in_words(pages):
    pictures = [tag for text in pages.values() for tag in re.findall(r"<img\b[^>]*>", text)]
    assert len(pictures) >= 3
    for tag in pictures:
        assert len(re.search(r'alt="([^"]*)"', tag)[1].split()) > 3, tag


@pytest.mark.parametrize("example", sorted(path.stem for path in (ROOT / "docs" / "examples").glob("*.py")))
def test_an_example_shows_its_code_its_output_and_its_picture(site, pages, example):
    text = pages[f"examples/{example}.html"]
    assert text.count('<div class="highlight-python ') >= 4
    printed = re.findall(r'<div class="output highlight-text [^>]*>.*?<pre>(.*?)</pre>', text, re.DOTALL)
    assert len(printed) >= 2
    assert all(re.search(r"\d", re.sub("<.*?>", "", one)) for one in printed)
    assert f'src="../_images/{example}.png"' in text
    assert (site / "_images" / f"{example}.png").read_bytes().startswith(b"\x89PNG")
    assert f"{example}.py" in re.search(r'<a class="reference download internal"[^>]*href="([^"]*)"', text)[1]
    assert f'href="{example}.html"' in pages["examples/index.html"]


def test_formulas_are_mathml(pages):
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in pages["index.html"]


def test_code_of_examples_is_not_wide():
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        code = [line for line in page.read_text().splitlines() if line.startswith((">>> ", "... "))]
        assert [line for line in code if len(line) > 88] == [], page.name


def browser():
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.mark.skipif(browser() is None, reason="chromium is not installed")
def test_a_reader_can_follow_the_pages_and_search(site, pages, tmp_path):
    answers, failures = queue.Queue(), []

    class Server(http.server.SimpleHTTPRequestHandler):
        """The site, the page that follows it, and what that page tells."""

        def do_GET(self):
            if self.path != "/check":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(FOLLOW.replace("%PHONE%", str(PHONE)).encode())

        def do_POST(self):
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format, *arguments):
            pass

        def log_error(self, format, *arguments):
            if self.path != "/favicon.ico":  # which browsers ask for by themselves
                failures.append((self.path, format % arguments))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with in_browser(f"http://127.0.0.1:{server.server_port}/check", tmp_path) as log:
            answer = answers.get(timeout=120)
        server.shutdown()
    assert "error" not in answer, answer
    documents = {f"/{name}" for name in pages} - {"/search.html"}
    assert sorted(answer["pages"]) == sorted(documents)
    assert set(answer["linked"]) >= documents - {"/index.html"}
    assert answer["wide"] == []
    assert "reference/embeddings.html#numbarank.retrieval_hinge_loss_and_grad" in answer["found"]
    assert failures == []
    # Sphinx's search looks for the entry of a dotted name with a selector that takes what follows a dot for a class
    console = [line for line in log.read_text().splitlines() if "CONSOLE" in line]
    assert [line for line in console if "Anchored content block not found" not in line] == []


@contextlib.contextmanager
def in_browser(url, folder):
    """Open a page in headless Chromium, which reaches nothing but this machine; give the file with its console."""
    log = folder / "console.txt"
    command = [browser(), "--headless", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}/profile"]
    command += ["--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    command += ["--no-sandbox"] * (os.geteuid() == 0)
    with log.open("w") as file, subprocess.Popen([*command, url], stdout=file, stderr=file) as process:
        try:
            yield log
        finally:
            process.terminate()
