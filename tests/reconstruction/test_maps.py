import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from reconstruction.maps import Maps
from reconstruction.maps_figure import plot_maps

NY, NX = 5, 8
AFFINE = np.array([[2.0, 0, 0, -8], [0, 3.0, 0, -9], [0, 0, 4.0, 20], [0, 0, 0, 1]])


def make_maps(offset: float = 0.0, **changes: object) -> Maps:
    ramp = np.arange(NY * NX, dtype=np.float32).reshape(NY, NX)  # no symmetry: every voxel differs
    mask = np.ones((NY, NX), dtype=bool)
    mask[0, 0] = mask[4, 2] = False
    arguments = {
        "t1": 0.5 + 0.01 * ramp + offset,
        "t2": 0.05 + 0.001 * ramp,
        "pd": (1 + ramp) * np.exp(0.7j),
        "b1": 0.8 + 0.01 * ramp,
        "mask": mask,
    }
    return Maps(**(arguments | changes))


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t1": np.zeros((NY, NX))}, "t1 is 0.0 at row 0, column 1"),
        ({"t2": np.full((NY, NX), np.nan)}, "t2 is nan at row 0, column 1"),
        ({"b1": np.ones((NX, NY))}, "b1 has shape"),
        ({"mask": np.ones((1, NY, NX))}, "one slice"),
    ],
)
def test_maps_refuse(changes, message):
    with pytest.raises(ValueError, match=message):
        make_maps(**changes)


def test_maps_take_any_value_outside_the_mask():
    t1 = np.where(make_maps().mask, 1.0, np.nan)
    assert make_maps(t1=t1).t1.dtype == np.float32


@pytest.mark.parametrize(("with_truth", "with_b1"), [(False, False), (True, True)])
def test_figure_is_written(tmp_path, with_truth, with_b1):
    maps = make_maps() if with_b1 else make_maps(b1=None)
    truth = make_maps(offset=0.02) if with_truth else None
    path = plot_maps(tmp_path / "maps.png", maps, affine=AFFINE, truth=truth, title="Test")
    image = imread(path)
    n_rows, n_columns = (3 if with_truth else 1), (4 if with_b1 else 3)
    assert image.shape[1] > 300 * n_columns
    assert image.shape[0] > 150 * n_rows
    assert image[..., :3].std() > 0.05
    assert contents(tmp_path) == ["maps.png"]


def test_figure_is_oriented_by_the_affine(tmp_path):
    """The same slice stored with reversed rows and columns gives the same picture."""
    maps = make_maps()
    names = ("t1", "t2", "pd", "mask", "b1")
    reversed_maps = Maps(**{name: getattr(maps, name)[::-1, ::-1] for name in names})
    reversed_affine = AFFINE @ np.array([[-1, 0, 0, NX - 1], [0, -1, 0, NY - 1], [0, 0, 1, 0], [0, 0, 0, 1]])
    straight = imread(plot_maps(tmp_path / "a.png", maps, affine=AFFINE))
    np.testing.assert_array_equal(
        straight, imread(plot_maps(tmp_path / "b.png", reversed_maps, affine=reversed_affine))
    )
    wrong = imread(plot_maps(tmp_path / "c.png", reversed_maps, affine=AFFINE))
    assert wrong.shape != straight.shape or not np.array_equal(straight, wrong)


def test_figure_without_orientation_has_no_letters(tmp_path, monkeypatch):
    texts = []
    text = Axes.text
    monkeypatch.setattr(
        Axes, "text", lambda ax, *args, **kw: (texts.append(args[2]), text(ax, *args, **kw))[1]
    )
    plot_maps(tmp_path / "maps.png", make_maps(), affine=AFFINE, orientation_known=False)
    assert texts == []
    plot_maps(tmp_path / "maps.png", make_maps(), affine=AFFINE)
    assert texts == ["R", "A"] * 4


def test_figure_of_a_constant_map(tmp_path):
    constant = make_maps(t1=np.ones((NY, NX)), b1=np.ones((NY, NX)))
    assert plot_maps(tmp_path / "maps.png", constant, affine=AFFINE, truth=constant).stat().st_size > 10000


def test_figure_refuses(tmp_path):
    with pytest.raises(ValueError, match="mask is empty"):
        plot_maps(tmp_path / "maps.png", make_maps(mask=np.zeros((NY, NX))), affine=AFFINE)
    ones = np.ones((2, 2))
    with pytest.raises(ValueError, match="one shape"):
        plot_maps(tmp_path / "a.png", make_maps(), affine=AFFINE, truth=Maps(ones, ones, ones, ones))
    with pytest.raises(OSError, match="cannot write figure"):
        plot_maps(tmp_path / "missing" / "maps.png", make_maps(), affine=AFFINE)
    assert contents(tmp_path) == []
