"""Twix files written here after the published layout of their headers; no file of a scanner is at hand."""

import struct
import sys

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.protocol import load_protocol
from reconstruction.coils import coil_images
from reconstruction.rawdata import RawDataError, read_raw_data, read_twix
from reconstruction.trajectory import golden_angle_radial

twixtools = pytest.importorskip("twixtools")
from twixtools import hdr_def, mdb, mdh_def  # noqa: E402

PROTOCOL = {
    "sKSpace.lBaseResolution": 8,
    "sKSpace.lPhaseEncodingLines": 6,
    "sKSpace.ucDimension": "0x2",
    "sKSpace.ucTrajectory": "0x1",
    "sRXSPEC.alDwellTime[0]": 2000,
    "sSliceArray.asSlice[0].dReadoutFOV": 240.0,
    "sSliceArray.asSlice[0].dPhaseFOV": 180.0,
    "sSliceArray.asSlice[0].dThickness": 4.0,
}
MATRIX = (6, 8)
# A quarter turn about the transversal axis: the columns P, R, S are cor, -sag, tra.
QUATERNION = (np.sqrt(0.5), 0, 0, np.sqrt(0.5))


def header(protocol):
    """Header of a measurement; longer than 10,000 bytes as real ones are, by which VB files are known."""
    text = "".join(f"{key} = {value}\n" for key, value in protocol.items())
    buffers = {
        "Dicom": '<XProtocol> {\n<ParamDouble."flReadoutOSFactor">  { <Precision> 6  2.000000  }\n}'
        + 10_000 * " ",
        "MeasYaps": f"### ASCCONV BEGIN ###\n{text}\n### ASCCONV END ###",
    }
    content = b"".join(
        name.encode() + b"\0" + struct.pack("<I", len(text)) + text.encode() for name, text in buffers.items()
    )
    length = -(-(8 + len(content)) // 32) * 32
    return struct.pack("<II", length, len(buffers)) + content.ljust(length - 8, b"\0")


def readout(samples, *flags, center_line=3, line=0, channels=None, **fields):
    """Header and samples (n_coils, n_samples) of one readout; `fields` of its header or its counters."""
    return {
        "samples": np.asarray(samples, dtype=np.complex64),
        "flags": flags,
        "fields": {"CenterLin": center_line, "Lin": line, "CenterCol": np.shape(samples)[1] // 2} | fields,
        "channels": range(len(samples)) if channels is None else channels,
    }


def measurement_header(readout, version, counter):
    mdh = mdh_def.Scan_header() if version == "VE" else mdh_def.VB17_header()
    mdh.ScanCounter = counter
    mdh.UsedChannels, mdh.SamplesInScan = readout["samples"].shape
    mdh.SliceData.SlicePos.Sag, mdh.SliceData.SlicePos.Cor, mdh.SliceData.SlicePos.Tra = 10, 20, 30
    quaternion = object.__getattribute__(mdh.SliceData, "Quaternion")
    for i, value in enumerate(readout["fields"].get("Quaternion", QUATERNION)):
        quaternion[i] = value
    for name, value in readout["fields"].items():
        if name in ("Pre", "Post"):
            setattr(mdh.CutOff, name, value)
        elif name != "Quaternion":
            setattr(mdh if hasattr(mdh, name) else mdh.Counter, name, value)
    for flag in readout["flags"]:
        mdh_def.add_flag(mdh, flag)
    return mdh


def measurement_bytes(protocol, readouts, version):
    """Header, readouts, end mark."""
    content = [header(protocol)]
    for counter, item in enumerate(readouts, start=1):
        mdh = measurement_header(item, version, counter)
        if version == "VE":
            content.append(bytes(mdh))
        for channel, samples in zip(item["channels"], item["samples"], strict=True):
            if version == "VE":
                content.append(bytes(mdh_def.Channel_header(ChannelId=channel, ScanCounter=counter)))
            else:
                mdh.ChannelId = channel
                content.append(bytes(mdh))
            content.append(samples.tobytes())
    end = mdh_def.Scan_header() if version == "VE" else mdh_def.VB17_header()
    mdh_def.add_flag(end, "ACQEND")
    return b"".join([*content, bytes(end), bytes(160)])


def write(path, *measurements, version="VE"):
    """Write measurements (protocol, readouts)."""
    contents = [measurement_bytes(*measurement, version) for measurement in measurements]
    if version == "VB":
        (content,) = contents
        path.write_bytes(content)
        return
    directory = np.zeros((), dtype=hdr_def.MultiRaidFileHeader)
    directory["hdr"]["count_"] = len(contents)
    parts = [bytearray(10_240)]
    for i, content in enumerate(contents):
        directory["entry"][i]["off_"] = sum(map(len, parts))
        directory["entry"][i]["len_"] = len(content)
        parts += [content, bytes(-len(content) % 512)]
    parts[0][: directory.nbytes] = directory.tobytes()
    path.write_bytes(b"".join(parts))


def random_kspace(n_coils, n_readouts, n_samples, seed=0):
    return np.random.default_rng(seed).standard_normal((n_coils, n_readouts, n_samples, 2)) @ [1, 1j]


def radial_readouts(kspace):
    return [readout(kspace[:, i], Rep=i) for i in range(kspace.shape[1])]


@pytest.mark.parametrize("version", ["VB", "VE"])
def test_samples_noise_and_geometry(tmp_path, version):
    kspace, noise = random_kspace(2, 5, 16), random_kspace(2, 1, 32, seed=1)
    items = [readout(noise[:, 0], "NOISEADJSCAN"), *radial_readouts(kspace)]
    items.insert(3, readout(kspace[:, 0, :4], "PHASCOR"))
    items.insert(3, readout(kspace[:, 0, :4], "RTFEEDBACK"))
    items.insert(3, readout(kspace[:, 0, :4], "RETRO_DUMMYSCAN"))
    write(tmp_path / "meas.dat", (PROTOCOL, items), version=version)
    raw = read_raw_data(tmp_path / "meas.dat", trajectory=lambda n, m, matrix: golden_angle_radial(n, m))
    assert (raw.n_slices, raw.n_coils, raw.n_readouts, raw.n_samples) == (1, 2, 5, 16)
    acquisition = raw.acquisition(0)
    np.testing.assert_array_equal(acquisition.kspace, kspace.astype(np.complex64))
    np.testing.assert_array_equal(acquisition.trajectory, golden_angle_radial(5, 16))
    # 7680 us over 32 samples against 2 us: sqrt(120) in standard deviation.
    np.testing.assert_allclose(acquisition.noise, noise[:, 0] * np.sqrt(120), rtol=1e-6)  # float32
    assert acquisition.matrix == MATRIX
    assert acquisition.fov == pytest.approx((0.18, 0.24))
    assert acquisition.slice_thickness == pytest.approx(4e-3)
    # x along R = -sag (right), y along P = cor (posterior), z along tra; RAS turns the first two signs.
    np.testing.assert_allclose(acquisition.affine[:3, :3], np.diag([30, -30, 4]), atol=1e-4)  # float32
    np.testing.assert_allclose(acquisition.affine @ [4, 3, 0, 1], [-10, -20, 30, 1], atol=1e-4)


def fft_kspace(images, oversampling=2):
    nx = images.shape[-1]
    before = nx * oversampling // 2 - nx // 2
    padded = np.pad(images, [(0, 0), (0, 0), (before, nx * (oversampling - 1) - before)])
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(padded, axes), axes=axes), axes)


@pytest.mark.parametrize("version", ["VB", "VE"])
def test_cartesian_lines_give_the_image(tmp_path, version):
    images = random_kspace(2, *MATRIX)
    kspace = fft_kspace(images)
    order = [4, 0, 5, 2, 1, 3]
    items = [readout(kspace[:, i], line=i + 7, center_line=10, Rep=n) for n, i in enumerate(order)]
    write(tmp_path / "meas.dat", (PROTOCOL, items), version=version)
    acquisition = read_twix(tmp_path / "meas.dat").acquisition(0)
    assert acquisition.noise is None
    np.testing.assert_allclose(acquisition.trajectory[:, 8, 1] * 6, np.subtract(order, 3), atol=1e-6)
    result = coil_images(acquisition)
    # Weights of the oversampled ends differ a little from those between.
    assert np.abs(np.vdot(result, images)) > 0.99 * np.linalg.norm(result) * np.linalg.norm(images)


def test_partial_oversampled_lines(tmp_path):
    protocol = PROTOCOL | {"sKSpace.dPhaseOversamplingForDialog": 0.5}
    items = [readout(np.ones((1, 12)), line=i, center_line=1, CenterCol=6, Pre=2) for i in (0, 2)]
    write(tmp_path / "meas.dat", (protocol, items))
    trajectory = read_twix(tmp_path / "meas.dat").acquisition(0).trajectory
    assert trajectory.shape == (2, 10, 2)
    np.testing.assert_allclose(trajectory[0, :, 0], (np.arange(10) - 4) / 16, atol=1e-7)
    np.testing.assert_allclose(trajectory[:, 0, 1], np.array([-1, 1]) / 9, atol=1e-7)


def test_noise_of_the_measurement_before(tmp_path):
    kspace = random_kspace(2, 3, 16)
    body = readout(np.ones((2, 8)), "NOISEADJSCAN", channels=[7, 8])
    noise = [readout(np.full((2, 8), i), "NOISEADJSCAN") for i in (1, 2)]
    adjustment = PROTOCOL | {"sRXSPEC.alDwellTime[0]": 8000}
    write(
        tmp_path / "meas.dat",
        (adjustment, [noise[0]]),
        (adjustment, [body, noise[1], readout(np.ones((2, 8)))]),
        (PROTOCOL, [body, *radial_readouts(kspace)]),
    )
    raw = read_twix(tmp_path / "meas.dat", trajectory=golden_angle_radial(3, 16))
    np.testing.assert_array_equal(raw.acquisition(0).kspace, kspace.astype(np.complex64))
    # Four times the dwell time: half the standard deviation, so twice the samples.
    np.testing.assert_allclose(raw.acquisition(0).noise, np.full((2, 8), 4), rtol=1e-6)


def test_slices_by_their_counter(tmp_path):
    kspace = random_kspace(1, 6, 16)
    items = [readout(kspace[:, i], Sli=i % 2, Rep=i // 2) for i in range(6)]
    write(tmp_path / "meas.dat", (PROTOCOL, items))
    raw = read_twix(tmp_path / "meas.dat", trajectory=golden_angle_radial(3, 16))
    np.testing.assert_array_equal(raw.acquisition(1).kspace, kspace[:, 1::2].astype(np.complex64))
    assert raw.acquisition(1).slice_index == 1


def test_position_is_unknown_without_quaternion(tmp_path):
    items = [readout(np.ones((1, 16)), Quaternion=(0, 0, 0, 0), Rep=i) for i in range(2)]
    write(tmp_path / "meas.dat", (PROTOCOL, items))
    raw = read_twix(tmp_path / "meas.dat", trajectory=golden_angle_radial(2, 16))
    assert not raw.acquisition(0).orientation_known


@pytest.mark.parametrize(("centre", "accepted"), [(8, True), (0, True), (5, False)])
def test_stated_centre_of_a_spiral_is_ignored_where_it_is_the_middle(tmp_path, centre, accepted):
    def from_the_centre(n_readouts, n_samples, matrix):
        return golden_angle_radial(n_readouts, 2 * n_samples)[:, n_samples:]

    write(
        tmp_path / "meas.dat",
        (PROTOCOL, [readout(np.ones((1, 16)), Rep=i, CenterCol=centre) for i in (0, 1)]),
    )
    raw = read_twix(tmp_path / "meas.dat", trajectory=from_the_centre)
    if accepted:
        assert not raw.acquisition(0).trajectory[:, 0].any()
        return
    with pytest.raises(RawDataError, match="row 0 is sample 5 "):
        raw.acquisition(0)


LINES = [readout(np.ones((1, 16)), line=i) for i in range(3)]


@pytest.mark.parametrize(
    ("protocol", "items", "message"),
    [
        ({"sKSpace.ucTrajectory": "0x2"}, LINES, r"no trajectory .*`trajectory: \{golden_angle_radial"),
        ({"sKSpace.ucDimension": "0x4"}, LINES, r"the scan is 3-D \(sKSpace.ucDimension=4\)"),
        ({}, [readout(np.ones((1, 16)), Par=i) for i in range(3)], r"3-D encoding\); only 2-D"),
        ({}, [readout(np.ones((1, 16)))] * 3, "all 3 readouts are line 0"),
        ({}, [readout(np.ones((1, 16)), "REFLECT", line=i) for i in (1, 2)], "row 0 was played backwards"),
        ({}, [readout(np.ones((1, 16)), center_line=i) for i in (1, 2)], r"central lines \(\[1, 2\]"),
        ({}, [readout(np.ones((1, 16)), Eco=i) for i in (0, 1)], "2 echoes or contrasts"),
        ({}, [readout(np.ones((1, n))) for n in (16, 15)], "row 1 has 15 samples, that in row 0 16"),
        ({}, [readout(np.ones((1, 16)), "NOISEADJSCAN")], "last measurement in it has no imaging readouts"),
        ({}, [readout(np.ones((1, 16)), Quaternion=(2, 0, 0, 0))], "quaternion .* not of unit length"),
        ({"sKSpace.lBaseResolution": 0}, LINES, "lBaseResolution=0 and dReadoutFOV=240.0 must be positive"),
        ({"sSliceArray.asSlice[0].dPhaseFOV": "x"}, LINES, r"dPhaseFOV in the protocol .* is 'x'"),
        ({"sSliceArray.asSlice[0].dThickness": -1}, LINES, "reconSpace of the header has .* -1.0\\) mm"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(tmp_path, protocol, items, message):
    path = tmp_path / "meas.dat"
    write(path, (PROTOCOL | protocol, items))
    with pytest.raises(RawDataError, match=message) as caught:
        read_twix(path).acquisition(0)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["VB", "VE"])
@pytest.mark.parametrize("kept", [0.99, 0.9, 0.8])
def test_truncated_files_are_refused(tmp_path, version, kept):
    path = tmp_path / "meas.dat"
    write(path, (PROTOCOL, [readout(np.ones((2, 600)), line=i) for i in range(3)]), version=version)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(RawDataError, match="the file is truncated"):
        read_twix(path)


def test_readouts_without_length_do_not_run_for_ever(tmp_path):
    path = tmp_path / "meas.dat"
    item = readout(np.ones((2, 16)), UsedChannels=0)
    write(path, (PROTOCOL, [readout(np.ones((2, 16))), item]), version="VB")
    with pytest.raises(RawDataError, match=r"readout at byte \d+ is empty: the file is damaged"):
        read_twix(path)


def test_directory_beyond_the_file_is_not_twix(tmp_path):
    write(tmp_path / "meas.dat", (PROTOCOL, LINES))
    content = bytearray((tmp_path / "meas.dat").read_bytes())
    content[16:24] = b"\xff" * 8  # place of the first measurement
    (tmp_path / "meas.dat").write_bytes(content)
    with pytest.raises(RawDataError, match="not a twix file"):
        read_twix(tmp_path / "meas.dat")


@pytest.mark.parametrize("content", [b"", b"text", bytes(20_000), np.random.default_rng(0).bytes(20_000)])
def test_other_files_are_not_twix(tmp_path, content):
    path = tmp_path / "meas.dat"
    with pytest.raises(RawDataError, match="no such file"):
        read_twix(path)
    path.write_bytes(content)
    with pytest.raises(RawDataError, match="not a twix file"):
        read_twix(path)
    with pytest.raises(RawDataError, match=r"not an HDF5 file .* and not a Siemens twix file"):
        read_raw_data(path)


def test_name_without_ending_is_refused(tmp_path):
    write(tmp_path / "meas", (PROTOCOL, LINES))
    with pytest.raises(RawDataError, match=r"rename it to meas\.dat"):
        read_twix(tmp_path / "meas")


def test_missing_library_is_named(tmp_path, monkeypatch):
    write(tmp_path / "meas.dat", (PROTOCOL, LINES))
    monkeypatch.setitem(sys.modules, "twixtools", None)
    with pytest.raises(RawDataError, match=r"needs twixtools: pip install epgbloch\[twix\]"):
        read_raw_data(tmp_path / "meas.dat")


def test_file_of_the_twixtools_writer(tmp_path, capsys):
    kspace = random_kspace(2, 3, 16).astype(np.complex64)
    lines = []
    for i in range(3):
        line = mdb.Mdb_local(kspace[:, i])
        line.mdh.Counter.Lin, line.mdh.CenterLin, line.mdh.CenterCol = i, 3, 8
        lines.append(line)
    scan = {"hdr_str": np.frombuffer(header(PROTOCOL), dtype="S1"), "mdb": lines}
    twixtools.write_twix(scan, tmp_path / "meas.dat")
    np.testing.assert_array_equal(read_twix(tmp_path / "meas.dat").acquisition(0).kspace, kspace)


SEQUENCE = """
sequence:
  flip_angle_deg: {train: sin_squared, n_pulses: 60, angles_deg: [20, 60, 40]}
  tr_ms: 12
  te_ms: 4
  inversion_time_ms: 20
dictionary: {t1_ms: {log: [200, 5000, 30]}, t2_ms: {log: [20, 2500, 30]}, rank: 4}
reconstruction: {coils: adaptive, iterations: 4}
trajectory: {golden_angle_radial: }
"""


def test_scan_is_that_of_the_same_ismrmrd_file_and_reconstructed(tmp_path):
    (tmp_path / "protocol.yaml").write_text(SEQUENCE)

    def run(*arguments):
        options = ["--protocol", tmp_path / "protocol.yaml"]
        result = CliRunner().invoke(app, [str(argument) for argument in (*arguments, *options)])
        assert result.exit_code == 0, result.output

    run("phantom", "--matrix", 32, "--coils", 3, "--repetitions", 3, "--out", tmp_path / "phantom")
    expected = read_raw_data(tmp_path / "phantom" / "scan.mrd").acquisition(0)
    protocol = PROTOCOL | {
        "sKSpace.lBaseResolution": expected.matrix[1],
        "sSliceArray.asSlice[0].dReadoutFOV": 1e3 * expected.fov[1],
        "sSliceArray.asSlice[0].dPhaseFOV": 1e3 * expected.fov[0],
        "sRXSPEC.alDwellTime[0]": 0,  # as unknown as in the other file
    }
    items = [readout(expected.noise, "NOISEADJSCAN"), *radial_readouts(expected.kspace)]
    write(tmp_path / "meas.dat", (protocol, items))
    trajectory = load_protocol(tmp_path / "protocol.yaml").trajectory
    result = read_raw_data(tmp_path / "meas.dat", trajectory=trajectory).acquisition(0)
    for name in ("kspace", "trajectory", "noise", "matrix"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name), err_msg=name)
    assert result.fov == pytest.approx(expected.fov)
    run("reconstruct", tmp_path / "meas.dat", "--out", tmp_path / "maps")
    (path,) = (tmp_path / "maps").glob("sub-*/*/*_T1map.nii.gz")
    assert np.asarray(nib.load(path).dataobj).any()
