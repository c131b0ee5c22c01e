"""The program: ``hlmat-bench`` and ``python -m hlmat_bench``."""

from hlmat_bench.runs import stopping


def main() -> None:
    """Run the command line. Signals are handled from here on, before anything is imported that takes long."""
    with stopping.program():
        from hlmat_bench.cli import main as command_line

        command_line()


if __name__ == "__main__":
    main()
