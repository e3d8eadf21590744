"""Pictures as scans: what each kind of file becomes, and what is refused in one line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from embedded_vit.errors import FileFormatError
from embedded_vit.io.pictures import write_picture
from embedded_vit.io.scan_source import data_files, is_scan, open_scan, read_mask, scan_stem

GREY = (np.arange(35) * 7).astype(np.uint8).reshape(5, 7)
COLOURS = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)  # (height, width, 3)
MM_PER_INCH = 25.4


def save(path: Path, pixels: np.ndarray | Image.Image, **options: Any) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".tiff", ".bmp"])
def test_grey_and_colours_come_as_they_are(tmp_path: Path, suffix: str) -> None:
    volume = open_scan(save(tmp_path / f"grey{suffix}", GREY)).read()
    assert volume.shape == (1, 5, 7)
    np.testing.assert_array_equal(volume.array[0, 0], GREY)
    np.testing.assert_allclose(volume.intensities(0)[0], GREY / 255, atol=1e-6)  # shares of the full scale
    assert not volume.spacing_known
    colours = open_scan(save(tmp_path / f"colours{suffix}", COLOURS)).read()
    np.testing.assert_array_equal(np.moveaxis(colours.array[:, 0], 0, -1), COLOURS)


def test_a_jpeg_is_read_and_its_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "photo.jpg", np.full((8, 8, 3), (200, 100, 50), np.uint8), quality=100)
    with open_scan(path) as source:
        volume = source.read()
        assert source.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (source.format, source.modality) == ("picture", "picture")
    assert np.abs(volume.array[:, 0].mean(axis=(1, 2)) - (200, 100, 50)).max() < 3


def test_a_picture_is_seen_as_a_slice_is(tmp_path: Path) -> None:
    """Rows run to posterior and columns to the patient's left, so that a picture lies as a slice lies in a viewer."""
    volume = open_scan(save(tmp_path / "a.png", GREY)).read()
    upright = volume.reoriented()
    assert upright.shape == (1, 7, 5)  # rows of a network's slice run to the left
    np.testing.assert_array_equal(upright.array[0, 0], GREY.T)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept_in_grey(tmp_path: Path, suffix: str) -> None:
    pixels = (np.arange(35) * 1800).astype(np.uint16).reshape(5, 7)
    volume = open_scan(save(tmp_path / f"a{suffix}", pixels)).read()
    assert volume.array.dtype == np.uint16
    np.testing.assert_allclose(volume.intensities(0)[0], pixels / 65535, atol=1e-6)


def test_a_bitmap_of_one_bit_is_black_and_white(tmp_path: Path) -> None:
    volume = open_scan(save(tmp_path / "a.png", Image.fromarray(GREY > 100))).read()
    np.testing.assert_array_equal(volume.intensities(0)[0] == 1, GREY > 100)


def test_grey_and_colours_are_brought_to_what_is_expected(tmp_path: Path) -> None:
    grey = open_scan(save(tmp_path / "grey.png", GREY), channels=3)
    np.testing.assert_array_equal(grey.read().array[:, 0], np.stack([GREY] * 3))
    assert "grey picture" in grey.remarks[0]
    same = open_scan(save(tmp_path / "same.png", np.stack([GREY] * 3, axis=-1)), channels=1)
    np.testing.assert_array_equal(same.read().array, GREY[None, None])
    with pytest.raises(FileFormatError, match="a coloured picture; one grey channel is expected"):
        open_scan(save(tmp_path / "colours.png", COLOURS), channels=1).read()


def test_a_palette_becomes_its_colours_in_an_image_and_its_indices_in_a_mask(tmp_path: Path) -> None:
    image = Image.frombytes("P", (7, 5), (GREY % 3).tobytes())
    image.putpalette([0, 0, 0, 250, 10, 20, 30, 240, 50])
    path = save(tmp_path / "palette.png", image)
    palette = np.array([(0, 0, 0), (250, 10, 20), (30, 240, 50)])
    np.testing.assert_array_equal(np.moveaxis(open_scan(path).read().array[:, 0], 0, -1), palette[GREY % 3])
    np.testing.assert_array_equal(read_mask(path).array[0], GREY % 3)


def test_transparency_is_left_out_and_said(tmp_path: Path) -> None:
    opaque = np.dstack([COLOURS, np.full_like(GREY, 255)])
    source = open_scan(save(tmp_path / "opaque.png", opaque))
    assert source.read().channels == 3
    assert source.remarks == ()
    half = np.dstack([COLOURS, np.full_like(GREY, 127)])
    source = open_scan(save(tmp_path / "half.png", half))
    np.testing.assert_array_equal(np.moveaxis(source.read().array[:, 0], 0, -1), COLOURS)
    assert "transparency" in source.remarks[0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_the_exif_orientation_turns_the_picture_and_its_mask(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    source = open_scan(save(tmp_path / f"a{suffix}", GREY, exif=exif))
    assert source.shape == (1, 7, 5)
    np.testing.assert_array_equal(source.read().array[0, 0], np.rot90(GREY, -1))
    assert "EXIF" in source.remarks[0]


@pytest.mark.parametrize(
    ("options", "pixel_mm"),
    [
        ({}, None),
        ({"dpi": (72, 72)}, None),  # of a screen
        ({"dpi": (300, 300)}, None),  # of a printer
        ({"dpi": (MM_PER_INCH / 0.05, MM_PER_INCH / 0.1)}, (0.1, 0.05)),
        ({"dpi": (1e-6, 1e-6)}, None),
    ],
)
def test_the_size_of_pixels_is_believed_unless_it_is_that_of_a_screen(
    tmp_path: Path, options: dict[str, Any], pixel_mm: tuple[float, float] | None
) -> None:
    volume = open_scan(save(tmp_path / "a.png", GREY, **options)).read()
    assert volume.spacing_known == (pixel_mm is not None)
    if pixel_mm is not None:
        np.testing.assert_allclose(volume.spacing_mm[1:], pixel_mm, rtol=2e-3)


def test_microscopes_state_their_pixels(tmp_path: Path) -> None:
    imagej = TiffImagePlugin.ImageFileDirectory_v2()
    imagej[270], imagej[282], imagej[283] = "ImageJ=1.53t\nunit=micron\n", 4.0, 2.0  # pixels per unit
    volume = open_scan(save(tmp_path / "imagej.tif", GREY, tiffinfo=imagej)).read()
    np.testing.assert_allclose(volume.spacing_mm[1:], (0.0005, 0.00025))
    ome = TiffImagePlugin.ImageFileDirectory_v2()
    ome[270] = '<OME><Pixels PhysicalSizeX="0.5" PhysicalSizeXUnit="mm" PhysicalSizeY="0.25"/></OME>'
    np.testing.assert_allclose(
        open_scan(save(tmp_path / "ome.tif", GREY, tiffinfo=ome)).read().spacing_mm[1:], (0.25, 0.5)
    )


def test_a_spooled_picture_is_the_one_in_memory(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", COLOURS)
    spooled = open_scan(path).spool(tmp_path).reoriented()
    np.testing.assert_array_equal(spooled.intensities(0), open_scan(path).read().reoriented().intensities(0))


def test_a_written_picture_states_its_pixels(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", GREY, pixel_mm=(0.3, 0.2))
    volume = open_scan(tmp_path / "a.png").read()
    np.testing.assert_array_equal(volume.array[0, 0], GREY)
    np.testing.assert_allclose(volume.spacing_mm[1:], (0.3, 0.2), rtol=1e-3)


def test_names_of_pictures(tmp_path: Path) -> None:
    path = save(tmp_path / "case_0000.JPG", COLOURS, format="JPEG")
    assert is_scan(path)
    assert scan_stem(path) == "case_0000"
    save(tmp_path / ".hidden.png", GREY)
    assert data_files(tmp_path) == [path]


def two_pages(path: Path) -> None:
    Image.fromarray(GREY).save(path, save_all=True, append_images=[Image.fromarray(GREY)])


def truncated(path: Path) -> None:
    save(path, np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:2000])


def too_large(path: Path) -> None:
    save(path, Image.new("1", (9000, 20)))


def floats(path: Path) -> None:
    save(path, GREY.astype(np.float32))


def of_another_kind(path: Path) -> None:
    Image.fromarray(GREY).save(path, format="WEBP")


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.tif", two_pages, "holds 2 pictures, one is expected"),
        ("a.png", truncated, "truncated or damaged"),
        ("a.png", too_large, "more than 8,192 pixels along a side"),
        ("a.tif", floats, "pixels of the kind 'F'"),
        ("a.png", of_another_kind, "not a PNG, JPEG, TIFF, BMP, GIF or PPM picture"),
        ("a.png", lambda path: path.write_bytes(b""), "not a PNG, JPEG, TIFF, BMP, GIF or PPM picture"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, make: Any, message: str) -> None:
    make(tmp_path / name)
    with pytest.raises(FileFormatError, match=message) as caught:
        open_scan(tmp_path / name).read()
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [("a.png", COLOURS, "a coloured mask"), ("a.jpg", GREY, "a mask in JPEG")],
)
def test_what_is_no_mask_is_one_line(tmp_path: Path, name: str, pixels: np.ndarray, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read_mask(save(tmp_path / name, pixels))


def test_black_and_white_masks_in_jpeg_are_read_as_they_were(tmp_path: Path) -> None:
    inside = np.zeros((64, 80), np.uint8)
    inside[9:41, 13:60] = 255
    for colours in (inside, np.stack([inside] * 3, axis=-1)):
        path = tmp_path / f"{colours.ndim}.jpg"
        Image.fromarray(colours).save(path, quality=75)
        assert len(np.unique(np.asarray(Image.open(path)))) > 2  # compression left its noise
        np.testing.assert_array_equal(read_mask(path).array[0], inside)


@pytest.mark.parametrize("name", ["a.gif", "a.ppm"])
def test_old_formats_of_public_data_sets(tmp_path: Path, name: str) -> None:
    Image.fromarray(GREY).save(tmp_path / name)
    np.testing.assert_array_equal(read_mask(tmp_path / name).array[0], GREY)
