"""Where every set behind a table of this repository comes from, and how its file is recognised.

`docs/data.md` prints this record. Files of `download.NAMED` are fetched as they are. The others
were made of files in public repositories: `fetch_parts` brings those, each checked by the number
that git gave its content, and `made` says what was done to them. Whoever does it again gets other
bytes in an h5ad file; its cells are compared by `contents`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from qbm_jax.data import download
from qbm_jax.data.cells import Cells
from qbm_jax.errors import InputError
from qbm_jax.runtime.identity import digest_names
from qbm_jax.runtime.user_cache import expand_home
from qbm_jax.runtime.whole_file import write_whole

GITHUB = "https://api.github.com/repos/{repository}/git/blobs/{blob}"
_AS_IT_IS = "application/vnd.github.raw+json"  # the content, not a JSON document with it


@dataclass(frozen=True)
class Part:
    """A file in a public GitHub repository.

    Attributes:
      repository: owner/name.
      path: within it, at some time of its history.
      blob: git's number of the content; None: nobody wrote it down, so it is not fetched.
    """

    repository: str
    path: str
    blob: str | None = None


@dataclass(frozen=True)
class Source:
    """A set behind a table.

    Attributes:
      file_name: of the file that was read.
      what: cells and technology.
      study: who measured it, and when.
      accession: of the measurements, in GEO, ArrayExpress or figshare.
      licence: of the repository or record that the file came from.
      sha256: of the file; "": `download.NAMED` has its md5.
      parts: what it was made of.
      made: what was done to them; "": it is fetched as it is.
      contents: digest of counts, genes and names of cells (`contents_of`); "": not of cells.
      batch_column: column of `obs` with the experimental batch.
      label_column: column of `obs` with the cell type.
    """

    file_name: str
    what: str
    study: str
    accession: str
    licence: str
    sha256: str = ""
    parts: tuple[Part, ...] = ()
    made: str = ""
    contents: str = ""
    batch_column: str = "batch"
    label_column: str = "cell_type"


def _as_fetched(name: str, what: str, study: str) -> Source:
    public = download.NAMED[name]
    return Source(
        public.file_name, what, study, f"figshare 12420968, file {public.figshare_id}",
        "that of the figshare record", batch_column=public.batch_column,
        label_column=public.label_column,
    )  # fmt: skip


_LUECKEN = "Luecken 2022"
_LEAST = "genes seen in fewer than 10 cells dropped"

SOURCES: dict[str, Source] = {
    "pancreas": _as_fetched("pancreas", "human islets, nine batches", _LUECKEN),
    "lung": _as_fetched("lung", "human lung, 16 donors", _LUECKEN),
    "immune": _as_fetched("immune", "human immune cells, ten batches", _LUECKEN),
    "pancreas_baron_segerstolpe": Source(
        "pancreas_baron_segerstolpe.h5ad",
        "human islets, inDrop and Smart-seq2, 3514 cells x 1194 genes, five donors",
        "Baron 2016, Segerstolpe 2016",
        "GSE84133, E-MTAB-5061",
        "GPL-2 (package)",
        "6430b456fee24122074a6f71f8466da4116e98cc134739c6cfea1d0dfb2b94de",
        (
            Part(
                "haoharryfeng/NeuCA",
                "data/Baron_scRNA.RData",
                "021cb56b0685872c7108fefaf56436157bbc7cbc",
            ),
            Part(
                "haoharryfeng/NeuCA",
                "data/Seg_scRNA.RData",
                "603e90e03f156989d42cec82e14e23afcc18821c",
            ),
        ),
        f"the genes that both hold; donors human2 and human4 of Baron, three of Segerstolpe, as "
        f"batches; {_LEAST}",
        "#c3b7cecf2b626350a9ae",
    ),
    "pbmc_kang_ctrl_8donors": Source(
        "pbmc_kang_ctrl_8donors.h5ad",
        "PBMC of eight donors, 10x v1, 12261 cells x 1287 genes",
        "Kang 2018",
        "GSE96583",
        "GPL-3 (package)",
        "96981ec65608a8624636680e06f5ecec4af9a8fbc6bea4d91036818154d62cff",
        (Part("HelenaLC/muscat", "data/kang_se.rda", "5e985f6c5ba1262ea5ffa63c4d73fa072b369f2d"),),
        f"control cells, singlets with a type; the donor as batch; {_LEAST}",
        "#4334022501c8e7d6db70",
    ),
    "trajectory_paul15": Source(
        "trajectory_paul15.h5ad",
        "mouse myeloid progenitors, MARS-seq, 2660 cells x 2982 genes",
        "Paul 2015",
        "GSE72857",
        "none stated there; MIT in statOmics/tradeSeq, which held the same file",
        "79b9e3570e041be0599f1c6e5146620c45cb6d2dab985fda2be1328b3f15fa76",
        (
            Part(
                "statOmics/tradeSeqPaper",
                "case/paul/se_paul.rda",
                "5cb09f8349c7fde21e5f981141fe1cb7bf01638b",
            ),
        ),
        f"clusters 1 to 17 as `stage`, grouped to types by marker genes: 1 to 6 Erythroid, 7 MEP, "
        f"8 Megakaryocyte, 9 and 10 GMP, 12 and 17 Basophil, 13 and 14 Monocyte, 15 and 16 "
        f"Neutrophil; {_LEAST}",
        "#09358fcba12537ba6a06",
    ),
    "pancreas_panc8_small": Source(
        "pancreas_panc8_small.h5ad",
        "human islets, five technologies, 500 cells x 1947 genes",
        "Gruen 2016, Muraro 2016, Segerstolpe 2016, Lawlor 2017, Baron 2016",
        "GSE81076, GSE85241, E-MTAB-5061, GSE86469, GSE84133",
        "MIT (package)",
        "3facfc82029bcd810f76bcdd848d2c6cb6805197356fc987c3c32fd0395eac65",
        (Part("cran/bbknnR", "data/panc8_small.rda", "4b403b724b3638839f94f94b221a0239e31661dd"),),
        "CEL-seq and CEL-seq2 values turned back into UMI numbers (the correction for saturation, "
        "K = 256, inverted), Fluidigm C1 expected counts rounded; the technology as batch",
        "#fc02828f6e5ff4508e57",
    ),
    "pancreas_human_mouse_328": Source(
        "pancreas_human_mouse_328.h5ad",
        "human and mouse islets on orthologous genes, inDrop, 328 cells x 9325 genes",
        "Baron 2016",
        "GSE84133",
        "MIT",
        "a2d4a260d6fbe34a7ad4adb9cabe9a83ce59582da000ed1ac3f6407d7aa9a81f",
        (Part("zhiyhu/CIDER", "data/pancreas.RData", "c0f9ec819110497eff6538cec4c148af2deaaa37"),),
        f"22 repeated draws removed; the species as batch; {_LEAST}",
        "#afc29f902215970a9611",
    ),
    "pbmc_kang_ctrl_stim": Source(
        "pbmc_kang_ctrl_stim.h5ad",
        "PBMC, control and stimulated, 10x v1, 1975 cells x 4890 genes",
        "Kang 2018",
        "GSE96583",
        "GPL-3",
        "b8b51f4d6586559043760bff7af3e00ef61a36f7cb53461ec8e6005977360efd",
        (Part("theislab/scgen", "data/valid.h5ad", "1c1ac1c706fe2e82e654efbf7ec451f30097ff79"),),
        f"log-normalised values turned back into counts: in a cell each is a whole multiple of the "
        f"smallest; the condition as batch; {_LEAST}",
        "#405913177b4e0ba56ad9",
    ),
    "K2000": Source(
        "K2000.npz",
        "complete graph of 2000 vertices, weights +1 and -1",
        "Inagaki 2016",
        "–",
        "MIT",
        "fa22bb49c82a3b884f83810c0d8dd2052cd20bca97ecd97371ad00d250f9d525",
        (Part("hariby/SA-complete-graph", "WK2000_1.rud"),),
        "the signs of the upper triangle, packed as bits; rudy makes the same graph: clique 2000, "
        "random 0 to 1 with seed 20001, times 2, plus -1",
    ),
}

MADE = tuple(name for name, source in SOURCES.items() if source.contents)
"""Sets of cells that were made of other files, so that nobody serves them as one."""


def check_file(path: str | Path, cells: Cells | None = None) -> str | None:
    """One line if a file has the name of a set's file but is another one; None if all is well.

    Args:
      path: of the file; those of other names are not looked at.
      cells: all that was read from it; where their `contents` are those of the set, other bytes do
        not matter.
    """
    path = expand_home(path)
    found = next(
        ((n, s) for n, s in SOURCES.items() if s.sha256 and s.file_name == path.name), None
    )
    if found is None or not path.is_file():
        return None
    name, source = found
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 == source.sha256:
        return None
    if cells is not None and source.contents and contents_of(cells) == source.contents:
        return None
    return (
        f"{path.name} is not the file of the set {name} behind the tables: expected sha256 "
        f"{source.sha256}, got {sha256}; numbers may differ (docs/data.md)"
    )


def contents_of(cells: Cells) -> str:
    """The digest of counts, genes and cell names, however a file stores them."""
    parts = cells.counts_digest, digest_names(cells.genes), digest_names(cells.obs.index)
    return digest_names(parts)


def find_file(name: str, folder: Path) -> Path:
    """The file of a set in a folder.

    Raises:
      InputError: it is not there; says what it is made of.
    """
    source = SOURCES[name]
    if not (folder / source.file_name).is_file():
        parts = ", ".join(f"{part.repository} {part.path}" for part in source.parts)
        raise InputError(
            f"no {source.file_name} in {folder}; no place serves it as one file, it was made of "
            f"{parts}: {source.made} (docs/data.md); or name a folder that has it in data.cache_dir"
        )
    return folder / source.file_name


def fetch_parts(name: str, folder: str | Path, *, url: str = GITHUB) -> list[Path]:
    """Downloads what a set was made of; what the folder has already is not fetched again.

    Args:
      name: in `SOURCES`, of a set that is not fetched as it is.
      folder: where the files go, by their own names.
      url: where contents are found by {repository} and {blob}.

    Returns:
      The files.

    Raises:
      InputError: no such set, or no part of it can be fetched.
      NoNetworkError: no answer from the server within ten seconds.
      DownloadError: an HTTP error, or another content than git's number says; nothing is kept.

    Example:
      >>> fetch_parts("pbmc_kang_ctrl_stim", "parts")
    """
    parts = [part for part in SOURCES[name].parts if part.blob] if name in SOURCES else []
    if not parts:
        able = [name for name, each in SOURCES.items() if any(part.blob for part in each.parts)]
        raise InputError(f"expected a set that is made of files, {able}, got {name!r}")
    folder = expand_home(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [_fetch_part(part, folder / Path(part.path).name, url) for part in parts]


def _fetch_part(part: Part, path: Path, url: str) -> Path:
    if path.is_file() and _blob_of(path.read_bytes()) == part.blob:
        return path
    where = url.format(repository=part.repository, blob=part.blob)
    content = download.content_of(where, _AS_IT_IS)
    if (blob := _blob_of(content)) != part.blob:
        raise download.DownloadError(
            f"{part.path} of {part.repository}: expected git blob {part.blob}, got {blob}; nothing "
            f"was kept, run again"
        )
    write_whole(path, content)
    return path


def _blob_of(content: bytes) -> str:
    """Git's number of a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def as_markdown() -> str:
    """The record as the table of `docs/data.md`."""
    head = "| Name | Cells | Study | Accession | Licence | Recipe | Checksum |"
    rows = [
        f"| `{name}` | {source.what} | {source.study} | {source.accession} | {source.licence} | "
        f"{_recipe(source)} | {_checksum(name, source)} |"
        for name, source in SOURCES.items()
    ]
    return "\n".join([head, "|---" * 7 + "|", *rows])


def _checksum(name: str, source: Source) -> str:
    if source.sha256:
        return f"sha256 `{source.sha256}`"
    return f"md5 `{download.NAMED[name].md5}`"


def _recipe(source: Source) -> str:
    if not source.made:
        return "download"
    files = ", ".join(
        f"{part.repository} `{part.path}`" + (f" (blob `{part.blob[:12]}`)" if part.blob else "")
        for part in source.parts
    )
    return f"reconstruct: {files}; {source.made}"
