"""Adapters to other libraries and frameworks, one file each. Each needs the extra of its name."""

from __future__ import annotations
