"""What is written down of a set behind a table: who made it, where it is, what was done to it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublicFile:
    """A public file.

    Attributes:
      repository: owner/name on GitHub, or the address of a folder elsewhere.
      path: within it, at some time of its history.
      blob: git's number of the content, of a .gz file that of the unpacked one; None: nobody wrote
        it down, so it is not fetched.
    """

    repository: str
    path: str
    blob: str | None = None


@dataclass(frozen=True)
class Source:
    """A set behind a table.

    Attributes:
      file_name: of the file that was read.
      what: cells and technology; or what else it holds.
      study: who measured or made it, and when.
      accession: of the measurements, in GEO, ArrayExpress or figshare.
      licence: of the repository or record that the file came from.
      sha256: of the file; "": `download.NAMED` has its md5.
      parts: what it was made of.
      made: what was done to them; "": it is fetched as it is.
      contents: digest of counts, genes and names of cells (`sources.contents_of`), or of the arrays
        of an .npz file (`sources.contents_of_arrays`); "": its bytes are its contents.
      labels: digest of batch, type and stage of each cell (`sources.labels_of`); "": not of cells.
      batch_column: column of `obs` with the experimental batch.
      label_column: column of `obs` with the cell type.
    """

    file_name: str
    what: str
    study: str
    accession: str
    licence: str
    sha256: str = ""
    parts: tuple[PublicFile, ...] = ()
    made: str = ""
    contents: str = ""
    labels: str = ""
    batch_column: str = "batch"
    label_column: str = "cell_type"


NO_ACCESSION = "–"
"""Of what is not measured, or older than accessions."""
