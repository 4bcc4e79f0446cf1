r"""What a whole photograph undergoes before its parts are repaired: even light, revived tone."""

__all__ = ["Toning"]

import numpy as np
from numpy.typing import NDArray

from relume.engines import Engine
from relume.tasks.settings import Settings
from relume.tasks.shading import DOUBT, ShadingField, apply_field, changed, trusted
from relume.tasks.tone import Tone, ToneTransform, apply_transform, cautious, colour, thumbnail, tinted

Array = NDArray[np.float32]


class Toning:
    """The two small nets that read a thumbnail, each of which a model may lack."""

    def __init__(self, tone: Engine | None, shading: Engine | None) -> None:
        self._tone, self._shading = tone, shading

    def __call__(self, picture: Array, settings: Settings = Settings()) -> Array:
        """H×W×3 → the same, toned; what is kept as it is comes back as the picture itself."""
        field, transform = self.read(picture, settings)
        return apply_transform(apply_field(picture, field), transform)

    def read(self, picture: Array, settings: Settings = Settings()) -> tuple[ShadingField, ToneTransform]:
        """The field for a whole H×W×3 picture; and the transform for what it makes of it."""
        if settings.tone == "keep":
            return ShadingField.identity(), ToneTransform.identity()
        asked = thumbnail(picture)
        field = ShadingField.identity()
        # What is preserved is to differ from the original by one curve, whatever the place.
        if settings.shading == "even" and not settings.preserve:
            field = self._field(asked)
        small = apply_field(asked[0].transpose(1, 2, 0), field)
        return field, self._transform(small, settings.tone)

    def _field(self, asked: Array) -> ShadingField:
        """The field for a picture whose thumbnail is ``asked``, 1×3×64×64."""
        if self._shading is None:
            return ShadingField.identity()
        small = asked[0].transpose(1, 2, 0)
        found = ShadingField(np.asarray(self._shading(asked), dtype=np.float32)[0]).smooth()
        if changed(found, small) < DOUBT / 2:  # most photographs
            return ShadingField.identity()
        # A mirrored photograph is lit as well or as badly: the mean of both answers errs less than one.
        mirrored = np.asarray(self._shading(np.ascontiguousarray(asked[..., ::-1])), dtype=np.float32)[0]
        other = ShadingField(mirrored).smooth()
        found = ShadingField(np.float32(0.5) * (found.points + other.points[..., ::-1]))
        # The colour of a tinted print, or of a grey one, follows from its brightness: there is nothing to
        # even out in its hue, and the field is not to bring any in.
        return trusted(found.neutral(tinted(small)[0]), small)

    def _transform(self, small: Array, tone: Tone) -> ToneTransform:
        """The transform for a picture whose thumbnail is ``small``, 64×64×3."""
        if self._tone is None:
            return ToneTransform.identity()
        asked = np.ascontiguousarray(small.transpose(2, 0, 1)[None])
        found = ToneTransform.from_parameters(np.asarray(self._tone(asked)))
        return colour(cautious(found, small), small, tone)
