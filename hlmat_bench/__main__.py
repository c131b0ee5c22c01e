"""``python -m hlmat_bench``: the command line."""

from hlmat_bench.cli import main

main()
