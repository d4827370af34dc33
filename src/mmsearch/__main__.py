"""`python -m mmsearch` is the command `mmsearch`."""

from mmsearch.cli.app import main

if __name__ == "__main__":
    main()
