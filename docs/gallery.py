"""Examples: scripts in the percent format become pages of the site, with what they print and draw.

``# %% [markdown]`` begins a cell of text, in comments, and ``# %%`` one of code. A picture is a file that a cell of
code writes into the working folder, and that a later text shows, with a text alternative.
"""

import contextlib
import io
import os
import re
import warnings

CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)
PICTURE = re.compile(r"(!\[[^\]]*\]\()(\w+\.png\))")


def page(path, folder):
    """Run a script in a folder and return it as Markdown, each cell of code followed by what it prints."""
    names, parts = {"__name__": "__main__"}, []
    _, *cells = CELL.split(path.read_text())
    with working_in(folder):
        for kind, body in zip(cells[::2], cells[1::2], strict=True):
            if "[markdown]" in kind:
                text = re.sub("^# ?", "", body.strip(), flags=re.MULTILINE)
                parts.append(PICTURE.sub(rf"\1{os.path.relpath(folder, path.parent)}/\2", text))
            else:
                parts += [fenced("python", body), fenced("text\n:class: output", printed(body, names, path))]
    download = f"{{download}}`{path.name} <{path.name}>` is this page as a script. It needs numbarank and matplotlib."
    return "\n\n".join([*filter(None, parts), download, ""])


def fenced(kind, text):
    """Return a block of code, or nothing for no text."""
    return f"```{{code-block}} {kind}\n\n{text.strip()}\n```" if text.strip() else ""


def printed(code, names, path):
    """Run a cell of code and return what it prints; warnings are errors, as everywhere in the site."""
    with contextlib.redirect_stdout(io.StringIO()) as output, warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(code, path, "exec"), names)
    return output.getvalue()


@contextlib.contextmanager
def working_in(folder):
    """Make a folder, and the working folder for a while."""
    before = os.getcwd()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
