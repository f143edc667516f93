"""Studies and `reconstruct` agree on where the files of the sets are."""

import pytest

from qbm_jax.data import folder


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A clone's neighbour, a folder that the environment names, and the cache."""
    monkeypatch.delenv(folder.VARIABLE, raising=False)
    monkeypatch.setattr(folder, "BESIDE", tmp_path / "beside")
    monkeypatch.setenv("QBM_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_the_folder_is_as_configured_or_named_or_beside_the_clone_or_the_cache(places, monkeypatch):
    assert folder.data_folder("") == places / "cache"
    (places / "beside").mkdir()
    assert folder.data_folder("") == places / "beside"
    monkeypatch.setenv(folder.VARIABLE, str(places / "named"))
    assert folder.data_folder("") == places / "named"
    assert folder.data_folder(str(places / "given")) == places / "given"


@pytest.mark.parametrize("kind", ["", "images"])
def test_a_file_is_found_as_reconstruct_writes_it_and_sorted_by_kind(kind, places):
    given = str(places / "data")
    assert folder.find(given, "mnist.npz") is None
    (places / "data" / kind).mkdir(parents=True)
    path = places / "data" / kind / "mnist.npz"
    path.write_text("")
    assert folder.find(given, "mnist.npz") == path


def test_a_file_by_its_whole_path_is_that_file(places):
    path = places / "mine.h5ad"
    path.write_text("")
    assert folder.find("", str(path)) == path


def test_what_is_missing_is_told_with_who_makes_it(places):
    assert folder.missing("", "mnist.npz") == (
        f"there is no mnist.npz in {places / 'cache'}; qbm_jax.data.reconstruct.reconstruct makes "
        "the files in a folder (docs/data.md)"
    )
