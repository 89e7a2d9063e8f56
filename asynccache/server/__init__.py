"""Servers. Each needs the extra: ``pip install "asynccache[server]"``."""

from __future__ import annotations
