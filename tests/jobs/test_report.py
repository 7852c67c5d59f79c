"""`epgbloch report`: the page, its tables, and what it refuses."""

import base64
import csv
import json
from html.parser import HTMLParser
from io import BytesIO

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread, imsave
from typer.testing import CliRunner

from jobs import report_figures
from jobs.cli import app
from jobs.outputs import check_folder, new_folder
from jobs.report_data import read_results
from jobs.report_figures import coil_montage
from reconstruction.bids import write_bids
from reconstruction.maps import Maps

NY, NX = 12, 16
AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])
MOVED = AFFINE + np.diag([0, 0, 3.0], 1)
SCAN = '<b>"scan" & co</b>.mrd'


def make_maps(factor=1.0, std=None, mask=True):
    t1 = np.where(np.arange(NX) < 8, 0.8, 1.6) * np.ones((NY, 1))
    ones = np.ones((NY, NX))
    std = None if std is None else std * ones
    return Maps(
        factor * t1, 0.1 * t1, 5 * t1, ones * mask, b1=ones, correlation=0.99 * ones, t1_std=std, t2_std=std
    )


def record(number, **changes):
    return {
        "slice": number,
        "n_voxels": NY * NX,
        "median_correlation": 0.99,
        "seconds": 1.5,
        "n_dead_coils": 0,
        "relative_residuals": [1.0, 0.1, 0.01],
        "converged": True,
        **changes,
    }


def make_folder(path, slices=None, records=None):
    with new_folder(path, "reconstruct", force=False) as output:
        output.provenance.update(
            {
                "scan": SCAN,
                "protocol": "sequence: <tr> & te",
                "mask": None,
                "dictionary": {
                    "n_atoms": 12,
                    "rank": 3,
                    "grid": {"t1": [0.1, 5.0], "t2": [0.01, 2.0], "b1": [1.0], "off_resonance": [0.0]},
                    "relative_truncation_error": {"rms": 1e-3, "max": 1e-2},
                    "relative_singular_values": [1.0, 0.1, 0.01, 0.001],
                    "model": {"model": "EPGBloch"},
                },
                "slices": [record(0), {"slice": 1, "n_voxels": 0, "left_empty": "no <signal>"}]
                if records is None
                else records,
            }
        )
        write_bids(
            output.path,
            [make_maps(1.1, 0.01), make_maps(std=0.01, mask=False)] if slices is None else slices,
            affine=AFFINE,
            provenance=output.provenance,
        )
        (output.path / "figures").mkdir()
        coil_montage(output.path / "figures" / "coils-00.png", np.ones((3, 4, 5), np.complex64), AFFINE)
    return path


class Parser(HTMLParser):
    """Tags, images and text of a page; checks that tags are closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.sources, self.data = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert not {"href", "action"} & values.keys() or values["href"].startswith("#")
        self.tags.append(tag)
        if tag == "img":
            self.sources.append(values["src"])
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.data.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.data).split())


def report(folder, *options):
    result = CliRunner().invoke(app, ["report", str(folder), *map(str, options)])
    assert result.exit_code == 0, result.output
    return result


def refused(folder, *options):
    result = CliRunner().invoke(app, ["report", str(folder), *map(str, options)])
    assert result.exit_code == 1
    return result.stderr


@pytest.fixture
def plain(monkeypatch):
    """Draw nothing, which takes most of the time: all figures are one small picture."""

    def draw(path, *_, **__):
        path.write_bytes(picture)

    buffer = BytesIO()
    imsave(buffer, np.zeros((2, 2)))
    picture = buffer.getvalue()
    for name in ("convergence", "histograms", "singular_values", "regions"):
        monkeypatch.setattr(report_figures, name, lambda *_: picture)
    for name in ("plot_maps", "plot_quality"):
        monkeypatch.setattr(f"jobs.report.{name}", draw)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("report") / "maps")


@pytest.fixture(scope="module")
def page(folder):
    report(folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_page_is_self_contained(page):
    parser = Parser(page)
    assert not {"script", "link", "iframe", "object"} & {*parser.tags}
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    assert "url(" not in page
    assert len(parser.sources) == 6  # maps, residuals, histograms, quality, singular values, coils
    for source in parser.sources:
        start, _, data = source.partition(",")
        assert start == "data:image/png;base64"
        assert imread(BytesIO(base64.b64decode(data))).ndim == 3


def test_text_is_escaped(page):
    assert "<b>&quot;" not in page.replace("&lt;b&gt;", "")
    text = Parser(page).text
    for expected in (SCAN, "sequence: <tr> & te", "Slice 1 is left empty: no <signal>."):
        assert expected in text


def test_page_holds_what_is_asked_of_it(page):
    text = Parser(page).text
    for title in ("Summary", "Maps", "Convergence", "Fit", "Dictionary", "Coil sensitivities", "provenance"):
        assert title in text
    assert "16 × 12 voxels, 2 × 3 × 4 mm³" in text
    assert f"{NY * NX} voxels" in text
    assert "<h2>Errors</h2>" not in page
    assert "<h2>Regions</h2>" not in page


def test_report_of_its_own_folder_is_replaced_and_known(folder, page):
    report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == page
    assert "report.html" in json.loads((folder / "provenance.json").read_text())["files"]
    check_folder(folder, "reconstruct", force=True)  # which would refuse a foreign file


def test_report_elsewhere_needs_force_to_replace(tmp_path, folder, plain):
    out = tmp_path / "r.html"
    out.write_text("mine")
    assert "give --force" in refused(folder, "--out", out)
    assert out.read_text() == "mine"
    report(folder, "--out", out, "--force")
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def read_table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def write_labels(path, values, affine=AFFINE):
    nib.save(nib.Nifti1Image(values.T, affine), path)
    return path


def test_regions(tmp_path, folder, plain):
    values = np.zeros((2, NY, NX), np.int16)
    values[0, 2:4, 6:10], values[1, 3, 3] = 3, 7  # two voxels of each side; a voxel of the empty slice
    labels = write_labels(tmp_path / "roi.nii.gz", values)
    (tmp_path / "roi.tsv").write_text("index\tname\n3\tborder <zone>\n")
    report(folder, "--roi", labels, "--out", tmp_path / "r.html")
    first, second = read_table(tmp_path / "r_regions.tsv")
    assert (first["index"], first["name"], first["n_voxels"]) == ("3", "border <zone>", "8")
    t1 = 1.1 * np.repeat([800, 1600], 4)
    for name, value in (
        ("mean", t1.mean()),
        ("sd", t1.std(ddof=1)),
        ("median", np.median(t1)),
        ("q25", 880),
        ("q75", 1760),
    ):
        assert float(first[f"t1_{name}_ms"]) == pytest.approx(value, rel=1e-6)  # single precision
    assert float(first["t1_standard_error_median_ms"]) == pytest.approx(10, rel=1e-6)
    assert float(first["b1_mean_percent"]) == 100
    assert float(first["pd_median"]) == pytest.approx(6)
    assert (second["name"], second["n_voxels"], second["n_outside_mask"]) == ("region 7", "0", "1")
    assert second["t1_mean_ms"] == "n/a"
    text = Parser((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "border <zone> T1 8 1320 ± 470 ms 1320 (880 – 1760) ms 10 ms" in text


def test_errors(tmp_path, folder, plain):
    truth = write_bids(tmp_path / "truth", [make_maps(), make_maps()], affine=AFFINE, provenance={})
    report(folder, "--truth", truth, "--out", tmp_path / "r.html")
    rows = {(row["group"], row["quantity"]): row for row in read_table(tmp_path / "r_errors.tsv")}
    groups = {group for group, _ in rows}
    tissues = {"T1 800 ms, T2 80 ms", "T1 1600 ms, T2 160 ms"}
    assert groups == {"all voxels", "voxels away from borders", *tissues}
    for group in groups:
        assert float(rows[group, "T1"]["error_median_percent"]) == pytest.approx(10, rel=1e-4)
        assert float(rows[group, "T2"]["absolute_error_q90_percent"]) == pytest.approx(0, abs=1e-4)
        assert float(rows[group, "PD"]["error_median_percent"]) == pytest.approx(0, abs=1e-4)
    assert float(rows["T1 800 ms, T2 80 ms", "T1"]["result_median"]) == pytest.approx(880)
    assert rows["all voxels", "T1"]["n_voxels"] == f"{NY * NX}"
    assert rows["voxels away from borders", "T1"]["n_voxels"] == f"{NY * (NX - 2)}"
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<h2>Errors</h2>" in page
    text = Parser(page).text
    assert "T1 192 1200 ms 1320 ms +10.00 % 10.00 % 10.00 %" in text


def test_errors_by_region(tmp_path, folder, plain):
    truth = write_bids(tmp_path / "truth", [make_maps(), make_maps()], affine=AFFINE, provenance={})
    values = np.zeros((2, NY, NX), np.uint8)
    values[:, :, 2:5] = 1
    labels = write_labels(tmp_path / "roi.nii", values)
    report(folder, "--truth", truth, "--roi", labels, "--out", tmp_path / "r.html")
    groups = [row["group"] for row in read_table(tmp_path / "r_errors.tsv") if row["quantity"] == "T1"]
    assert groups == ["all voxels", "voxels away from borders", "region 1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.full((2, NY, NX), 0.5)}, "must hold whole numbers"),
        ({"values": np.full((2, NY, NX), -1)}, "must hold whole numbers"),
        ({"values": np.zeros((2, NY, NX))}, "is empty"),
        ({"values": np.ones((1, NY, NX))}, "has shape (16, 12, 1)"),
        ({"affine": MOVED}, "lies or is oriented otherwise"),
        ({"table": "index\tlabel\n1\tx\n"}, "needs the columns index and name"),
        ({"table": "index\tname\none\tx\n"}, "needs the columns index and name"),
    ],
)
def test_labels_are_refused(tmp_path, folder, change, message):
    values = change.get("values", np.ones((2, NY, NX))).astype(np.float32)
    labels = write_labels(tmp_path / "roi.nii.gz", values, change.get("affine", AFFINE))
    if "table" in change:
        (tmp_path / "roi.tsv").write_text(change["table"])
    assert message in refused(folder, "--roi", labels, "--out", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_truth_is_refused(tmp_path, folder):
    one = write_bids(tmp_path / "one", [make_maps()], affine=AFFINE, provenance={})
    assert "has shape (16, 12, 1); the maps have" in refused(folder, "--truth", one)
    two = [make_maps(), make_maps()]
    moved = write_bids(tmp_path / "moved", two, affine=MOVED, provenance={})
    assert "lies or is oriented otherwise" in refused(folder, "--truth", moved)
    apart = [make_maps(mask=False), make_maps()]
    empty = write_bids(tmp_path / "apart", apart, affine=AFFINE, provenance={})
    assert "no voxel in common" in refused(folder, "--truth", empty)


def test_foreign_folder_is_refused(tmp_path):
    message = "is not a folder of epgbloch reconstruct"
    assert message in refused(tmp_path)
    with new_folder(tmp_path / "other", "phantom", force=False):
        pass
    assert message in refused(tmp_path / "other")
    with pytest.raises(ValueError, match="describes 1 slices and the maps hold 2"):
        read_results(make_folder(tmp_path / "maps", records=[record(0)]))


ADMM = {
    name: [0.5, 0.1, 0.05] for name in ("data_misfit", "primal_residual", "dual_residual", "changed", "mu")
}


def test_admm_record_is_drawn(tmp_path):
    results = read_results(make_folder(tmp_path / "plain", [make_maps()], [record(0)]))
    assert report_figures.admm_convergence(results) is None
    results = read_results(make_folder(tmp_path / "admm", [make_maps()], [record(0, admm=ADMM)]))
    assert imread(BytesIO(report_figures.admm_convergence(results))).shape[1] > 1000  # three panels


def test_coil_montage_is_turned_like_the_maps(tmp_path):
    coils = np.zeros((2, 4, 6), np.complex64)
    coils[0, 0, 1], coils[1, 3, 5] = 1, -0.5j  # rows run from below to above
    coil_montage(tmp_path / "a.png", coils, AFFINE)
    picture = imread(tmp_path / "a.png")[..., :3]
    lit = np.argwhere(picture.max(axis=2) > 0.1).tolist()
    assert picture.shape == (4, 13, 3)  # side by side, with a gap
    assert lit == [[0, 7 + 5], [3, 1]]
    np.testing.assert_allclose(picture[0, 12].max(), 0.5, atol=1 / 255)
    coil_montage(tmp_path / "b.png", coils[:, ::-1, ::-1], AFFINE @ np.diag([-1, -1, 1, 1]))
    np.testing.assert_array_equal(imread(tmp_path / "b.png")[..., :3], picture)
