"""Files of electron microscopes; the writers below make the smallest files that hold a movie."""

import json
import struct

import numpy as np
import pytest

from napari_rvae import ReadError, read_frames

pytest.importorskip("rsciio")
h5py = pytest.importorskip("h5py")

#: Number of a type in a file of Digital Micrograph, for a value and for an image.
_KINDS = {"<i2": (2, 1), "<u2": (4, 10), "<f4": (6, 2), "<i4": (3, 7)}


class MicrographWriter:
    """Digital Micrograph's tags, of version 3 or 4."""

    def __init__(self, version):
        self.version = version
        self.number = ">q" if version == 4 else ">i"

    def numbers(self, *values):
        return b"".join(struct.pack(self.number, value) for value in values)

    def group(self, tags, *, root=False):
        body = b"".join(self.tag(name, value) for name, value in tags.items())
        size = self.numbers(len(body)) if self.version == 4 and not root else b""
        return b"\0\0" + size + self.numbers(len(tags)) + body

    def tag(self, name, value):
        label = struct.pack(">h", len(name.strip("#"))) + name.strip("#").encode()
        if isinstance(value, dict):
            return b"\x14" + label + self.group(value)
        if isinstance(value, np.ndarray):
            kind = value.dtype.str
            body = self.numbers(3, 20, _KINDS[kind][0], value.size) + value.tobytes()
        elif isinstance(value, str):
            text = np.frombuffer(value.encode("utf-16-le"), "<u2")
            body = self.numbers(3, 20, 4, text.size) + text.tobytes()
        elif isinstance(value, float):
            body = self.numbers(1, 6) + struct.pack("<f", value)
        else:
            body = self.numbers(1, 5) + struct.pack("<I", value)
        # the data follow the delimiter, after the numbers that describe them
        size = struct.pack(">q", len(body) + 4) if self.version == 4 else b""
        return b"\x15" + label + size + b"%%%%" + body

    def write(self, path, **images):
        listed = {f"#{i}": self.image(*item) for i, item in enumerate(images.items())}
        body = self.group({"ImageList": listed}, root=True)
        head = struct.pack(">i", self.version) + self.numbers(len(body)) + struct.pack(">i", 1)
        path.write_bytes(head + body + b"\0" * 8)
        return path

    @staticmethod
    def image(name, described):
        values, steps = described
        sides, tags = values.shape[::-1], {}
        for number, (step, unit) in enumerate(steps[::-1]):
            tags["#" * (number + 1)] = {"Origin": 0.0, "Scale": step, "Units": unit}
        return {
            "Name": name,
            "ImageData": {
                "Calibrations": {"Dimension": tags, "Brightness": {"Scale": 1.0, "Units": ""}},
                "Data": values.ravel(),
                "DataType": _KINDS[values.dtype.str][1],
                "Dimensions": {"#" * (i + 1): side for i, side in enumerate(sides)},
            },
            "ImageTags": {"Acquisition": {"Frame": 1}},
        }


@pytest.fixture
def movie():
    return np.random.default_rng(0).integers(0, 500, (5, 12, 16)).astype("<u2")


STEPS = [(0.5, "s"), (0.02, "nm"), (0.03, "nm")]


@pytest.mark.parametrize("version", [3, 4])
def test_a_movie_of_digital_micrograph(tmp_path, movie, version):
    path = tmp_path / f"movie.dm{version}"
    frames = read_frames(MicrographWriter(version).write(path, HAADF=(movie, STEPS)))
    assert frames.shape == (5, 12, 16)
    assert frames.axis_labels == ("t", "y", "x")
    assert frames.pixel_size == pytest.approx((0.02, 0.03))
    assert frames.units == ("s", "nm", "nm")
    assert frames.table["time"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert frames.metadata["title"] == "HAADF"
    assert frames.dtype == np.uint16
    assert [len(blocks) for blocks in frames.data.chunks] == [5, 1, 1]
    np.testing.assert_array_equal(frames.data, movie)


def test_images_of_one_shape_are_channels_and_others_are_named(tmp_path, movie):
    bright = movie[0].astype("<f4") / 3
    small = movie[0, :8, :8].copy()
    path = MicrographWriter(3).write(
        tmp_path / "two.dm3",
        HAADF=(movie[0], STEPS[1:]),
        BF=(bright, STEPS[1:]),
        survey=(small, STEPS[1:]),
    )
    frames = read_frames(path)
    assert (frames.shape, frames.channels) == ((1, 2, 12, 16), ("HAADF", "BF"))
    np.testing.assert_array_equal(frames.frame(0, "HAADF"), movie[0])
    np.testing.assert_array_equal(frames.frame(0, "BF"), bright)
    np.testing.assert_array_equal(read_frames(path, channel=1).data, bright[None])
    np.testing.assert_array_equal(read_frames(path, channel="survey").data, small)
    with pytest.raises(ReadError, match=r"no image 'DF': choose from HAADF, BF, survey"):
        read_frames(path, channel="DF")


def test_images_of_one_size_and_other_pixels_are_to_be_chosen(tmp_path, movie):
    path = MicrographWriter(4).write(
        tmp_path / "two.dm4",
        near=(movie[0], STEPS[1:]),
        far=(movie[1], [(0.2, "nm"), (0.3, "nm")]),
    )
    with pytest.raises(ReadError, match="near, far: name one with channel="):
        read_frames(path)
    assert read_frames(path, channel="far").pixel_size == pytest.approx((0.2, 0.3))


def test_transforms_and_diffraction_are_no_movies(tmp_path, movie):
    four = np.zeros((3, 4, 12, 16), "<u2")
    path = MicrographWriter(3).write(tmp_path / "four.dm3", scan=(four, [(1.0, "nm")] * 4))
    with pytest.raises(ReadError, match="4D-STEM"):
        read_frames(path)
    spectra = [(1.0, "eV"), *STEPS[1:]]
    path = MicrographWriter(3).write(tmp_path / "loss.dm3", loss=(movie, spectra))
    with pytest.raises(ReadError, match="holds no image or movie"):
        read_frames(path)
    tiny = MicrographWriter(3).write(tmp_path / "line.dm3", line=(movie[0, :1], STEPS[1:]))
    with pytest.raises(ReadError, match="holds no image or movie"):
        read_frames(tiny)


def write_velox(path, **detectors):
    """Write images (Y, X, T) as an EMD file of Velox."""
    binary = {"PixelSize": {"width": "2e-11", "height": "2e-11"}, "PixelUnitX": "m"}
    with h5py.File(path, "w") as file:
        file["Version"] = np.array([json.dumps({"format": "Velox", "version": 10}).encode()])
        for number, (name, values) in enumerate(detectors.items()):
            group = file.create_group(f"Data/Image/{number:032x}")
            group.create_dataset("Data", data=values, chunks=(*values.shape[:2], 1))
            said = {
                "BinaryResult": {**binary, "Offset": {"x": "0", "y": "0"}, "DetectorIndex": 0},
                "Scan": {"FrameTime": "0.25"},
                "Detectors": {"Detector-0": {"DetectorName": name, "ExposureTime": "1"}},
                "Core": {"MetadataDefinitionVersion": "7.9"},
                "Instrument": {"ControlSoftwareVersion": "1"},
                "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1600000000"}},
                "Optics": {"AccelerationVoltage": "200000"},
                "Stage": {"Position": {}, "AlphaTilt": "0", "BetaTilt": "0"},
                "Sample": {},
            }
            text = np.frombuffer(json.dumps(said).encode(), np.uint8)
            stored = np.zeros((2 * text.size, 1), np.uint8)
            stored[: text.size, 0] = text
            group["Metadata"] = stored
    return path


def test_detectors_of_velox_are_channels(tmp_path, movie):
    stored = movie.transpose(1, 2, 0)
    path = write_velox(tmp_path / "movie.emd", HAADF=stored, DF4=stored[::-1].astype("<f4"))
    frames = read_frames(path)
    assert frames.shape == (5, 2, 12, 16)
    assert frames.pixel_size == pytest.approx((20.0, 20.0))
    assert frames.units == ("s", "pixel", "pm", "pm")
    assert frames.table["time"].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    np.testing.assert_array_equal(frames.data[:, 0], movie)
    np.testing.assert_array_equal(frames.data[:, 1], movie[:, ::-1])


def test_emd_of_berkeley(tmp_path, movie):
    from rsciio.emd import file_writer

    axes = [
        {"name": name, "size": size, "scale": step, "offset": 0.0, "units": unit}
        | {"navigate": name == "t", "index_in_array": i, "_type": "UniformDataAxis"}
        for i, (name, size, (step, unit)) in enumerate(zip("tyx", movie.shape, STEPS, strict=True))
    ]
    said = {"General": {"title": "movie"}, "Signal": {"signal_type": ""}}
    path = tmp_path / "movie.emd"
    file_writer(
        str(path),
        {"data": movie, "axes": axes, "metadata": said, "original_metadata": {}}
        | {"learning_results": {}, "package": "", "package_version": "", "attributes": {}},
    )
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.data, movie)
    assert frames.pixel_size == pytest.approx((0.02, 0.03))


def test_mrc(tmp_path, movie):
    head = bytearray(1024)
    frames, rows, columns = movie.shape
    struct.pack_into("<4i", head, 0, columns, rows, frames, 6)  # 6: unsigned, 16 bits
    struct.pack_into("<3i3f", head, 28, columns, rows, frames, 0.3 * columns, 0.2 * rows, 1.0)
    path = tmp_path / "movie.mrc"
    path.write_bytes(bytes(head) + movie.tobytes())
    read = read_frames(path)
    np.testing.assert_array_equal(read.data, movie)
    assert read.pixel_size == pytest.approx((0.02, 0.03))  # the file has angstrom
    assert read.units[-1] == "nm"


@pytest.mark.parametrize("suffix", ["dm3", "dm4", "emd", "mrc", "ser"])
def test_what_is_no_such_file_is_one_line(tmp_path, suffix):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(b"no such file" * 200)
    with pytest.raises(ReadError) as caught:
        np.asarray(read_frames(path).data)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_a_cut_file_is_one_line(tmp_path, movie):
    path = MicrographWriter(4).write(tmp_path / "movie.dm4", HAADF=(movie, STEPS))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ReadError) as caught:
        np.asarray(read_frames(path).data)
    assert "\n" not in str(caught.value)


def test_without_the_library_it_is_said_what_to_install(tmp_path, movie, monkeypatch):
    path = MicrographWriter(3).write(tmp_path / "movie.dm3", HAADF=(movie, STEPS))
    monkeypatch.setitem(__import__("sys").modules, "rsciio.digitalmicrograph", None)
    with pytest.raises(ReadError, match=r'pip install "napari-rvae\[em\]"'):
        read_frames(path)
