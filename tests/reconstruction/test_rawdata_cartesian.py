"""Cartesian ISMRMRD files: positions against the FFT of a known image, images neither shifted nor flipped."""

import h5py
import ismrmrd
import numpy as np
import pytest

from epgbloch import EPGBloch, Sequence
from reconstruction.acquisition import Acquisition
from reconstruction.coils import adaptive_combine, coil_images
from reconstruction.phantom import Phantom
from reconstruction.phantom_simulation import simulate_acquisition
from reconstruction.rawdata import RawDataError, read_ismrmrd, write_ismrmrd
from reconstruction.trajectory import cartesian_lines

N_COILS = 2


def asymmetric_images(ny, nx, n_coils=N_COILS):
    """Random complex images, without any symmetry."""
    return np.random.default_rng(ny * nx).standard_normal((n_coils, ny, nx, 2)) @ [1, 1j]


def encoded_kspace(images, ny, nx):
    """FFT of the images in a larger field of view; k = 0 and r = 0 at index n // 2."""
    padding = [(0, 0)]
    for n_encoded, n in zip((ny, nx), images.shape[1:], strict=True):
        before = n_encoded // 2 - n // 2
        padding.append((before, n_encoded - n - before))
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(np.pad(images, padding), axes)), axes)


def write_scanner_file(path, images, *, encoded, lines, first=0, stop=None, discarded=(0, 0), centre=None):
    """File as a scanner's converter writes it, by the ismrmrd package.

    The image of pixels of 2 mm x 3 mm; `encoded` (ny, nx) is the oversampled matrix, of which the samples
    first ... stop - 1 are measured, with random ones around them to discard. `centre` shifts the numbers of
    the lines: line `centre` is the central one.
    """
    ny, nx = images.shape[1:]
    shift = 0 if centre is None else centre - encoded[0] // 2
    xsd = ismrmrd.xsd

    def space(matrix):
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=matrix[1], y=matrix[0], z=1),
            fieldOfView_mm=xsd.fieldOfViewMm(x=2.0 * matrix[1], y=3.0 * matrix[0], z=5.0),
        )

    header = xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=123_000_000),
        encoding=[
            xsd.encodingType(
                encodedSpace=space(encoded),
                reconSpace=space((ny, nx)),
                encodingLimits=xsd.encodingLimitsType(
                    kspace_encoding_step_1=xsd.limitType(
                        minimum=min(lines) + shift, maximum=max(lines) + shift, center=encoded[0] // 2 + shift
                    )
                ),
                trajectory=xsd.trajectoryType.CARTESIAN,
            )
        ],
    )
    kspace = encoded_kspace(images, *encoded)[:, :, first:stop]
    rng = np.random.default_rng(0)
    with ismrmrd.Dataset(path, "dataset") as dataset:
        dataset.write_xml_header(xsd.ToXML(header).encode())
        for i, line in enumerate(lines):
            before, after = (rng.standard_normal((len(images), n)) for n in discarded)
            samples = np.concatenate([before, kspace[:, line], after], axis=1).astype(np.complex64)
            readout = ismrmrd.Acquisition.from_array(samples)
            readout.idx.kspace_encode_step_1 = line + shift
            readout.scan_counter = i
            readout.discard_pre, readout.discard_post = discarded
            readout.center_sample = encoded[1] // 2 - first + discarded[0]
            dataset.append_acquisition(readout)


def phases(trajectory, matrix):
    """Phase factors (t, m, y) and (t, m, x) of the sum that defines k-space: r = 0 at pixel n // 2."""
    kx, ky = np.moveaxis(trajectory.astype(np.float64), -1, 0)
    y, x = (np.arange(n) - n // 2 for n in matrix)
    return np.exp(-2j * np.pi * ky[..., None] * y), np.exp(-2j * np.pi * kx[..., None] * x)


def direct_kspace(images, trajectory):
    return np.einsum("cyx,tmy,tmx->ctm", images, *phases(trajectory, images.shape[1:]))


@pytest.mark.parametrize("matrix", [(8, 6), (7, 6), (8, 5), (7, 9)])
@pytest.mark.parametrize(
    "options",
    [
        {"encoded": (1, 1), "lines": slice(None)},
        {"encoded": (1, 2), "lines": slice(None)},  # readout oversampling
        {"encoded": (2, 2), "lines": slice(None)},  # and phase oversampling
        {"encoded": (1, 2), "lines": slice(None, None, 3)},
        {"encoded": (1, 2), "lines": slice(None, None, -1)},
        {"encoded": (1, 2), "lines": slice(None, 5), "centre": 9},  # partial Fourier, other numbers
        {"encoded": (1, 2), "lines": slice(None), "first": 3},  # asymmetric echo
        {"encoded": (1, 2), "lines": slice(None), "first": 1, "stop": 13, "discarded": (3, 2)},
    ],
)
def test_samples_are_those_of_the_image_at_their_positions(tmp_path, matrix, options):
    images = asymmetric_images(*matrix)
    encoded = tuple(factor * n for factor, n in zip(options["encoded"], matrix, strict=True))
    lines = np.arange(encoded[0])[options["lines"]].tolist()
    write_scanner_file(tmp_path / "raw.h5", images, **(options | {"encoded": encoded, "lines": lines}))
    acquisition = read_ismrmrd(tmp_path / "raw.h5").acquisition(0)
    assert acquisition.matrix == matrix
    assert acquisition.n_readouts == len(lines)
    expected = direct_kspace(images, acquisition.trajectory)
    # float32 samples and positions: 2 pi 10 pixels x 3e-8.
    np.testing.assert_allclose(acquisition.kspace, expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(acquisition.trajectory).max() <= 0.5


@pytest.mark.parametrize("matrix", [(16, 12), (15, 12), (16, 13)])
def test_full_sampling_gives_the_image(tmp_path, matrix):
    images = asymmetric_images(*matrix)
    lines = np.random.default_rng(1).permutation(matrix[0]).tolist()
    write_scanner_file(tmp_path / "raw.h5", images, encoded=matrix, lines=lines)
    result = coil_images(read_ismrmrd(tmp_path / "raw.h5").acquisition(0))
    # The weights are 1 / (ny nx) to the accuracy of the non-uniform FFTs in them, 1e-4 in 20 iterations.
    np.testing.assert_allclose(result, images, atol=2e-3 * np.abs(images).max())


def smooth_sensitivities(ny, nx, n_coils):
    y, x = np.meshgrid(np.linspace(-1, 1, ny), np.linspace(-1, 1, nx), indexing="ij")
    angle = 2 * np.pi * np.arange(n_coils)[:, None, None] / n_coils
    coils = np.exp(-((x - np.cos(angle)) ** 2) - (y - np.sin(angle)) ** 2 + 1j * angle)
    return coils / np.linalg.norm(coils, axis=0)


@pytest.mark.parametrize("matrix", [(24, 20), (23, 21)])
@pytest.mark.parametrize("sampling", ["every second", "random"])
def test_undersampled_image_is_neither_shifted_nor_flipped(tmp_path, matrix, sampling):
    y, x = np.indices(matrix)
    image = 1.0 * ((y > 3) & (y < 17) & (x > 4) & (x < 14)) + 2 * ((y > 11) & (y < 15) & (x > 5) & (x < 8))
    image = image * np.exp(0.1j * x)
    coils = smooth_sensitivities(*matrix, n_coils=6)
    lines = np.arange(0, matrix[0], 2)
    if sampling == "random":
        lines = np.sort(np.random.default_rng(3).choice(matrix[0], 14, replace=False))
    write_scanner_file(tmp_path / "raw.h5", coils * image, encoded=matrix, lines=lines.tolist())
    acquisition = read_ismrmrd(tmp_path / "raw.h5").acquisition(0)
    encoding = np.einsum("cyx,tmy,tmx->ctmyx", coils, *phases(acquisition.trajectory, matrix))
    solution = np.linalg.lstsq(encoding.reshape(-1, image.size), acquisition.kspace.ravel(), rcond=None)[0]
    result = solution.reshape(matrix)

    def error(expected):
        return np.linalg.norm(result - expected) / np.linalg.norm(expected)

    assert error(image) < 1e-5  # float32 samples; measured 1e-7
    for wrong in (np.roll(image, 1, 0), np.roll(image, 1, 1), image[::-1], image[:, ::-1], image.conj()):
        assert error(wrong) > 0.2


def small_phantom(ny, nx):
    rng = np.random.default_rng(0)
    return Phantom(
        names=("a", "b"),
        fractions=rng.dirichlet(np.ones(3), (ny, nx)).transpose(2, 0, 1)[:2],
        t1=[1.0, 0.6],
        t2=[0.1, 0.05],
        proton_density=[1.0, 0.8],
        b1=np.ones((ny, nx)),
        coil_sensitivities=asymmetric_images(ny, nx),
        fov=(0.2, 0.15),
    )


@pytest.mark.parametrize("matrix", [(8, 6), (7, 5)])
def test_phantom_is_written_as_lines_and_read_back(tmp_path, matrix):
    lines = np.random.default_rng(2).integers(0, matrix[0], 20)
    sequence = Sequence(np.linspace(0.1, 1, 10), 10e-3, 5e-3)
    expected = simulate_acquisition(
        small_phantom(*matrix), EPGBloch(), sequence, cartesian_lines(lines, 2 * matrix[1], matrix=matrix)
    )
    write_ismrmrd(tmp_path / "raw.h5", [expected], cartesian=True)
    with h5py.File(tmp_path / "raw.h5") as file:
        heads = file["dataset/data"]["head"][1:]
    np.testing.assert_array_equal(heads["idx"]["kspace_encode_step_1"], lines)
    np.testing.assert_array_equal(heads["idx"]["repetition"], np.arange(20))
    assert not heads["trajectory_dimensions"].any()
    assert set(heads["center_sample"]) == {matrix[1]}
    raw = read_ismrmrd(tmp_path / "raw.h5")
    assert raw.encoding.encodedSpace.matrixSize.x == 2 * matrix[1]
    assert raw.encoding.encodedSpace.fieldOfView_mm.x == pytest.approx(300)
    assert raw.encoding.encodingLimits.kspace_encoding_step_1.center == matrix[0] // 2
    result = raw.acquisition(0)
    np.testing.assert_array_equal(result.kspace, expected.kspace)
    np.testing.assert_array_equal(result.noise, expected.noise)
    np.testing.assert_allclose(result.trajectory, expected.trajectory, rtol=0, atol=1e-7)  # float32


def test_partial_readouts_are_written_and_read_back(tmp_path):
    trajectory = cartesian_lines([4, 1, 4], 16, matrix=(6, 8))[:, 5:]
    kspace = np.ones((1, *trajectory.shape[:2]))
    write_ismrmrd(tmp_path / "raw.h5", [Acquisition(kspace, trajectory, (6, 8), (0.1, 0.1))], cartesian=True)
    raw = read_ismrmrd(tmp_path / "raw.h5")
    assert raw.encoding.encodedSpace.matrixSize.x == 16
    np.testing.assert_allclose(raw.acquisition(0).trajectory, trajectory, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k: k * [1, 0.9], r"slice 0 is not Cartesian: readout 0 is not one of the lines .*\) / 6"),
        (lambda k: k[:, ::-1], "slice 0 is not Cartesian: kx of every readout"),
        (lambda k: k[..., ::-1], "slice 0 is not Cartesian: kx of every readout"),
        (lambda k: k + np.array([[[0, 0]], [[0.01, 0]], [[0, 0]]]), "kx of every readout"),
        (lambda k: k[:, :1], "kx of every readout"),
    ],
)
def test_other_trajectories_are_not_written_as_lines(tmp_path, change, message):
    trajectory = change(cartesian_lines([0, 1, 4], 8, matrix=(6, 8)))
    acquisition = Acquisition(np.ones((1, *trajectory.shape[:2])), trajectory, (6, 8), (0.1, 0.1))
    with pytest.raises(ValueError, match=message):
        write_ismrmrd(tmp_path / "raw.h5", [acquisition], cartesian=True)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def path(tmp_path):
    """Six lines of 16 samples of an image of 6 x 8."""
    file = tmp_path / "raw.h5"
    write_scanner_file(file, asymmetric_images(6, 8), encoded=(6, 16), lines=list(range(6)))
    return file


def set_head(**values):
    """Set fields of all headers."""

    def change(file):
        table = file["dataset/data"][...]
        for name, value in values.items():
            (table["head"] if name in table["head"].dtype.names else table["head"]["idx"])[name] = value
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=table, dtype=ismrmrd.hdf5.acquisition_dtype)

    return change


def set_xml(old, new):
    def change(file):
        xml = file["dataset/xml"][0]
        assert old in xml
        file["dataset/xml"][0] = xml.replace(old, new)

    return change


def edit(path, *changes):
    with h5py.File(path, "r+") as file:
        for change in changes:
            change(file)


BACKWARDS = np.uint64(1 << (ismrmrd.ACQ_IS_REVERSE - 1))
LIMITS = b"<center>3</center>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_head(kspace_encode_step_1=4), r"all 6 readouts are line 4 .*`trajectory: \{golden_angle_radial"),
        (set_head(kspace_encode_step_2=[0, 1, 0, 1, 0, 1]), r"kspace_encode_step_2 is used \(3-D encoding\)"),
        (set_head(flags=[0, 0, BACKWARDS, 0, 0, 0]), r"row 2 was played backwards .*, 1 readouts"),
        (set_head(center_sample=[8, 8, 0, 8, 8, 0], discard_pre=2), r"row 2 is not set.* keeps 14 of 16"),
        (set_head(center_sample=16), "center_sample of row 0 is 16, which is none of the 16"),
        (set_head(center_sample=1, discard_pre=2), "row 0 is 1, .* discard_pre=2"),
        (set_head(center_sample=6), r"row 0 \(line 0\) reaches 0.5625 cycles per pixel in x.*matrixSize"),
        (set_xml(LIMITS, b"<center>0</center>"), r"row 4 \(line 4\) reaches 0.6667 .* in y.*center in"),
        (set_xml(LIMITS, b"<center>-1</center>"), "encodingLimits of the header give -1 as center"),
        (set_xml(LIMITS, b"<center>x</center>"), "encodingLimits of the header give x as center"),
        (set_xml(b"<x>32.0</x>", b"<x>0</x>"), r"encodedSpace of the header has .*field of view \(0\.0, 18"),
    ],
)  # fmt: skip
def test_what_cannot_be_placed_is_refused(path, change, message):
    edit(path, change)
    with pytest.raises(RawDataError, match=message) as caught:
        read_ismrmrd(path).acquisition(0)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_limits_and_centres_are_in_the_middle(path):
    expected = read_ismrmrd(path).acquisition(0).trajectory
    edit(path, set_head(center_sample=0))
    np.testing.assert_array_equal(read_ismrmrd(path).acquisition(0).trajectory, expected)
    with h5py.File(path, "r+") as file:
        header = ismrmrd.xsd.CreateFromDocument(file["dataset/xml"][0])
        header.encoding[0].encodingLimits.kspace_encoding_step_1 = None
        file["dataset/xml"][0] = ismrmrd.xsd.ToXML(header)
    np.testing.assert_array_equal(read_ismrmrd(path).acquisition(0).trajectory, expected)


def test_train_played_again_for_each_line(path):
    counters = {"kspace_encode_step_1": [0, 0, 4, 4, 2, 2], "repetition": [0, 1, 0, 1, 0, 1]}
    edit(path, set_head(**counters))
    trajectory = read_ismrmrd(path).acquisition(0).trajectory
    np.testing.assert_allclose(trajectory[:, 0, 1] * 6, [-3, -3, 1, 1, -1, -1], atol=1e-6)
    edit(path, set_head(repetition=[0, 1, 0, 1, 1, 0]))
    with pytest.raises(RawDataError, match="not in the order of their acquisition: row 4 "):
        read_ismrmrd(path)


def test_trajectory_in_the_file_or_given_goes_first(path):
    given = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 16, 2)).astype(np.float32)
    np.testing.assert_array_equal(read_ismrmrd(path, trajectory=given).acquisition(0).trajectory, given)
    with h5py.File(path, "r+") as file:
        table = file["dataset/data"][...]
        table["head"]["trajectory_dimensions"] = 2
        for row in range(6):
            table["traj"][row] = given[row].ravel()
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=table, dtype=ismrmrd.hdf5.acquisition_dtype)
    np.testing.assert_array_equal(read_ismrmrd(path).acquisition(0).trajectory, given)


def test_coil_sensitivities_of_repeated_lines(tmp_path):
    """Lines measured several times are averaged, missing ones are zero: the sensitivities do not suffer."""
    matrix = (24, 24)
    y, x = np.indices(matrix)
    image = 1.0 * ((y - 12) ** 2 + (x - 12) ** 2 < 80)
    coils = smooth_sensitivities(*matrix, n_coils=4)
    lines = np.concatenate([np.arange(8, 16), np.arange(0, 24, 2), np.arange(8, 16)])
    write_scanner_file(tmp_path / "raw.h5", coils * image, encoded=(24, 48), lines=lines.tolist())
    estimated = adaptive_combine(coil_images(read_ismrmrd(tmp_path / "raw.h5").acquisition(0)))
    agreement = np.abs(np.einsum("cyx,cyx->yx", estimated.conj(), coils))[image > 0]
    assert np.median(agreement) > 0.99
