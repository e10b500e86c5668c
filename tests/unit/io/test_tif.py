import numpy as np
import pytest
import tifffile

from napari_rvae.errors import ReadError
from napari_rvae.io import read_frames


def _hyperstack(path, array, **kwargs):
    meta = {"axes": "TCYX", "unit": "micron", "finterval": 0.5}
    tifffile.imwrite(path, array, imagej=True, metadata=meta, resolution=(50, 40), **kwargs)
    return path


@pytest.fixture
def channels(movie):
    """Three frames of two channels."""
    return movie.reshape(3, 2, 40, 50)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_imagej_hyperstack(tmp_path, channels, compression):
    frames = read_frames(_hyperstack(tmp_path / "a.tif", channels, compression=compression))
    assert frames.axis_labels == ("t", "c", "y", "x")
    assert frames.shape == channels.shape
    assert frames.scale == pytest.approx((0.5, 1, 1 / 40, 1 / 50))
    assert frames.units == ("s", "pixel", "um", "um")
    assert frames.table["time"].tolist() == [0, 0.5, 1]
    assert frames.metadata == {"path_name": "a.tif", "format": "tif"}
    for t in range(3):
        for c in range(2):
            np.testing.assert_array_equal(frames.frame(t, c), channels[t, c])
    one = read_frames(tmp_path / "a.tif", channel=1)
    np.testing.assert_array_equal(one.frame(2), channels[2, 1])


@pytest.mark.parametrize("bigtiff", [False, True])
def test_uncompressed_movie_is_mapped_and_compressed_is_one_frame_a_chunk(tmp_path, movie, bigtiff):
    tifffile.imwrite(tmp_path / "a.tif", movie, bigtiff=bigtiff)
    tifffile.imwrite(tmp_path / "b.tiff", movie, bigtiff=bigtiff, compression="zlib")
    mapped, chunked = read_frames(tmp_path / "a.tif"), read_frames(tmp_path / "b.tiff")
    assert isinstance(mapped.data, np.memmap)
    assert chunked.data.chunks == ((1,) * 6, (40,), (50,))
    for frames in (mapped, chunked):
        assert frames.axis_labels == ("t", "y", "x")
        assert frames.scale == (1, 1, 1)
        np.testing.assert_array_equal(frames.data, movie)


def test_only_the_frame_asked_for_is_read(tmp_path, movie, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", movie, compression="zlib")
    frames = read_frames(tmp_path / "a.tif")
    read, imread = [], tifffile.imread
    monkeypatch.setattr(
        tifffile, "imread", lambda p, key: (read.append(key), imread(p, key=key))[1]
    )
    np.testing.assert_array_equal(frames.frame(4), movie[4])
    assert read == [4]


def test_separate_pages_big_endian_and_single_image(tmp_path, movie):
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=">") as file:
        for frame in movie:
            file.write(frame, contiguous=False, metadata=None)
    np.testing.assert_array_equal(read_frames(tmp_path / "a.tif").data, movie)
    tifffile.imwrite(tmp_path / "b.tif", movie, byteorder=">")
    np.testing.assert_array_equal(read_frames(tmp_path / "b.tif").frame(3), movie[3])
    tifffile.imwrite(tmp_path / "c.tif", movie[0])
    assert read_frames(tmp_path / "c.tif").axis_labels == ("y", "x")


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int32", "float32", "float64"])
def test_types_stay(tmp_path, movie, dtype):
    values = (movie > 2**15) if dtype == "bool" else (movie >> 9).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values)
    frames = read_frames(tmp_path / "a.tif")
    np.testing.assert_array_equal(frames.data, values)


def test_z_counts_as_time_only_without_time(tmp_path, movie, one_line):
    tifffile.imwrite(tmp_path / "z.tif", movie, imagej=True, metadata={"axes": "ZYX"})
    assert read_frames(tmp_path / "z.tif").axis_labels == ("t", "y", "x")
    both = movie.reshape(3, 2, 40, 50)
    tifffile.imwrite(tmp_path / "tz.tif", both, imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(ReadError, match="T and Z") as caught:
        read_frames(tmp_path / "tz.tif")
    one_line(caught, "tz.tif")


def test_many_grey_channels_alone_are_a_movie(tmp_path):
    data = np.arange(6 * 20 * 30, dtype=np.uint16).reshape(6, 20, 30)
    tifffile.imwrite(tmp_path / "plain.tif", data, imagej=True)  # its writer names no axes
    frames = read_frames(tmp_path / "plain.tif")
    assert frames.axis_labels == ("t", "y", "x")
    assert np.array_equal(frames.frame(5), data[5])
    colours = {"axes": "CYX", "mode": "composite"}
    tifffile.imwrite(tmp_path / "colours.tif", data, imagej=True, metadata=colours)
    assert read_frames(tmp_path / "colours.tif").n_channels == 6


def test_channels_without_time_get_one_frame(tmp_path, movie):
    tifffile.imwrite(tmp_path / "a.tif", movie[:2], imagej=True, metadata={"axes": "CYX"})
    frames = read_frames(tmp_path / "a.tif")
    assert frames.shape == (1, 2, 40, 50)
    assert frames.axis_labels == ("t", "c", "y", "x")
    np.testing.assert_array_equal(frames.frame(0, 1), movie[1])


@pytest.mark.parametrize("axes", ["TCYX", "CTYX"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_ome_tiff(tmp_path, channels, axes, compression):
    meta = {
        "axes": axes,
        "PhysicalSizeX": 0.02,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.2,
        "PhysicalSizeYUnit": "Å",
        "TimeIncrement": 200.0,
        "TimeIncrementUnit": "ms",
        "Channel": {"Name": ["HAADF", "BF"]},
    }
    stored = channels if axes == "TCYX" else channels.swapaxes(0, 1)
    tifffile.imwrite(tmp_path / "a.ome.tif", stored, metadata=meta, compression=compression)
    frames = read_frames(tmp_path / "a.ome.tif")
    assert frames.channels == ("HAADF", "BF")
    assert frames.units == ("s", "pixel", "nm", "nm")
    assert frames.scale == pytest.approx((0.2, 1, 0.02, 0.02))
    np.testing.assert_array_equal(frames.data, channels)
    one = read_frames(tmp_path / "a.ome.tif", channel="BF")
    np.testing.assert_array_equal(one.frame(1), channels[1, 1])


@pytest.mark.parametrize(
    ("resolution", "unit", "scale"),
    [((2e8, 2e8), "CENTIMETER", 0.05), ((300, 300), "INCH", 1), ((72, 72), "NONE", 1)],
)
def test_resolution_tags_count_where_they_can_be_a_microscopes(
    tmp_path, movie, resolution, unit, scale
):
    tifffile.imwrite(tmp_path / "a.tif", movie, resolution=resolution, resolutionunit=unit)
    frames = read_frames(tmp_path / "a.tif")
    assert frames.pixel_size == pytest.approx((scale, scale))
    assert frames.units[-1] == ("pixel" if scale == 1 else "nm")


def _stored(kind, movie, path):
    """Store a movie in one of the ways there are."""
    channels, zlib = movie.reshape(3, 2, 40, 50), "zlib" if kind.endswith("zlib") else None
    if kind.startswith("imagej"):
        _hyperstack(path, channels, compression=zlib)
    elif kind == "ome":
        tifffile.imwrite(path, channels, ome=True, metadata={"axes": "TCYX"})
    elif kind == "pages":
        with tifffile.TiffWriter(path) as file:
            for frame in movie:
                file.write(frame, contiguous=False, metadata=None)
    else:
        tifffile.imwrite(path, movie, compression=zlib)
    return path


@pytest.mark.parametrize("kind", ["imagej", "imagej-zlib", "ome", "shaped", "shaped-zlib", "pages"])
def test_cut_files_are_one_line(tmp_path, movie, one_line, caplog, kind):
    path = _stored(kind, movie, tmp_path / "a.tif")
    whole = path.read_bytes()
    assert read_frames(path).data.size == movie.size
    for share in (0.02, 0.3, 0.5, 0.8, 0.97, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ReadError) as caught:
            read_frames(path)
        one_line(caught, "a.tif")
    assert not caplog.records  # nothing beside our line


def test_cut_imagej_file_without_page_list_is_noticed(tmp_path, movie, one_line):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:  # promises six frames, has two
        for frame in movie[:2]:
            file.write(
                frame,
                contiguous=False,
                metadata=None,
                description="ImageJ=1.54f\nimages=6\nframes=6\nhyperstack=true\n",
            )
    with pytest.raises(ReadError, match="cut: it has 2 of 6 frames") as caught:
        read_frames(path)
    one_line(caught, "a.tif")


def test_grey_in_colours_is_grey_and_colours_are_refused(tmp_path, movie, one_line):
    grey = (movie[0] >> 8).astype(np.uint8)
    for planar in ("contig", "separate"):
        three = np.repeat(grey[..., None], 3, -1)
        stored = three if planar == "contig" else three.transpose(2, 0, 1)
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
        frames = read_frames(tmp_path / "a.tif")
        assert frames.axis_labels == ("y", "x")
        np.testing.assert_array_equal(frames.frame(0), grey)
        stored[..., 0] ^= 1
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
        if planar == "contig":
            with pytest.raises(ReadError, match="greyscale") as caught:
                read_frames(tmp_path / "a.tif")
            one_line(caught, "a.tif")


def test_a_short_movie_written_as_colours_is_told_how_to_be_written(tmp_path, movie, one_line):
    tifffile.imwrite(tmp_path / "a.tif", movie[:3].astype(np.float32), photometric="rgb")
    with pytest.raises(ReadError, match="photometric='minisblack'") as caught:
        read_frames(tmp_path / "a.tif")
    one_line(caught, "a.tif")


@pytest.mark.parametrize("other", ["there", "missing"])
def test_ome_movies_over_several_files_are_refused(tmp_path, movie, one_line, other):
    part = (
        '<TiffData FirstT="{0}" IFD="0"><UUID FileName="{1}.ome.tif">urn:uuid:{1}</UUID></TiffData>'
    )
    text = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:a">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="50" '
        'SizeY="40" SizeZ="1" SizeC="1" SizeT="2"><Channel ID="Channel:0:0"/>'
        f"{part.format(0, 'a')}{part.format(1, 'b')}</Pixels></Image></OME>"
    )
    for name in "ab" if other == "there" else "a":
        path = tmp_path / f"{name}.ome.tif"
        tifffile.imwrite(path, movie[0], description=text, metadata=None)
    with pytest.raises(ReadError, match=r"several files|cut") as caught:
        read_frames(tmp_path / "a.ome.tif")
    one_line(caught, "a.ome.tif")


def test_several_series_are_refused(tmp_path, movie, one_line):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(movie)
        file.write(movie[:, :30, :30])
    with pytest.raises(ReadError, match="2 series") as caught:
        read_frames(tmp_path / "a.tif")
    one_line(caught, "a.tif")


def test_unknown_compression_says_what_to_install(tmp_path, movie, one_line, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", movie[0], compression="zlib")

    def missing(*args, **kwargs):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile, "imread", missing)
    with pytest.raises(ReadError, match="pip install imagecodecs") as caught:
        read_frames(tmp_path / "a.tif")
    one_line(caught, "a.tif")


def test_damage_that_shows_later_is_one_line(tmp_path, movie, one_line):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, movie, compression="zlib")
    frames = read_frames(path)
    with tifffile.TiffFile(path) as file:
        offset = file.pages[3].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"damage")
    with pytest.raises(ReadError, match="frame 3") as caught:
        frames.frame(3)
    one_line(caught, "a.tif")
    np.testing.assert_array_equal(frames.frame(2), movie[2])
    path.unlink()
    with pytest.raises(ReadError, match="frame 2"):
        frames.frame(2)


def test_other_content_is_one_line(tmp_path, one_line):
    (tmp_path / "a.tif").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(ReadError, match="not a TIFF") as caught:
        read_frames(tmp_path / "a.tif")
    one_line(caught, "a.tif")
