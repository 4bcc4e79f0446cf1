r"""Flat fielding by a scan's own frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from relume.errors import UsageError
from relume.scan import open_scan, write
from relume.scan.output import Provenance
from relume.scan.scan import Scan, memory
from relume.tasks.xray import flat_fielded

SHARED = Path(__file__).parents[3] / "shared" / "xray"


def measured() -> tuple[Scan, np.ndarray]:
    rng = np.random.default_rng(0)
    t = rng.uniform(-0.02, 1.4, (3, 8, 9))
    light, dark = rng.uniform(500, 900, (8, 9)), rng.uniform(90, 110, (8, 9))
    flats = np.stack([light + dark - 5, light + dark + 5])
    scan = Scan("made", Path("made"), memory(0.99 * t * light + dark), memory(flats), memory(dark))
    return replace(scan, exposure=59.4, flat_exposure=60.0), t


def test_flats_darks_and_exposures_are_used_and_nothing_is_clipped() -> None:
    scan, t = measured()
    found = np.stack(list(flat_fielded(scan)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, t, atol=1e-5)
    assert found.max() > 1.2 and found.min() < 0


def test_where_the_flat_is_dark_nothing_is_known() -> None:
    scan, _ = measured()
    dead = scan.darks.stack()[0].copy()  # type: ignore[union-attr]
    dead[2, 3] = 5000
    found = np.stack(list(flat_fielded(replace(scan, darks=memory(dead)))))
    assert np.isnan(found[:, 2, 3]).all() and np.isnan(found).sum() == 3


def test_without_darks_the_contrast_is_too_low() -> None:
    scan, t = measured()
    found = np.stack(list(flat_fielded(replace(scan, darks=None))))
    assert np.polyfit(t.ravel(), found.ravel(), 1)[0] < 0.95


def test_scans_that_cannot_be_divided_are_refused() -> None:
    scan, _ = measured()
    with pytest.raises(UsageError, match="no flat frames"):
        flat_fielded(replace(scan, flats=None))
    with pytest.raises(UsageError, match="already"):
        flat_fielded(replace(scan, corrected=True))


def test_a_measured_tooth_stands_in_clear_air(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    tooth = SHARED / "hdf5_tooth" / "tooth.h5"
    if not tooth.exists():
        pytest.skip("the measured tooth is not beside the checkout")
    scan = open_scan(tooth)
    out = write(tmp_path / "t.h5", flat_fielded(scan), Provenance("flat", {}, "measured flat field is 1"))
    found = open_scan(out).frames.stack()
    assert found.shape == scan.frames.shape
    air = np.concatenate([found[..., :20], found[..., -20:]], axis=-1)
    assert np.median(air) == pytest.approx(1, abs=0.02)
    assert np.median(found[..., 300:340]) < 0.6
    raw = scan.frames.stack()
    columns = np.median(raw[..., :60], axis=(0, 1))
    assert np.median(found[..., :60], axis=(0, 1)).std() < 0.5 * columns.std() / columns.mean()


def test_a_measured_chip_over_its_reference_is_nowhere_brighter_than_the_empty_field() -> None:
    pytest.importorskip("olefile")
    chip = SHARED / "xrm" / "test_chip00.xrm"
    if not chip.exists():
        pytest.skip("the measured .xrm is not beside the checkout")
    (found,) = flat_fielded(open_scan(chip))
    assert 0.1 < np.nanmedian(found) < 0.25
    assert np.nanpercentile(found, 99) < 1
