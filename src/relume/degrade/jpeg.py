r"""JPEG: the blocks and ringing of a picture that was saved too small."""

__all__ = ["Jpeg"]

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from relume.degrade.degradation import Array, Degradation, Draw, scalar


def _round_trip(picture: NDArray[Any], quality: int) -> NDArray[np.float32]:
    levels = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    pil = PilImage.fromarray(
        levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0))
    )
    with io.BytesIO() as file:
        pil.save(file, "JPEG", quality=quality)
        decoded = np.asarray(PilImage.open(file), dtype=np.float32) / np.float32(255)
    return decoded[None] if decoded.ndim == 2 else decoded.transpose(2, 0, 1)


class Jpeg(Degradation):
    """The real codec (libjpeg), in batches too: an imitation would teach imitated blocks."""

    name = "jpeg"

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        lowest = max(5.0, 95 - 55 * self.severity)
        return {"quality": scalar(round(rng.uniform(lowest, 98)) if self.severity > 0 else 101)}

    def apply(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        qualities = [int(q) for q in draw["quality"].reshape(-1).tolist()]
        if isinstance(picture, np.ndarray):
            return np.stack(
                [x if q > 100 else _round_trip(x, q) for x, q in zip(picture, qualities, strict=True)]
            )
        done = self.apply(picture.detach().cpu().numpy(), {"quality": np.asarray(qualities)})
        return picture.new_tensor(done)
