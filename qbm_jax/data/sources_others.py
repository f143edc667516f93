"""The images, texts and graphs behind the tables and in the configs of studies."""

from qbm_jax.data.sources_record import NO_ACCESSION, PublicFile, Source

_AS_IT_IS = "taken as it is"


def _graph(name: str, kind: str, sha256: str, blob: str) -> Source:
    """A graph of the G-set, which Helmberg and Rendl made and Y. Ye made public."""
    return Source(
        f"{name}.txt",
        f"graph of the G-set, {kind}",
        "Helmberg, Rendl 2000",
        NO_ACCESSION,
        "none stated there",
        sha256,
        (PublicFile("BeloborodovDS/SIMCIM-RL", f"data/{name}.txt", blob),),
        _AS_IT_IS,
    )


OTHERS: dict[str, Source] = {
    "mnist": Source(
        "mnist.npz",
        "grey images of handwritten digits, 28 x 28, 60000 for training and 10000 for tests",
        "LeCun 1998",
        NO_ACCESSION,
        "CC BY-SA 3.0",
        "39b9b1ffaa0ba4d8995a616551f0966941fe02a3fe79ba4a9db7373db16d53ad",
        tuple(
            PublicFile("https://ossci-datasets.s3.amazonaws.com/mnist", f"{name}.gz", blob)
            for name, blob in (
                ("train-images-idx3-ubyte", "bbce27659e0fc2b7ed2a64c127849380a477099b"),
                ("train-labels-idx1-ubyte", "d6b4c5db3b52063d543fb397aede09aba0dc5234"),
                ("t10k-images-idx3-ubyte", "1170b2cae98de7a524b163fcc379ac8f00925b12"),
                ("t10k-labels-idx1-ubyte", "d1c3a970612bbd2df47a3c0697f82bd394abc450"),
            )
        ),
        "the four files as arrays of bytes",
        "#0d6c4a5954e4f9b6b194",
    ),
    "tinyshakespeare": Source(
        "tinyshakespeare.txt",
        "lines of Shakespeare's plays, 1.1 million characters",
        "Karpathy 2015",
        NO_ACCESSION,
        "public domain (text)",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        (
            PublicFile(
                "karpathy/char-rnn",
                "data/tinyshakespeare/input.txt",
                "7dcb3a2d4cc3b48b6283dd46870bfeb78f88aac9",
            ),
        ),
        _AS_IT_IS,
    ),
    "wikitext2_valid": Source(
        "wikitext2_valid.txt",
        "validation part of WikiText-2, rare words as `<unk>`",
        "Merity 2016",
        NO_ACCESSION,
        "CC BY-SA (text)",
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        (
            PublicFile(
                "pytorch/examples",
                "word_language_model/data/wikitext-2/valid.txt",
                "eec944eb2d9e46061cd34a6913528797db6842fc",
            ),
        ),
        _AS_IT_IS,
    ),
    "K2000": Source(
        "K2000.npz",
        "complete graph of 2000 vertices, weights +1 and -1",
        "Inagaki 2016",
        NO_ACCESSION,
        "MIT",
        "fa22bb49c82a3b884f83810c0d8dd2052cd20bca97ecd97371ad00d250f9d525",
        (
            PublicFile(
                "hariby/SA-complete-graph",
                "WK2000_1.rud",
                "5a187e1625ec509248454d22d82d578cf1d8332a",
            ),
        ),
        "the signs of the upper triangle, packed as bits; rudy makes the same graph: clique 2000, "
        "random 0 to 1 with seed 20001, times 2, plus -1",
        "#d958022bc3c4916db6e5",
    ),
    "G1": _graph(
        "G1",
        "800 vertices, random",
        "e29951b22493bdcafa104e4dee0d338d8e8b79973b959efdf949561f9c45d36c",
        "8b7a3f96c69ff6f40c05306fd116d74fd8306026",
    ),
    "G11": _graph(
        "G11",
        "800 vertices, torus, weights +1 and -1",
        "6dec8717bf953d18be3de59c7c817d119c9716e74a979361274b75a64c8756f2",
        "5a5435d77b5fbe17fc6f7be127c0c1b2f654ddd5",
    ),
    "G22": _graph(
        "G22",
        "2000 vertices, random",
        "c8b07e5784c4454fe6ecf66918a85768f3494afe012ad79e2677b5b08ace21d4",
        "10cc56298c02c0f8b49f965dfdd9071304829fd4",
    ),
    "G32": _graph(
        "G32",
        "2000 vertices, torus, weights +1 and -1",
        "cfc3f82a67ed2e0365f149a0eec5e6eca87e862d8a8d0a5eb09185135a1d6d2d",
        "8068e15a35c12b902dda3a28d81139cc3a11a9f2",
    ),
    "mc_n100": Source(
        "mc_n100.npz",
        "ten Max-Cut instances of 100 vertices, weights 0 and 1",
        "Hamerly 2019",
        NO_ACCESSION,
        "CC BY 4.0",
        "89ac0e0ace97c1f43b4967cbc294371591d1709b0f7101ebe617d080b08892bf",
        (PublicFile("mcmahon-lab/cim-optimizer", "instances/MC_Instances_NPZ/MC50_N=100_*.npz"),),
        "the ten matrices as bytes, with their ground energies",
        "#bb629052a5b6b6f0b8b9",
    ),
}
"""By name."""
