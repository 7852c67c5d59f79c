"""Files that are damaged or play something else: one line that says what and where."""

import re

import numpy as np
import pypulseq as pp
import pytest

from design.pulseq.read import read_pulseq

N_PULSES = 6
FLIP_ANGLE = np.deg2rad(np.linspace(10, 60, N_PULSES))


@pytest.fixture(scope="module")
def good(write_train):
    return write_train("good", FLIP_ANGLE)


@pytest.fixture(scope="module")
def unsigned(good):
    """Content of a good file without its signature."""
    return good.read_text().split("\n[SIGNATURE]")[0]


@pytest.fixture
def refused(tmp_path):
    """Function that writes a text or sequence and returns the one line with which it is refused."""

    def message(content):
        path = tmp_path / "file.seq"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content)
        else:
            content.write(str(path))
        with pytest.raises(ValueError, match=re.escape(str(path))) as error:
            read_pulseq(path)
        text = str(error.value)
        assert "\n" not in text
        return text

    return message


def rebuilt(path, change):
    """The file as a sequence of pypulseq after `change(i_block, block)` of each block."""
    old, new = pp.Sequence(), pp.Sequence()
    old.read(str(path))
    for i_block, number in enumerate(old.block_events):
        block = old.get_block(number)
        change(i_block, block)
        events = [block.rf, block.gx, block.gy, block.gz, block.adc]
        new.add_block(*filter(None, events), pp.make_delay(block.block_duration))
    for name, value in old.definitions.items():
        new.set_definition(name, value)
    return new


@pytest.mark.parametrize("content", ["", "sequence:\n  tr_ms: 10\n", b"\x00\xff\x89PNG\r\n", "[VERSION]\n"])
def test_other_files(refused, content):
    assert "not a Pulseq file" in refused(content)


@pytest.mark.parametrize(
    "option", [{"slice_thickness": -3e-3}, {"slice_thickness": np.nan}, {"segment_gap": -1e-4}]
)
def test_options_out_of_range(good, option):
    with pytest.raises(ValueError, match=f"^{next(iter(option))}=.* must be"):
        read_pulseq(good, **option)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_pulseq(tmp_path / "none.seq")


@pytest.mark.parametrize(("major", "minor"), [(1, 6), (2, 0), (1, 1), (0, 9)])
def test_other_versions(refused, unsigned, major, minor):
    changed = unsigned.replace("major 1", f"major {major}").replace("minor 5", f"minor {minor}")
    assert f"version {major}.{minor}.0 of the Pulseq format is not supported" in refused(changed)


def test_a_changed_file_with_its_old_signature(refused, good, unsigned, tmp_path):
    text = good.read_text()
    changed = text.replace("FOV 0.256 0.256", "FOV 0.256 0.266")
    assert changed != text
    assert "signature" in refused(changed)
    path = tmp_path / "resaved.seq"
    path.write_bytes(text.replace("\n", "\r\n").encode())  # other line ends are no change
    assert read_pulseq(path).sequence.n_pulses == N_PULSES
    path.write_text(unsigned.replace("FOV 0.256 0.256", "FOV 0.256 0.266"))
    assert read_pulseq(path).fov == (0.266, 0.256)


@pytest.mark.parametrize("section", ["BLOCKS", "RF", "TRAP", "ADC", "SHAPES"])
def test_truncated_files(refused, unsigned, section):
    start = unsigned.index(f"[{section}]")
    assert "truncated" in refused(unsigned[:start])
    # in the middle of a line of the section, where the parser alone would go on for ever
    end = unsigned.find("\n[", start)
    assert "truncated" in refused(unsigned[: start + 3 * (end - start) // 4 if end > 0 else -200])


def test_shapes_without_end(refused, unsigned):
    changed = re.sub(r"num_samples \d+", "num_samples 999999999999", unsigned, count=1)
    assert "999999999999 samples" in refused(changed)


def test_extensions_in_a_circle(refused, write_train, unsigned):
    text = unsigned.replace("[SHAPES]", "[EXTENSIONS]\n1 1 1 2\n2 1 1 1\n\n[SHAPES]")
    assert "leads back to itself" in refused(text)


def test_cut_and_garbled_files_are_read_or_refused(unsigned, tmp_path):
    rng = np.random.default_rng(7)
    content = unsigned.encode()
    characters = np.frombuffer(b"0123456789 -.e\n#[x\xff", np.uint8)
    path = tmp_path / "garbled.seq"
    n_refused = 0
    for i in range(60):
        garbled = bytearray(content[: rng.integers(len(content))] if i % 3 == 0 else content)
        for place in rng.integers(len(garbled), size=i % 5):
            garbled[place] = rng.choice(characters)
        path.write_bytes(garbled)
        try:
            read_pulseq(path)
        except ValueError:
            n_refused += 1
    assert n_refused > 20


def test_no_pulse_no_readout(refused, good, unsigned):
    def silent(i_block, block):
        block.rf = None

    def deaf(i_block, block):
        block.adc = None

    def early(i_block, block):
        block.adc = pp.make_adc(8, dwell=1e-5) if i_block == 0 else None
        block.rf = None if i_block < 4 else block.rf

    assert "no RF pulse" in refused(rebuilt(good, silent))
    assert "no ADC" in refused(rebuilt(good, deaf))
    assert "before the first RF pulse" in refused(rebuilt(good, early))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (
            "slice not rewound",
            "RF pulse of block 1 .10 degrees, use excitation. the slice is dephased by 2.3",
        ),
        ("partitions", "slice is dephased by 1.16 cycles.* partition encoding is not supported"),
        ("two echoes", "the ADC of block 5 is the second one after the RF pulse of block 1"),
        (
            "readout not rewound",
            r"repetition 1, .* by \(x 0.5\d*, y -0.469, z 4\) cycles, in repetition 0 by",
        ),
    ],
)
def test_trains_that_the_model_does_not_describe(refused, write_train, wrong, expected):
    path = write_train(wrong, FLIP_ANGLE, wrong=wrong)
    text = refused(path.read_bytes())
    assert re.search(expected, text), text


def test_spoilers_that_are_neither_nor(refused, write_train):
    text = refused(write_train("weak", FLIP_ANGLE, spoiler=0.5).read_bytes())
    assert "z 0.5) cycles: too little for a spoiled sequence" in text


def test_spoilers_that_change(refused, good):
    def change(i_block, block):
        if block.gx and block.gz and not block.adc and i_block >= 12:  # the spoiler
            block.gz.amplitude *= 1.1

    assert "needs equal moments" in refused(rebuilt(good, change))


def change_waveform(i_block, block):
    if block.rf and i_block >= 12:
        block.rf.signal = block.rf.signal**2


def change_use(i_block, block):
    if block.rf and i_block >= 12:
        block.rf.use = "refocusing"


def change_slice(i_block, block):
    if block.rf and i_block >= 12:
        block.rf.freq_offset = 4000.0


def change_gradient(i_block, block):
    if block.rf and i_block >= 12:
        block.gz.amplitude *= 0.9


def ramp_gradient(i_block, block):
    if block.rf and i_block >= 12:
        block.gz.flat_time -= 1e-3
        block.gz.fall_time += 1e-3


def tilt_gradient(i_block, block):
    if block.rf:
        block.gy = pp.make_trapezoid("y", amplitude=block.gz.amplitude / 2, flat_time=block.gz.flat_time,
                                     rise_time=block.gz.rise_time, delay=block.gz.delay)  # fmt: skip


def shorten_readout(i_block, block):
    if block.adc and i_block >= 12:
        block.adc.num_samples -= 4


def forget_prephaser(i_block, block):
    if block.gx and not block.adc:
        block.gx = None


def forget_readout(i_block, block):
    block.gx = block.gy = None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (change_waveform, "has another waveform than that of block 1"),
        (change_use, "RF pulse of block 13 .30 degrees, use refocusing. is not an excitation"),
        (change_slice, "RF pulse of block 13 .* excites a slice 5 mm from that of block 1"),
        (change_gradient, "gradient during the RF pulse of block 13 .* is not that of block 1"),
        (ramp_gradient, "gradient during the RF pulse of block 13 .* changes"),
        (tilt_gradient, "is oblique .gx 0, gy 4e.05, gz 8e.05 Hz/m."),
        (shorten_readout, "the ADC of block 16 has 28 samples of 20 us, that of block 4 32 of 20 us"),
        (forget_prephaser, "stays 62.77 1/m away from the centre of k-space"),
        (forget_readout, "no in-plane gradient is on before or in the readouts"),
    ],
)
def test_trains_that_are_not_alike(refused, good, change, expected):
    text = refused(rebuilt(good, change))
    assert re.search(expected, text), text


def test_a_second_inversion(refused, write_train):
    first = write_train("first", FLIP_ANGLE, inversion="inversion")
    text = first.read_text().split("\n[SIGNATURE]")[0]
    blocks = re.search(r"\[BLOCKS\]\n(.*?)\n\n", text, re.DOTALL).group(1)
    rows = blocks.splitlines()
    again = [re.sub(r"^\s*\d+", str(len(rows) + 1 + i), row) for i, row in enumerate(rows)]
    text = refused(text.replace(blocks, "\n".join([*rows, *again])))
    assert re.search(r"RF pulse of block 40 .180 degrees, use inversion. is not an excitation", text), text


def test_a_hard_pulse_off_resonance(refused, write_train):
    def shift(i_block, block):
        if block.rf:
            block.rf.freq_offset = 100.0

    text = refused(rebuilt(write_train("hard", FLIP_ANGLE, shape="hard"), shift))
    assert "no slice gradient, but a frequency offset of 100 Hz" in text


def test_pulses_without_amplitude(refused, good, unsigned, tmp_path):
    rows = re.search(r"use\n.*?\[RF\]\n(.*?)\n\n", unsigned, re.DOTALL).group(1).splitlines()
    silent = [re.sub(r"^(\d+)\s+\S+", r"\1 0", row) for row in rows]
    assert "all RF pulses before readouts have an amplitude of 0" in refused(
        unsigned.replace("\n".join(rows), "\n".join(silent))
    )
    path = tmp_path / "one.seq"
    path.write_text(unsigned.replace(rows[2], silent[2]))
    expected = FLIP_ANGLE * (np.arange(N_PULSES) != 2)
    np.testing.assert_allclose(read_pulseq(path).sequence.flip_angle, expected, rtol=1e-5)


def test_offsets_in_ppm(refused, good):
    def shift(i_block, block):
        if block.rf:
            block.rf.freq_ppm = -3.45

    assert "frequency offset in ppm" in refused(rebuilt(good, shift))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("SliceThickness 0.005", "SliceThickness 5", "contradicts the pulse and its gradient"),
        ("SliceThickness 0.005", "SliceThickness thin", "SliceThickness = thin must be a number"),
        ("Matrix 32 32 1", "Matrix 32.5 32 1", "must hold whole numbers"),
        ("Matrix 32 32 1", "Matrix 32", "must hold whole numbers"),
    ],
)
def test_wrong_definitions(refused, unsigned, old, new, expected):
    assert old in unsigned
    assert expected in refused(unsigned.replace(old, new))


def test_a_field_of_view_in_millimetres_is_not_used(unsigned, tmp_path):
    path = tmp_path / "mm.seq"
    path.write_text(unsigned.replace("FOV 0.256 0.256 0.005", "FOV 256 256 5"))
    scan = read_pulseq(path)
    assert scan.fov is None
    assert "not two or three lengths in metres" in scan.notices[0]
