"""Text of a Pulseq file, checked for what pypulseq does not check."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

OLDEST, NEWEST = (1, 2), (1, 5)
"""First and last version of the format that is read (major, minor)."""
LARGEST_SHAPE = 10**7
"""Most samples of a shape; more come from a damaged file."""


def checked_text(path: Path) -> tuple[str, tuple[int, int, int]]:
    """Text of a Pulseq file with line feeds as line ends, and its version.

    Raises
    ------
    ValueError
        If it is no Pulseq file, of another version, without blocks, does not match its signature, or would
        keep a parser busy for ever.
    OSError
        If it cannot be opened.
    """
    text = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    version = _version(text)
    _check_signature(text)
    _check_counts(text)
    return text, version


def _section(text: str, name: str) -> str:
    """Text between the header of a section and that of the next one; empty without the section."""
    found = re.search(rf"^\[{name}\]\s*$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


def _version(text: str) -> tuple[int, int, int]:
    found = re.findall(r"^(major|minor|revision)\s+(\d{1,6})", _section(text, "VERSION"), re.MULTILINE)
    numbers = {name: int(digits) for name, digits in found}
    if "major" not in numbers or "minor" not in numbers:
        raise ValueError(
            "not a Pulseq file: it has no section [VERSION] with major and minor; give a .seq file"
        )
    version = numbers["major"], numbers["minor"], numbers.get("revision", 0)
    if not OLDEST <= version[:2] <= NEWEST:
        raise ValueError(
            f"version {'.'.join(map(str, version))} of the Pulseq format is not supported; write the file in "
            f"a version from {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        )
    if not _section(text, "BLOCKS").strip():
        raise ValueError("the Pulseq file has no blocks; it is truncated or empty: write or copy it again")
    return version


def _check_signature(text: str) -> None:
    signature = dict(re.findall(r"^(Type|Hash)\s+(\w+)", _section(text, "SIGNATURE"), re.MULTILINE))
    if signature.get("Type", "").lower() != "md5" or "Hash" not in signature:
        return
    # The line break before the header belongs to the signature.
    signed = text[: text.index("[SIGNATURE]")].removesuffix("\n")
    if hashlib.md5(signed.encode(), usedforsecurity=False).hexdigest() != signature["Hash"].lower():
        raise ValueError(
            "the signature of the Pulseq file does not match its content: it is damaged, or was changed by "
            "hand; write or copy it again, or remove the section [SIGNATURE] if the change is meant"
        )


def _check_counts(text: str) -> None:
    """Refuse what would keep the parser busy for ever: endless shapes, and extensions in circles."""
    for digits in re.findall(r"^num_samples\s+(\S+)", text, re.MULTILINE):
        if not digits.isdigit() or int(digits[:20]) > LARGEST_SHAPE:
            raise ValueError(
                f"a shape of {digits[:20]} samples is not valid; the file is damaged: write or copy it again"
            )
    rows = re.findall(r"^\s*(\d+)\s+\d+\s+\d+\s+(\d+)\s*$", _section(text, "EXTENSIONS"), re.MULTILINE)
    following = {int(number[:18]): int(after[:18]) for number, after in rows}
    for first in following:
        seen, number = set(), first
        while number in following and number not in seen:
            seen.add(number)
            number = following[number]
        if number in seen:
            raise ValueError(
                f"extension {number} of the Pulseq file leads back to itself; the file is damaged: write or "
                "copy it again"
            )
