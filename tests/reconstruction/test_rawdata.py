"""ISMRMRD files: round trips, every kind of readout, and one clear error for each damage."""

import os
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest

from reconstruction.acquisition import Acquisition
from reconstruction.coils import adaptive_combine, coil_images
from reconstruction.rawdata import RawDataError, read_ismrmrd, write_ismrmrd
from reconstruction.trajectory import golden_angle_radial

N_COILS, N_READOUTS, N_SAMPLES, MATRIX = 3, 7, 10, (6, 8)


def make_acquisition(slice_index=0, **changes):
    """Random slice in an oblique position; all slices share the noise."""
    rng = np.random.default_rng(slice_index)
    cos, sin = np.cos(0.3), np.sin(0.3)
    affine = np.eye(4)
    # Fields of view over matrix and slice thickness, mm.
    affine[:3, :3] = np.array([[cos, -sin, 0], [0, 0, 1], [sin, cos, 0]]) * [30.0, 20.0, 4.0]
    affine[:3, 3] = [-11.0, 5.0, 7.0 + 4 * slice_index]
    fields = {
        "kspace": 1e-6 * rng.standard_normal((N_COILS, N_READOUTS, N_SAMPLES, 2)) @ [1, 1j],
        "trajectory": rng.uniform(-0.5, 0.5, (N_READOUTS, N_SAMPLES, 2)),
        "noise": np.random.default_rng(9).standard_normal((N_COILS, 50, 2)) @ [1, 1j],
        "affine": affine,
    }
    return Acquisition(
        matrix=MATRIX,
        slice_index=slice_index,
        slice_thickness=4e-3,
        **({"fov": (0.12, 0.24)} | fields | changes),
    )


@pytest.fixture
def path(tmp_path):
    """A file of one noise readout (row 0) and seven imaging readouts (rows 1 to 7)."""
    file = tmp_path / "raw.h5"
    write_ismrmrd(file, [make_acquisition()])
    return file


def edit(path, change):
    """Apply `change` to the acquisition table and write back what it returns."""
    with h5py.File(path, "r+") as file:
        table = file["dataset/data"][...]
        table = change(table)
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=table, dtype=ismrmrd.hdf5.acquisition_dtype)


def set_head(row, **values):
    def change(table):
        for name, value in values.items():
            table["head"][name][row] = value
        return table

    return change


def replace_array(row, name, function):
    def change(table):
        table[name][row] = function(table[name][row])
        return table

    return change


def bit(flag):
    return np.uint64(1 << (flag - 1))


def assert_same(result, expected):
    for name in ("kspace", "trajectory", "noise"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name), err_msg=name)
    assert result.matrix == expected.matrix
    assert result.slice_index == expected.slice_index
    # One rounding each way between metres and millimetres.
    assert result.fov == pytest.approx(expected.fov, rel=1e-15)
    assert result.slice_thickness == pytest.approx(expected.slice_thickness, rel=1e-15)
    # Position and directions are float32 in the file: 6e-8 of 120 mm.
    np.testing.assert_allclose(result.affine, expected.affine, atol=2e-5)
    assert result.orientation_known == expected.orientation_known


def test_round_trip_of_slices_is_exact(tmp_path):
    slices = [make_acquisition(i) for i in (4, 0, 2)]
    write_ismrmrd(tmp_path / "raw.h5", slices)
    raw = read_ismrmrd(tmp_path / "raw.h5")
    assert (raw.n_slices, raw.n_coils, raw.n_readouts, raw.n_samples) == (3, N_COILS, N_READOUTS, N_SAMPLES)
    for i, expected in enumerate([slices[1], slices[2], slices[0]]):
        assert_same(raw.acquisition(i), expected)
    with pytest.raises(IndexError, match="slice_index=3"):
        raw.acquisition(3)
    assert [file.name for file in tmp_path.iterdir()] == ["raw.h5"]


def test_round_trip_of_the_dwell_time(tmp_path):
    write_ismrmrd(tmp_path / "raw.h5", [make_acquisition(dwell_time=3.2e-6, noise=None)])
    result = read_ismrmrd(tmp_path / "raw.h5").acquisition(0)
    assert result.dwell_time == pytest.approx(3.2e-6, rel=1e-6)  # float32 in the file


def test_round_trip_without_noise_and_with_default_affine(tmp_path):
    expected = make_acquisition(noise=None, affine=None)
    write_ismrmrd(tmp_path / "raw.h5", [expected])
    result = read_ismrmrd(tmp_path / "raw.h5").acquisition(0)
    assert result.noise is None
    np.testing.assert_array_equal(result.affine, expected.affine)
    assert not result.orientation_known


def test_noise_longer_than_a_readout_is_split_and_joined(tmp_path):
    noise = np.random.default_rng(0).standard_normal((N_COILS, 70_000)).astype(np.complex64)
    write_ismrmrd(tmp_path / "raw.h5", [make_acquisition(noise=noise)])
    raw = read_ismrmrd(tmp_path / "raw.h5")
    assert len(raw.noise_rows) == 2
    np.testing.assert_array_equal(raw.acquisition(0).noise, noise)


def test_ismrmrd_package_reads_the_file(path):
    expected = make_acquisition()
    with ismrmrd.Dataset(path, "dataset", create_if_needed=False) as dataset:
        header = ismrmrd.xsd.CreateFromDocument(dataset.read_xml_header())
        assert dataset.number_of_acquisitions() == 1 + N_READOUTS
        assert dataset.read_acquisition(0).is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        readout = dataset.read_acquisition(3)
        last = dataset.read_acquisition(N_READOUTS)
    np.testing.assert_array_equal(readout.data, expected.kspace[:, 2])
    np.testing.assert_array_equal(readout.traj, expected.trajectory[2])
    assert readout.scan_counter == 3
    assert readout.idx.kspace_encode_step_1 == readout.idx.repetition == 2
    assert readout.center_sample == np.linalg.norm(expected.trajectory[2], axis=-1).argmin()
    assert last.is_flag_set(ismrmrd.ACQ_LAST_IN_SLICE)
    assert last.is_flag_set(ismrmrd.ACQ_LAST_IN_MEASUREMENT)
    assert header.acquisitionSystemInformation.receiverChannels == N_COILS
    assert header.encoding[0].trajectory == ismrmrd.xsd.trajectoryType.OTHER
    assert header.encoding[0].encodingLimits.repetition.maximum == N_READOUTS - 1


def test_reader_takes_a_file_of_the_ismrmrd_package(tmp_path, path):
    with (
        ismrmrd.Dataset(path, "dataset", create_if_needed=False) as source,
        ismrmrd.Dataset(tmp_path / "copy.h5", "measurement") as target,
    ):
        target.write_xml_header(source.read_xml_header())
        for i in range(source.number_of_acquisitions()):
            target.append_acquisition(source.read_acquisition(i))
    assert_same(read_ismrmrd(tmp_path / "copy.h5", dataset="measurement").acquisition(0), make_acquisition())


def test_field_strength_sets_the_resonance_frequency(tmp_path):
    write_ismrmrd(tmp_path / "raw.h5", [make_acquisition()], field_strength=1.5)
    header = read_ismrmrd(tmp_path / "raw.h5").header
    assert header.acquisitionSystemInformation.systemFieldStrength_T == 1.5
    assert header.experimentalConditions.H1resonanceFrequency_Hz == pytest.approx(63.864e6, abs=1)


def test_interleaved_slices_keep_acquisition_order(tmp_path):
    slices = [make_acquisition(i) for i in (0, 1)]
    write_ismrmrd(tmp_path / "raw.h5", slices)
    order = [0, *np.arange(1, 2 * N_READOUTS + 1).reshape(2, -1).T.ravel()]
    edit(tmp_path / "raw.h5", lambda table: table[order])
    raw = read_ismrmrd(tmp_path / "raw.h5")
    for i in (0, 1):
        assert_same(raw.acquisition(i), slices[i])


def test_blocks_of_readouts_are_joined(tmp_path):
    rng = np.random.default_rng(0)
    kspace = rng.standard_normal((1, 1100, 4, 2)) @ [1, 1j]  # more than two blocks of 512
    expected = make_acquisition(kspace=kspace, trajectory=rng.uniform(-0.5, 0.5, (1100, 4, 2)), noise=None)
    write_ismrmrd(tmp_path / "raw.h5", [expected])
    np.testing.assert_array_equal(read_ismrmrd(tmp_path / "raw.h5").acquisition(0).kspace, expected.kspace)


@pytest.mark.parametrize(
    "flag",
    [
        ismrmrd.ACQ_IS_NAVIGATION_DATA,
        ismrmrd.ACQ_IS_PHASECORR_DATA,
        ismrmrd.ACQ_IS_DUMMYSCAN_DATA,
        ismrmrd.ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA,
        ismrmrd.ACQ_IS_PARALLEL_CALIBRATION,
        ismrmrd.ACQ_IS_HPFEEDBACK_DATA,
        ismrmrd.ACQ_IS_RTFEEDBACK_DATA,
    ],
)
def test_readouts_that_are_not_imaging_are_skipped(path, flag):
    edit(path, set_head(3, flags=bit(flag)))
    result = read_ismrmrd(path).acquisition(0)
    np.testing.assert_array_equal(result.kspace, np.delete(make_acquisition().kspace, 2, axis=1))
    np.testing.assert_array_equal(result.trajectory, np.delete(make_acquisition().trajectory, 2, axis=0))


def test_calibration_that_is_also_imaging_is_kept(path):
    both = bit(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION) | bit(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    edit(path, set_head(3, flags=both))
    assert read_ismrmrd(path).n_readouts == N_READOUTS


def test_several_noise_readouts_are_concatenated(path):
    edit(path, lambda table: table[[0, 1, 2, 0, 3]])
    result = read_ismrmrd(path).acquisition(0)
    np.testing.assert_array_equal(result.noise, np.tile(make_acquisition().noise, 2))
    np.testing.assert_array_equal(result.kspace, make_acquisition().kspace[:, :3])


def test_noise_is_scaled_by_the_dwell_times(path):
    edit(path, set_head(slice(None), sample_time_us=2.0))
    np.testing.assert_array_equal(read_ismrmrd(path).acquisition(0).noise, make_acquisition().noise)
    edit(path, set_head(0, sample_time_us=8.0))
    assert read_ismrmrd(path).acquisition(0).dwell_time == pytest.approx(2e-6, rel=1e-12)
    # Four times the dwell is a quarter of the bandwidth, half the standard deviation.
    np.testing.assert_array_equal(read_ismrmrd(path).acquisition(0).noise, 2 * make_acquisition().noise)


def test_discarded_samples_are_cut_off(path):
    edit(path, set_head(slice(1, None), discard_pre=2, discard_post=3))
    raw = read_ismrmrd(path)
    expected = make_acquisition()
    assert raw.n_samples == 5
    np.testing.assert_array_equal(raw.acquisition(0).kspace, expected.kspace[..., 2:7])
    np.testing.assert_array_equal(raw.acquisition(0).trajectory, expected.trajectory[:, 2:7])


@pytest.mark.parametrize("third", [0.0, 0.7])
def test_third_trajectory_dimension_must_be_zero(path, third):
    def change(table):
        table["head"]["trajectory_dimensions"][1:] = 3
        for row in range(1, len(table)):
            table["traj"][row] = np.pad(table["traj"][row].reshape(-1, 2), [(0, 0), (0, 1)]).ravel()
        table["traj"][3][5] = third
        return table

    edit(path, change)
    if third:
        with pytest.raises(RawDataError, match=r"third component .* row 3 is not zero .*0\.7.*weights"):
            read_ismrmrd(path).acquisition(0)
        return
    np.testing.assert_array_equal(read_ismrmrd(path).acquisition(0).trajectory, make_acquisition().trajectory)


@pytest.mark.parametrize(
    ("units", "factors"),
    [
        ("cycles_per_pixel", (1, 1)),
        ("cycles_per_fov", (8, 6)),
        ("radians_per_pixel", (2 * np.pi, 2 * np.pi)),
        ("cycles_per_m", (1 / 0.03, 1 / 0.02)),
    ],
)
def test_trajectory_units_are_converted(path, units, factors):
    expected = make_acquisition().trajectory
    given = expected * np.array(factors)
    result = read_ismrmrd(path, trajectory=given, trajectory_units=units).acquisition(0).trajectory
    np.testing.assert_allclose(result, expected, atol=1e-7)  # float32

    def change(table):
        for row, readout in enumerate(given, start=1):
            table["traj"][row] = readout.astype(np.float32).ravel()
        return table

    edit(path, change)
    result = read_ismrmrd(path, trajectory_units=units).acquisition(0).trajectory
    np.testing.assert_allclose(result, expected, atol=1e-7)


def test_wrong_units_are_noticed_and_unknown_units_named(path):
    edit(path, replace_array(4, "traj", lambda t: 8 * t))
    with pytest.raises(RawDataError, match=r"slice 0: trajectory .* readout 3.*`trajectory_units`"):
        read_ismrmrd(path).acquisition(0)
    edit(path, replace_array(4, "traj", lambda t: t / 8))
    with pytest.raises(RawDataError, match=r"slice 0: .* covers only 1\d % of k-space.*`trajectory_units`"):
        read_ismrmrd(path, trajectory_units="cycles_per_fov").acquisition(0)
    with pytest.raises(ValueError, match=r"trajectory_units='1/mm' must be one of cycles_per_pixel"):
        read_ismrmrd(path, trajectory_units="1/mm")


def test_computed_trajectory_replaces_the_missing_one(path):
    def change(table):
        table["head"]["trajectory_dimensions"] = 0
        for row in range(len(table)):
            table["traj"][row] = np.zeros(0, dtype=np.float32)
        table["head"]["center_sample"] = 0  # not set
        return table

    edit(path, change)
    with pytest.raises(RawDataError, match=r"no trajectory.*`trajectory: \{golden_angle_radial: \}`"):
        read_ismrmrd(path).acquisition(0)
    calls = []

    def compute(n_readouts, n_samples, matrix):
        calls.append((n_readouts, n_samples, matrix))
        return golden_angle_radial(n_readouts, n_samples)

    result = read_ismrmrd(path, trajectory=compute).acquisition(0)
    assert calls == [(N_READOUTS, N_SAMPLES, MATRIX)]
    np.testing.assert_array_equal(result.trajectory, golden_angle_radial(N_READOUTS, N_SAMPLES))
    with pytest.raises(RawDataError, match=r"shape \(2, 10, 2\); the file asks for .*\(7, 10, 2\)"):
        read_ismrmrd(path, trajectory=golden_angle_radial(2, 10)).acquisition(0)


def test_computed_trajectory_must_have_the_centre_of_the_file(path):
    def compute(n_readouts, n_samples, matrix):
        return golden_angle_radial(n_readouts, n_samples)

    imaging = slice(1, None)
    edit(path, set_head(imaging, center_sample=5))
    read_ismrmrd(path, trajectory=compute).acquisition(0)
    edit(path, set_head(imaging, discard_pre=2, discard_post=0))  # 8 samples, of which 4 is the centre
    with pytest.raises(RawDataError, match=r"row 1 is sample 5 .* after 2 .* sample 4 of the 8 kept"):
        read_ismrmrd(path, trajectory=compute).acquisition(0)
    edit(path, set_head(imaging, discard_post=2))  # 6 samples, of which 3 is the centre
    read_ismrmrd(path, trajectory=compute).acquisition(0)
    edit(path, set_head(6, center_sample=4))
    with pytest.raises(RawDataError, match=r"row 6 is sample 4 .* sample 3 of the 6 kept"):
        read_ismrmrd(path, trajectory=compute).acquisition(0)
    # An array is taken as it is: measured trajectories are shifted.
    read_ismrmrd(path, trajectory=golden_angle_radial(N_READOUTS, 6)).acquisition(0)


def test_centre_of_a_spiral_is_its_first_sample(path):
    def compute(n_readouts, n_samples, matrix):
        return golden_angle_radial(n_readouts, 2 * n_samples)[:, n_samples:]

    edit(path, set_head(slice(1, None), center_sample=0))
    read_ismrmrd(path, trajectory=compute).acquisition(0)
    edit(path, set_head(slice(1, None), center_sample=5))
    with pytest.raises(RawDataError, match="sample 0 of the 10 kept"):
        read_ismrmrd(path, trajectory=compute).acquisition(0)


def counters(**values):
    """Counters of the seven imaging readouts."""

    def change(table):
        for name, numbers in values.items():
            field = table["head"] if name == "scan_counter" else table["head"]["idx"]
            field[name][1:] = numbers
        return table

    return change


@pytest.mark.parametrize(
    "values",
    [
        {"repetition": 0},
        {"repetition": [0, 0, 0, 1, 1, 1, 2], "set": [0, 1, 2, 0, 1, 2, 0]},
        {"repetition": [0, 1, 2, 0, 1, 2, 0], "set": [0, 0, 0, 1, 1, 1, 2]},
        {"repetition": [0, 1, 2, 0, 1, 2, 0], "average": [0, 0, 0, 1, 1, 1, 2]},
        {"repetition": 3, "contrast": 1, "phase": 2, "scan_counter": 0},
    ],
)
def test_counters_in_acquisition_order_are_accepted(path, values):
    edit(path, counters(**values))
    assert read_ismrmrd(path).n_readouts == N_READOUTS


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"contrast": [0, 1, 0, 1, 0, 1, 0]},
            r"slice 0 holds 2 echoes or contrasts \(idx.contrast: 0 to 1\)",
        ),
        ({"phase": [0, 0, 0, 1, 1, 2, 2]}, "slice 0 holds 3 phases"),
        ({"repetition": [0, 1, 2, 0, 1, 2, 0]}, r"row 3 \(.*repetition 2, set 0\) comes before row 4 \("),
        ({"repetition": 0, "set": [1, 0, 0, 0, 0, 0, 0]}, "row 1 .* comes before row 2 .*; sort them"),
        ({"repetition": 0, "average": [0, 0, 0, 0, 0, 1, 0]}, "row 6 .*average 1.* comes before row 7"),
        ({"repetition": 0, "scan_counter": [1, 2, 4, 3, 5, 6, 7]}, r"row 3 \(scan_counter 4,"),
    ],
)
def test_other_orders_and_several_echoes_are_refused(path, values, message):
    edit(path, counters(**values))
    with pytest.raises(RawDataError, match=message):
        read_ismrmrd(path)


def test_counters_are_compared_within_slices(tmp_path):
    write_ismrmrd(tmp_path / "raw.h5", [make_acquisition(i) for i in (0, 1)])
    edit(tmp_path / "raw.h5", lambda table: table[[0, *range(8, 15), *range(1, 8)]])
    assert read_ismrmrd(tmp_path / "raw.h5").n_slices == 2


@pytest.mark.parametrize(
    ("n_slices", "maximum", "accepted"), [(2, 0, True), (1, 1, True), (1, 0, False), (3, 2, False)]
)
def test_matrix_in_z_may_only_count_slices(tmp_path, n_slices, maximum, accepted):
    path = tmp_path / "raw.h5"
    write_ismrmrd(path, [make_acquisition(i) for i in range(n_slices)])
    with h5py.File(path, "r+") as file:
        header = ismrmrd.xsd.CreateFromDocument(file["dataset/xml"][0])
        header.encoding[0].reconSpace.matrixSize.z = 2
        header.encoding[0].encodingLimits.slice.maximum = maximum
        file["dataset/xml"][0] = ismrmrd.xsd.ToXML(header)
    if accepted:
        assert read_ismrmrd(path).slice_thickness == pytest.approx(2e-3)
        return
    with pytest.raises(RawDataError, match=rf"2 pixels in z and the file {n_slices} slice\(s\): 3-D"):
        read_ismrmrd(path)


def test_header_fields_that_are_not_used_may_be_wrong(path):
    study = b"<studyInformation><studyDate>20260101</studyDate></studyInformation><encoding>"
    replace_xml(b"<encoding>", study)(path)
    assert_same(read_ismrmrd(path).acquisition(0), make_acquisition())


def test_affine_from_patient_coordinates(path):
    head = {"read_dir": (1, 0, 0), "phase_dir": (0, 1, 0), "slice_dir": (0, 0, 1), "position": (10, 20, 30)}
    edit(path, set_head(slice(1, None), **head))
    affine = read_ismrmrd(path).acquisition(0).affine
    np.testing.assert_allclose(np.diag(affine), [-30, -20, 4, 1], rtol=1e-12)
    # r = 0, pixel (4, 3), lies at LPS (10, 20, 30), that is RAS (-10, -20, 30).
    np.testing.assert_allclose(affine @ [4, 3, 0, 1], [-10, -20, 30, 1], rtol=1e-12)
    edit(path, set_head(slice(1, None), phase_dir=(0.1, 1, 0)))
    with pytest.raises(RawDataError, match="not orthonormal"):
        read_ismrmrd(path).acquisition(0)


def test_matrix_and_fov_are_those_of_the_image(path):
    with h5py.File(path, "r+") as file:
        xml = file["dataset/xml"][0]
        encoded, rest = xml.split(b"</encodedSpace>")
        file["dataset/xml"][0] = encoded.replace(b"<x>8</x>", b"<x>16</x>").replace(b"240", b"480") + (
            b"</encodedSpace>" + rest
        )
    raw = read_ismrmrd(path)
    assert raw.encoding.encodedSpace.matrixSize.x == 16
    assert_same(raw.acquisition(0), make_acquisition())


def write_bytes(content):
    return lambda path: path.write_bytes(content)


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def set_xml(content):
    def change(path):
        with h5py.File(path, "r+") as file:
            file["dataset/xml"][0] = content

    return change


def replace_xml(old, new):
    def change(path):
        with h5py.File(path, "r+") as file:
            xml = file["dataset/xml"][0]
            assert old in xml
            file["dataset/xml"][0] = xml.replace(old, new)

    return change


def delete(name):
    def change(path):
        with h5py.File(path, "r+") as file:
            del file[name]

    return change


def table_without_head(path):
    with h5py.File(path, "r+") as file:
        del file["dataset/data"]
        file["dataset/data"] = np.zeros(3)


def with_encoding_step_2(table):
    table["head"]["idx"]["kspace_encode_step_2"][4] = 1
    return table


def with_uneven_slices(table):
    table["head"]["idx"]["slice"][1:4] = 1
    return table


HEADER = b'<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "no such file"),
        (write_bytes(np.random.default_rng(0).bytes(5000)), "not an HDF5 file"),
        (write_bytes(b""), "not an HDF5 file"),
        (truncate, "truncated"),
        (delete("dataset"), "no group /dataset.*rename"),
        (delete("dataset/xml"), "/dataset/xml is missing"),
        (delete("dataset/data"), "/dataset/data is missing"),
        (table_without_head, "not an ISMRMRD acquisition table"),
        (set_xml(b"<ismrmrd"), "not an ISMRMRD header"),
        (set_xml(HEADER + b"</ismrmrdHeader>"), "not an ISMRMRD header"),
        (replace_xml(b"<x>8</x>", b"<x>0</x>"), r"reconSpace .* matrix \(0, 6, 1\)"),
        (
            replace_xml(b"<y>120.0</y>", b"<y>-1</y>"),
            r"reconSpace .* field of view \(240\.0, -1\.0, 4\.0\) mm",
        ),
        (replace_xml(b"<x>8</x>", b"<x>eight</x>"), r"reconSpace .* matrix \(eight, 6, 1\)"),
        (lambda path: edit(path, lambda table: table[:0]), "/dataset/data is missing or empty"),
        (lambda path: edit(path, lambda table: table[:1]), "none of its 1 readouts"),
        (lambda path: edit(path, set_head(slice(None), active_channels=0)), "no receiver coils"),
        (lambda path: edit(path, set_head(3, active_channels=2)), "row 3 has 2 coils, that in row 1 3"),
        (lambda path: edit(path, set_head(0, active_channels=2)), "row 0 has 2 coils, that in row 1 3"),
        (lambda path: edit(path, set_head(3, number_of_samples=9)), "row 3 has 9 samples, that in row 1 10"),
        (lambda path: edit(path, set_head(slice(None), discard_pre=60)), "keeps -50 samples"),
        (lambda path: edit(path, set_head(2, encoding_space_ref=1)), r"encodings \[0, 1\]"),
        (lambda path: edit(path, with_encoding_step_2), "3-D encoding"),
        (lambda path: edit(path, with_uneven_slices), "different numbers of readouts"),
    ],
)
def test_damaged_files_are_refused_by_the_reader(path, damage, message):
    damage(path)
    with pytest.raises(RawDataError, match=message) as caught:
        read_ismrmrd(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def with_nan(array):
    return np.where(np.arange(array.size) == 4, np.float32(np.nan), array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_array(3, "data", with_nan), "slice 0: kspace is .*nan.* at readout 2, sample 2, coil 0"),
        (replace_array(5, "traj", with_nan), "slice 0: trajectory is .*nan.* at readout 4, sample 2"),
        (replace_array(0, "data", with_nan), "slice 0: noise is .*nan.* at sample 2, coil 0"),
        (replace_array(3, "data", lambda d: d[:-2]), "row 3 holds 58 numbers; .* = 60"),
        (replace_array(3, "traj", lambda t: t[:-1]), "trajectory of row 3 holds 19 numbers; .* = 20"),
    ],
)
def test_damaged_samples_are_refused(path, change, message):
    edit(path, change)
    raw = read_ismrmrd(path)
    with pytest.raises(RawDataError, match=message):
        raw.acquisition(0)


def test_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    before = path.read_bytes()

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_ismrmrd(path, [make_acquisition(noise=None)])
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([], "acquisitions is empty"),
        ([make_acquisition(), make_acquisition()], r"slice_index .* differ.* \[0, 0\]"),
        ([make_acquisition(), make_acquisition(1, fov=(0.1, 0.1), affine=None)], "fov="),
        ([make_acquisition(), make_acquisition(1, noise=None)], "noise of slice 1"),
        (
            [make_acquisition(), make_acquisition(1, kspace=np.ones((2, 7, 10)), noise=None)],
            "kspace of slice 1",
        ),
        ([make_acquisition(affine=np.diag([1.0, 2.0, 3.0, 1.0]))], "affine of slice 0"),
        (
            [
                make_acquisition(
                    kspace=np.ones((1, 1, 65536)), trajectory=np.full((1, 65536, 2), 0.1), noise=None
                )
            ],
            "n_s",
        ),
    ],
)
def test_slices_that_do_not_fit_are_not_written(tmp_path, slices, message):
    with pytest.raises(ValueError, match=message):
        write_ismrmrd(tmp_path / "raw.h5", slices)
    assert list(tmp_path.iterdir()) == []


def test_field_strength_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match=r"field_strength=0\.0"):
        write_ismrmrd(tmp_path / "raw.h5", [make_acquisition()], field_strength=0.0)


def tubes_path():
    beside_checkout = Path(__file__).parents[2].parent / "shared/data/tubes_fisp_radial.mrd"
    return Path(os.environ.get("EPGBLOCH_TUBES", beside_checkout))


@pytest.mark.skipif(not tubes_path().is_file(), reason="tubes_fisp_radial.mrd is not here (EPGBLOCH_TUBES)")
def test_tubes_of_another_software_have_the_right_orientation():
    raw = read_ismrmrd(tubes_path())
    acquisition = raw.acquisition(0)
    assert acquisition.matrix == (128, 128)
    assert (raw.n_slices, raw.n_coils, raw.n_readouts, raw.n_samples) == (1, 8, 500, 256)
    assert acquisition.noise.shape == (8, 1024)
    images = coil_images(acquisition.prewhitened()[0])
    combined = np.abs(np.einsum("cyx,cyx->yx", adaptive_combine(images).conj(), images))
    labels = np.load(tubes_path().with_name("tubes_fisp_radial_labels.npy")).T

    def explained(labels):
        means = np.bincount(labels.ravel(), combined.ravel()) / np.bincount(labels.ravel())
        return 1 - np.var(combined - means[labels]) / np.var(combined)

    assert explained(labels) > 0.9  # measured 0.94; the rest is the sensitivity of the array
    for wrong in (labels.T, labels[::-1], labels[:, ::-1], labels[::-1, ::-1]):
        assert explained(wrong) < 0.7
