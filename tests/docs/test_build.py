"""The manual is built with warnings as errors, and every link within it leads somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the built manual; `.ci/run` has built it beside the smoke runs."""
    finished = Path(os.environ.get("QBM_JAX_SMOKES", "nowhere")) / "manual"
    if finished.is_dir():
        return finished
    pytest.importorskip("myst_nb", reason='the manual needs pip install ".[docs]"')
    out = tmp_path_factory.mktemp("manual")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-j", "2", "-W", "-q", "-b", "html", "docs", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_it_has_the_tutorials_with_their_output_and_a_page_for_every_room(built):
    tutorial = (built / "tutorials" / "from_counts_to_genes.html").read_text()
    assert "Boltzmann, 16 latents" in tutorial and "assert " not in tutorial
    assert len(list((built / "_images").glob("*.png"))) >= 3
    physics = (built / "tutorials" / "machine_and_samplers.html").read_text()
    assert physics.count('src="../_images/') == 3  # energies, autocorrelation, law
    rooms = {path.stem for path in (built / "reference").glob("qbm_jax.*.html")}
    assert {"qbm_jax.fitted", "qbm_jax.samplers.cim", "qbm_jax.machine"} <= rooms


def test_every_link_within_it_leads_to_a_page_and_a_place(built):
    pages = {path.resolve(): path.read_text() for path in built.rglob("*.html")}
    places = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    missing = []
    for path, text in pages.items():
        for link in re.findall(r'<a [^>]*href="([^"]+)"', text):
            target, _, place = link.partition("#")
            where = (path.parent / target).resolve() if target else path
            found = where.exists() and (not place or place in places.get(where, ()))
            if not found and not re.match(r"\w+:", link):
                missing.append((path.name, link))
    assert not missing, missing[:20]
