import numpy as np
import pytest

from napari_rvae.errors import InputError, ReadError
from napari_rvae.io import read_frames

h5py = pytest.importorskip("h5py")


def _scan(path, pictures, units):
    """Write a pyNSID file: one group a channel, stored (x, y)."""
    with h5py.File(path, "w") as file:
        for k, (quantity, picture) in enumerate(pictures.items()):
            group = file.create_group(f"Measurement_000/Channel_{k}/Channel_{k}")
            data = group.create_dataset(f"Channel_{k}", data=picture.T)
            data.attrs.update({"quantity": quantity, "units": units[k], "data_type": "IMAGE"})
            for axis, (name, length) in enumerate(zip("xy", picture.T.shape, strict=True)):
                step = 4e-9 if name == "x" else 8e-9
                scale = group.create_dataset(name, data=np.arange(length) * step)
                # as in real files, the phase's axes have the phase's unit
                scale.attrs["units"] = units[k]
                scale.make_scale(name)
                data.dims[axis].attach_scale(scale)
                data.dims[axis].label = name
    return path


@pytest.fixture
def scan(tmp_path, movie):
    """A scan of three channels."""
    pictures = dict(zip(("Phase", "Height", "Amplitude"), movie.astype("f4"), strict=False))
    return _scan(tmp_path / "scan.h5", pictures, ["deg", "m", "m"])


@pytest.mark.parametrize("chunks", [None, (1, 40, 50)])
def test_single_dataset(tmp_path, movie, chunks):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("deep/data", data=movie, chunks=chunks)
        file["deep/spectrum"] = np.arange(5000.0)
        file["name"] = "text"
        file["deep/preview"] = movie[0, :20, :20]
    frames = read_frames(tmp_path / "a.hdf5")
    assert frames.axis_labels == ("t", "y", "x")
    assert frames.data.chunks == ((1,) * 6, (40,), (50,))
    assert frames.metadata == {
        "path_name": "a.hdf5",
        "format": "hdf5",
        "dataset": "deep/data",
    }
    np.testing.assert_array_equal(frames.data, movie)
    for name in ("deep/preview", "/deep/preview", "preview"):
        assert read_frames(tmp_path / "a.hdf5", channel=name).shape == (20, 20)


def test_only_the_frame_asked_for_is_read(tmp_path, movie):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=movie, chunks=(1, 40, 50), fletcher32=True)
        offset = data.id.get_chunk_info(5).byte_offset
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"damage")
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.frame(2), movie[2])
    with pytest.raises(ReadError, match=r"a\.h5, frame 5,"):
        frames.frame(5)


def test_channels_of_a_dataset(tmp_path, movie):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = movie.reshape(3, 2, 40, 50)
    one = read_frames(tmp_path / "a.h5", channel=1)
    np.testing.assert_array_equal(one.frame(2), movie[5])
    with pytest.raises(InputError, match=r"a\.h5: There is no channel 7"):
        read_frames(tmp_path / "a.h5", channel=7)
    with pytest.raises(ReadError, match="holds the images data"):
        read_frames(tmp_path / "a.h5", channel="phase")


def test_the_pixel_size_of_hyperspy(tmp_path, movie):
    with h5py.File(tmp_path / "movie.hspy", "w") as file:
        group = file.create_group("Experiments/HAADF")
        group["data"] = movie
        for number, (step, unit) in enumerate(((1.0, "s"), (0.02, "nm"), (0.03, "nm"))):
            group.create_group(f"axis-{number}").attrs.update({"scale": step, "units": unit})
    frames = read_frames(tmp_path / "movie.hspy")
    assert (frames.pixel_size, frames.units[-1]) == ((0.02, 0.03), "nm")


def test_equal_datasets_must_be_named(tmp_path, movie, one_line):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"], file["b"] = movie, movie
    with pytest.raises(ReadError, match=r"images a, b: name one with channel=") as caught:
        read_frames(tmp_path / "a.h5")
    one_line(caught, "a.h5")
    assert read_frames(tmp_path / "a.h5", channel="b").metadata["dataset"] == "b"


def test_scan_channels_are_stacked_and_upright(scan, movie):
    frames = read_frames(scan)
    assert frames.shape == (1, 3, 40, 50)
    assert frames.axis_labels == ("t", "c", "y", "x")
    assert frames.channels == ("Phase", "Height", "Amplitude")
    assert frames.scale == (1, 1, 8, 4)
    assert frames.units == ("pixel", "pixel", "nm", "nm")
    assert frames.metadata["channel_units"] == {"Phase": "deg", "Height": "m", "Amplitude": "m"}
    assert frames.data.numblocks == (1, 3, 1, 1)
    for c in range(3):
        np.testing.assert_array_equal(frames.frame(0, c), movie[c])
    for channel in (1, "Height"):
        np.testing.assert_array_equal(read_frames(scan, channel=channel).frame(0), movie[1])
    alone = read_frames(scan, channel="Channel_2")
    assert (alone.shape, alone.pixel_size) == ((40, 50), (8, 4))
    np.testing.assert_array_equal(alone.frame(0), movie[2])
    with pytest.raises(
        ReadError, match="no channel 'Current': choose from Phase, Height, Amplitude"
    ):
        read_frames(scan, channel="Current")


def test_two_scans_of_one_area_are_a_movie(tmp_path, movie):
    paths = [
        _scan(tmp_path / f"{i}.h5", {"A": movie[i], "B": movie[i + 2]}, ["m", "m"]) for i in (0, 1)
    ]
    frames = read_frames(paths)
    assert frames.shape == (2, 2, 40, 50)
    assert frames.channels == ("A", "B")
    np.testing.assert_array_equal(frames.frame(1, "B"), movie[3])
    np.testing.assert_array_equal(read_frames(tmp_path, channel="A").frame(1), movie[1])


@pytest.mark.parametrize("kind", ["link", "soft link through a link", "storage", "virtual"])
def test_data_outside_the_file_are_refused(tmp_path, movie, one_line, kind):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = movie
    movie.tofile(tmp_path / "raw")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if kind == "storage":
            raw = [(str(tmp_path / "raw"), 0, movie.nbytes)]
            file.create_dataset("data", movie.shape, movie.dtype, external=raw)
        elif kind == "virtual":
            layout = h5py.VirtualLayout(movie.shape, movie.dtype)
            source = h5py.VirtualSource(str(tmp_path / "other.h5"), "data", movie.shape)
            layout[:] = source
            file.create_virtual_dataset("data", layout)
        else:
            file["own"] = movie
            file["group/link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
            if kind != "link":
                file["soft"] = h5py.SoftLink("/group/link/data")
    with pytest.raises(ReadError, match="from another file") as caught:
        read_frames(tmp_path / "a.h5")
    one_line(caught, "a.h5")


def test_links_and_views_inside_the_file_are_fine(tmp_path, movie):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = movie[:, :20]
        file["soft"] = h5py.SoftLink("/data")
        file["group/loop"] = file["/"]
        layout = h5py.VirtualLayout(movie.shape, movie.dtype)
        layout[:, :20] = layout[:, 20:] = h5py.VirtualSource(file["data"])
        file.create_virtual_dataset("view", layout)
    frames = read_frames(tmp_path / "a.h5")
    assert frames.metadata["dataset"] == "view"
    np.testing.assert_array_equal(frames.frame(1)[20:], movie[1, :20])


@pytest.mark.parametrize("share", [0.001, 0.1, 0.7, 0.99])
def test_cut_files_are_one_line(tmp_path, movie, one_line, share):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"] = movie
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ReadError) as caught:
        read_frames(path)
    one_line(caught, "a.h5")


def test_files_without_images_are_one_line(tmp_path, one_line):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["spectrum"] = np.arange(10.0)
        file["names"] = ["a", "b"]
    with pytest.raises(ReadError, match="no image") as caught:
        read_frames(tmp_path / "a.h5")
    one_line(caught, "a.h5")
    (tmp_path / "b.h5").write_bytes(b"no such thing" * 99)
    with pytest.raises(ReadError, match="no HDF5") as caught:
        read_frames(tmp_path / "b.h5")
    one_line(caught, "b.h5")


def test_complex_data_name_the_file(tmp_path, one_line):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((20, 20), complex)
    with pytest.raises(InputError, match="complex") as caught:
        read_frames(tmp_path / "a.h5")
    one_line(caught, "a.h5")


def test_files_are_closed_again(scan, movie):
    frames = read_frames(scan)
    frames.frame(0)
    with h5py.File(scan, "a") as file:  # would be refused if it were still open
        file.attrs["note"] = "seen"


def test_real_scans(data_folder):
    folder = data_folder / "pfm"
    frames = read_frames(folder / "PZT_thick0004.h5")
    assert frames.shape == (1, 8, 256, 256)
    assert frames.scale[-2:] == pytest.approx((3000 / 255, 3000 / 255))
    assert frames.units[-1] == "nm"
    phase = frames.frame(0, "PhaseRetrace")
    assert -360 < phase.min() < phase.max() < 360
    pair = read_frames([folder / "PMN28Pt0001.h5", folder / "PMN28Pt0002.h5"])
    assert pair.shape == (2, 4, 256, 256)
    assert pair.scale[-1] == pytest.approx(2000 / 255)
