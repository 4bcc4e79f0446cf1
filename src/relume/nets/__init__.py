r"""Torch modules: a frozen config in, (B,C,H,W) → (B,C′,H′,W′).

>>> net = build("unet", {"base": 8, "multipliers": (1, 2), "conditional": False})
>>> import torch
>>> net(torch.zeros(1, 3, 16, 16), torch.ones(1)).shape
torch.Size([1, 3, 16, 16])
"""

__all__ = [
    "NETS",
    "build",
    "Autoencoder",
    "AutoencoderConfig",
    "BackgroundConfig",
    "BackgroundNet",
    "PatchConfig",
    "PatchNet",
    "Restorer",
    "RestorerConfig",
    "ShadingConfig",
    "ShadingNet",
    "ToneConfig",
    "ToneNet",
    "Translator",
    "TranslatorConfig",
    "UNet",
    "UNetConfig",
]

from collections.abc import Mapping
from typing import Any

from torch import nn

from relume.errors import UsageError
from relume.nets.autoencoder import Autoencoder, AutoencoderConfig
from relume.nets.pix2pix import BackgroundConfig, BackgroundNet, PatchConfig, PatchNet
from relume.nets.restorer import Restorer, RestorerConfig
from relume.nets.shading import ShadingConfig, ShadingNet
from relume.nets.tone import ToneConfig, ToneNet
from relume.nets.translator import Translator, TranslatorConfig
from relume.nets.unet import UNet, UNetConfig

NETS: dict[str, tuple[type[Any], type[nn.Module]]] = {
    "autoencoder": (AutoencoderConfig, Autoencoder),
    "background": (BackgroundConfig, BackgroundNet),
    "patches": (PatchConfig, PatchNet),
    "restorer": (RestorerConfig, Restorer),
    "shading": (ShadingConfig, ShadingNet),
    "tone": (ToneConfig, ToneNet),
    "translator": (TranslatorConfig, Translator),
    "unet": (UNetConfig, UNet),
}


def build(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """The net of that kind; lists in ``config`` (as JSON has them) become tuples.

    Raises
    ------
    UsageError
        If the kind or one of the config's keys is unknown, or the config contradicts itself.
    """
    if kind not in NETS:
        raise UsageError(f"no net is called {kind!r}; there are: {', '.join(NETS)}")
    config_type, net = NETS[kind]
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    unknown = set(plain) - set(config_type.__dataclass_fields__)
    if unknown:
        raise UsageError(f"net {kind!r} has no setting {', '.join(sorted(unknown))}")
    return net(config_type(**plain))
