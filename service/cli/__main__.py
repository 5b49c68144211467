"""Starts `millrace` in a process of its own."""

import gc
import sys


def main() -> int:
    """Run the command that the process was started with; returns its exit code."""
    # What is imported stays. To look for garbage in it would take a fifth of the start, and again and again later on.
    gc.disable()
    from service.cli.main import main

    gc.freeze()
    gc.enable()
    return main()


if __name__ == "__main__":
    sys.exit(main())
