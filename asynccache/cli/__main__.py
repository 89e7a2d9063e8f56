"""``python -m asynccache.cli``: the same as ``asynccache``."""

from __future__ import annotations

import sys

from asynccache.cli import main

if __name__ == "__main__":
    sys.exit(main())
