"""From a pypulseq sequence to a file: definitions, timing check, writing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgbloch._files import replacing

if TYPE_CHECKING:
    import pypulseq


def checked_target(path: str | os.PathLike[str], definitions: dict[str, Any]) -> Path:
    """Return the path of the file.

    Raises
    ------
    ValueError
        If it does not end in .seq, or a definition is not fit for the file.
    """
    target = Path(path)
    if target.suffix != ".seq":
        raise ValueError(f"path={str(path)!r} must end in .seq")
    for key, value in definitions.items():
        if not key or any(word.split() != [word] for word in (key, value) if isinstance(word, str)):
            raise ValueError(f"definition {key!r}: {value!r} must be words without spaces, or numbers")
    return target


def complete(sequence: pypulseq.Sequence, definitions: dict[str, Any]) -> None:
    """Set the definitions of a sequence and let pypulseq check its timing."""
    for key, value in definitions.items():
        sequence.set_definition(key, value)
    is_ok, errors = sequence.check_timing()
    if not is_ok:
        raise RuntimeError(f"pypulseq finds {len(errors)} faults in the timing, first {errors[0]}")


def write_file(sequence: pypulseq.Sequence, target: Path) -> None:
    """Write a checked sequence; the file appears whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "sequence.seq"
        sequence.write(str(written), check_timing=False)  # just checked
        with replacing(target) as temporary:
            temporary.write_bytes(written.read_bytes())
