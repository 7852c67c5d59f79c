"""Damaged headers of ISMRMRD files: a good reading or one clear error, never anything else."""

import functools
import re
import resource
from pathlib import Path

import h5py
import numpy as np
import pytest
from ismrmrd import xsd
from ismrmrd.hdf5 import acquisition_dtype

from reconstruction.acquisition import Acquisition
from reconstruction.rawdata import RawDataError, read_ismrmrd, write_ismrmrd
from reconstruction.trajectory import cartesian_lines

N_CASES = 150  # of each file
HEAD = acquisition_dtype["head"]
LARGEST = 2**28  # bytes that a file of 20 kB may need on top of what the process has


def make_file(path, cartesian):
    """Noise and four readouts of two coils; the affine is known, so that directions and positions count."""
    rng = np.random.default_rng(0)
    acquisition = Acquisition(
        kspace=rng.standard_normal((2, 4, 6, 2)) @ [1, 1j],
        trajectory=cartesian_lines([0, 3, 1, 2], 6, matrix=(4, 3)),
        matrix=(4, 3),
        fov=(0.2, 0.15),
        noise=rng.standard_normal((2, 9)),
        affine=np.diag([50.0, 50.0, 5.0, 1.0]),
    )
    write_ismrmrd(path, [acquisition], cartesian=cartesian)


def fields(dtype, start=0):
    """Name, offset and scalar type of every number of a header."""
    for name in dtype.names:
        part, offset = dtype.fields[name][:2]
        if part.names:
            yield from fields(part, start + offset)
        else:
            scalar, shape = part.subdtype or (part, (1,))
            for i in range(int(np.prod(shape))):
                yield name, start + offset + i * scalar.itemsize, scalar


FIELDS = list(fields(HEAD))


def damaged_heads(content, offset, row_size, n_rows, rng):
    """Flip bytes, or set fields, of the acquisition headers in the bytes of the file."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        row = offset + row_size * int(rng.integers(n_rows))
        if rng.random() < 0.5:
            content[row + int(rng.integers(HEAD.itemsize))] ^= 1 << int(rng.integers(8))
            continue
        _, place, scalar = FIELDS[rng.integers(len(FIELDS))]
        if scalar.kind == "f":
            value = rng.choice([0, -1, np.nan, np.inf, -np.inf, 1e38, 1e-38, rng.standard_normal()])
        else:
            limits = np.iinfo(scalar)
            value = [0, 1, limits.min, limits.max, int(rng.integers(1 << 15))][rng.integers(5)]
        number = np.array(value, dtype=scalar).tobytes()
        rows = range(n_rows) if rng.random() < 0.3 else [(row - offset) // row_size]
        for i in rows:
            content[offset + row_size * i + place : offset + row_size * i + place + len(number)] = number
    return bytes(content)


TEXTS = ("", "0", "-1", "1e400", "nan", "inf", "65536", "9" * 400, "0.1", "1e308", "1e-308", "x", " ", "é")


def damaged_xml(xml, rng):
    """Flip bytes, or change, remove or repeat elements."""
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(5)
        elements = list(re.finditer(rb"<(\w+)>([^<]*)</\1>|<(\w+)>.*?</\3>", xml, re.DOTALL))
        if kind == 0 or not elements:
            place = int(rng.integers(len(xml)))
            xml = xml[:place] + bytes([xml[place] ^ (1 << int(rng.integers(8)))]) + xml[place + 1 :]
            continue
        element = elements[rng.integers(len(elements))]
        if kind == 1:
            xml = xml[: element.start()] + xml[element.end() :]
        elif kind == 2:
            xml = xml[: element.end()] + element.group() + xml[element.end() :]
        elif element.group(1):
            text = TEXTS[rng.integers(len(TEXTS))].encode()
            xml = xml[: element.start(2)] + text + xml[element.end(2) :]
    return xml


def read_all(path):
    raw = read_ismrmrd(path)
    for i in range(raw.n_slices):
        assert np.isfinite(raw.acquisition(i).kspace).all()


@pytest.fixture
def little_memory():
    """Make large allocations fail."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("the size of the process is not known")
    n_pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (n_pages * resource.getpagesize() + LARGEST, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture
def parse_once(monkeypatch):
    """Parse each XML header once: it takes half of the time."""
    parse = functools.cache(xsd.CreateFromDocument)
    monkeypatch.setattr("reconstruction.rawdata_ismrmrd.xsd.CreateFromDocument", parse)


def check_damage(tmp_path, cases):
    """Count of files that were read, and that were refused with one line."""
    read = refused = 0
    for cartesian in (False, True):
        good = tmp_path / f"{cartesian}.h5"
        make_file(good, cartesian)
        read_all(good)
        content = good.read_bytes()
        with h5py.File(good) as file:
            data = file["dataset/data"]
            place = data.id.get_chunk_info(0).byte_offset
            row_size, n_rows = data.id.get_type().get_size(), len(data)
            np.testing.assert_array_equal(
                np.frombuffer(content, HEAD, 1, place), data[0]["head"].astype(HEAD)
            )  # these bytes are the headers
            xml = file["dataset/xml"][0]
        for seed in range(cases):
            rng = np.random.default_rng(seed)
            path = tmp_path / "damaged.h5"
            if seed % 3:
                path.write_bytes(damaged_heads(content, place, row_size, n_rows, rng))
            else:
                path.write_bytes(content)
                with h5py.File(path, "r+") as file:
                    file["dataset/xml"][0] = damaged_xml(xml, rng).replace(b"\0", b" ")
            message = None
            try:
                read_all(path)
            except ValueError as error:
                message = str(error)
            except BaseException as error:
                error.add_note(f"cartesian={cartesian}, seed {seed}")
                raise
            read += message is None
            refused += message is not None
            assert message is None or (str(path) in message and "\n" not in message), (seed, message)
    return read, refused


def test_memory_is_little(little_memory):
    with pytest.raises(MemoryError):
        np.empty(2 * LARGEST, dtype=np.uint8)


def test_damaged_headers_are_read_or_refused(tmp_path, little_memory, parse_once):
    read, refused = check_damage(tmp_path, N_CASES)
    # Many fields do not matter, and many do: a check of the check.
    assert read > 0.2 * N_CASES
    assert refused > 0.2 * N_CASES


@pytest.mark.slow
def test_ten_thousand_damaged_headers_are_read_or_refused(tmp_path, little_memory, parse_once):
    read, refused = check_damage(tmp_path, 5000)
    assert read + refused == 10_000


@pytest.mark.parametrize(("row", "name"), [(0, "noise"), (2, "kspace")])
def test_signalling_nan_is_refused_like_any_other(tmp_path, row, name):
    path = tmp_path / "raw.h5"
    make_file(path, cartesian=False)
    with h5py.File(path, "r+") as file:
        table = file["dataset/data"][...]
        table[row]["data"].view(np.uint32)[5] = 0x7F800001  # NumPy warns where it converts such a number
        file["dataset/data"][...] = table
    with pytest.raises(RawDataError, match=f"slice 0: {name} is .*nan.* at .*sample 2, coil 0"):
        read_ismrmrd(path).acquisition(0)
