"""The pages of the manual: their code, and how it is run as a reader would run it."""

import re
from pathlib import Path

from command_line import ROOT, TINY_FIT, example_adata, launched

import qbm_jax

DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\{code-cell\}|\w+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SAVED = re.compile(r"[Ss]ave this as `([\w./]+)`[^\n`]*:\n*\Z")
OPTIONS = re.compile(r"\A(?::[^\n]*\n|---\n.*?\n---\n)*", re.DOTALL)  # of a code cell


def blocks(page: Path):
    """(kind, text, file that it is to be saved as or None) of each fenced block of a page."""
    text = page.read_text()
    for found in FENCE.finditer(text):
        saved = SAVED.search(text[: found.start()])
        kind, code = found[1], found[2]
        if kind == "{code-cell}":
            code = code[OPTIONS.match(code).end() :]
        yield kind, code, saved and saved[1]


def run_in_order(page: Path, folder: Path, names: dict):
    """Runs all Python of a page in one namespace, in `folder`; files are saved there."""
    for number, (kind, code, saved) in enumerate(blocks(page)):
        if saved is not None:
            (folder / saved).parent.mkdir(parents=True, exist_ok=True)
            (folder / saved).write_text(code)
        elif kind in ("python", "{code-cell}"):
            with launched():
                exec(compile(code, f"{page.name}, block {number}", "exec"), names)
    return names


def tiny_cells(monkeypatch) -> dict:
    """What the blocks of the guide may use; their models are small and train for a moment."""
    fit = qbm_jax.fit
    monkeypatch.setattr(
        qbm_jax, "fit", lambda adata, **options: fit(adata, **(TINY_FIT | options)), raising=False
    )
    return {"adata": example_adata(), "other_adata": example_adata(seed=1)}
