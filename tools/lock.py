"""Write requirements/*.lock: the exact versions pip picks today for each dependency group.

Run with a pip of 25.1 or newer: ``.venv/bin/python tools/lock.py``, on the oldest supported Python,
so that what only it needs is in the lock too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("dev", "peers", "litellm-proxy")
HEADER = "# Written by tools/lock.py from the group {group!r} in pyproject.toml.\n"


def resolve(group: str) -> dict[str, str]:
    """Name to version of everything the group needs, the project itself left out."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--report", "-", "--group", group, "."]
    report = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    found = {item["metadata"]["name"]: item["metadata"]["version"] for item in json.loads(report)["install"]}
    return {canonicalize_name(name): version for name, version in found.items() if name != "asynccache"}


def main() -> None:
    for group in GROUPS:
        path = ROOT / "requirements" / f"{group}.lock"
        pins = "".join(f"{name}=={version}\n" for name, version in sorted(resolve(group).items()))
        path.write_text(HEADER.format(group=group) + pins, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {pins.count('==')} packages")


if __name__ == "__main__":
    main()
