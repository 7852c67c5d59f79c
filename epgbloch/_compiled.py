"""Compiled code on disk, and when it is out of date."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def forget_outdated(folder: Path, *others: Path) -> None:
    """Remove numba's compiled code of a package if one of its sources has changed.

    numba notices changes of the file that defines a function, but not of those whose functions it inlined.
    others : files elsewhere whose functions are inlined.
    Where the package cannot be written to, nothing changes without an installation, which touches all files.
    """
    sources = (*sorted(folder.glob("*.py")), *others)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    cache = folder / "__pycache__"
    stamp = cache / "sources.sha256"
    try:
        if stamp.exists() and stamp.read_text() == digest:
            return
        for path in (*cache.glob("*.nbi"), *cache.glob("*.nbc")):
            path.unlink(missing_ok=True)
        cache.mkdir(exist_ok=True)
        temporary = cache / f"sources.{os.getpid()}"
        temporary.write_text(digest)
        os.replace(temporary, stamp)
    except OSError:
        return
