"""Download and verify the four files of Fashion-MNIST.

Reads: params.yaml (download), the sources named there
Writes: data/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte
"""

import sys
from pathlib import Path

from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.data.fashion_mnist import RAW_FILES
from sidebyside.data.sources import fetch
from sidebyside.workflow import command, copies, stage


def main() -> None:
    """Fill data/raw from the first source that provides the published files."""
    command.parser(__doc__).parse_args()
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params).download

    copies.link_sources(copies.original(paths.root), paths.root)
    source = fetch(parameters.sources, parameters.timeout, paths.raw, paths.root)

    size = sum(file.size for file in RAW_FILES)
    origin = f"from {source}" if source else "already in data/raw"
    print(f"download: {len(RAW_FILES)} files, {size:,} bytes, {origin}, SHA-256 verified")


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
