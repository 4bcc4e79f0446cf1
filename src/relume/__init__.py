r"""relume makes damaged pictures whole again, fast enough to be used.

.. code-block:: python

    import relume

    relume.restore("grandmother.jpg").save("grandmother-restored.jpg")

Names are resolved on first use: importing relume loads no runtime.
"""

__all__ = ["Image", "Restoration", "Restorer", "Settings", "__version__", "restore"]

from typing import TYPE_CHECKING, Any, Literal

from relume._version import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relume.image import Image
    from relume.tasks import Restoration, Restorer, Settings

_HOMES = {
    "Image": "relume.image",
    "Restoration": "relume.tasks",
    "Restorer": "relume.tasks",
    "Settings": "relume.tasks",
}


def restore(
    picture: Any,
    *,
    model: str = "photo",
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    force: bool = False,
    steps: int | None = None,
    seed: int = 0,
    fidelity: float = 1.0,
    mask: "NDArray[np.float32] | Literal['auto', 'none']" = "auto",
    preserve: bool = False,
    tone: "Literal['keep', 'revive', 'neutral']" = "revive",
    strength: float = 1.0,
    samples: int = 1,
    tile: int | None = None,
) -> Any:
    """Restore one picture and give back the kind it was given; a path gives an ``Image``.

    For many pictures make a :class:`Restorer` once: it keeps the model loaded. The options are those of
    :class:`Restorer` and :class:`Settings`.
    """
    from relume.tasks import Restorer

    restorer = Restorer(model, engine=engine, device=device, precision=precision, force=force)
    return restorer(
        picture,
        steps=steps,
        seed=seed,
        fidelity=fidelity,
        mask=mask,
        preserve=preserve,
        tone=tone,
        strength=strength,
        samples=samples,
        tile=tile,
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'relume' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
