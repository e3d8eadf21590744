"""Options that several verbs share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from embedded_vit.engines import EngineChoice

__all__ = ["EngineOption", "Flag", "Integers", "Names", "NetworkOptions", "OutputAlias"]

OutputAlias = Parameter(alias="-o")
EngineOption = Annotated[
    EngineChoice,
    Parameter(
        help="Inference engine; auto measures once per model and computer, and takes the fastest. Only openvino "
        "computes bf16 models in bfloat16, on processors that have it; litert refuses int8 models."
    ),
]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Names = Annotated[list[str], Parameter(consume_multiple=True, negative="")]  # --structures liver spleen
Integers = Annotated[list[int], Parameter(consume_multiple=True, negative="")]  # --widths 32 80


@Parameter(name="*")
@dataclass
class NetworkOptions:
    """A network by its name, by its hyperparameters, or by a name and what differs from it.

    Attributes:
        network: Network by name: conv-xs, -s, -m or -l; hybrid-xs, -s, -m or -l, the same with attention;
            embedded-vit-s, -m or -l; unet-8 to -32. Published ones: embedded-vit-224, -128 or -64, each also with
            -dense, and dae-former-224.
        image_size: Side of the network's square input, in pixels; by default the named network's own.
        family: Kind of network: dual (dual attention, as published), hybrid (convolutions around token blocks, made for
            low latency), or unet (a plain U-Net to compare with).
        widths: Channels of each stage, for example 32 80; otherwise of each level, for example 16 32 64 128.
        depth: Number of dual blocks in each encoder stage; hybrid: number of token blocks; 0 for none.
        hidden_ratio: Hidden width of the feed-forward layers, as a multiple of the stage's width.
        mixing: Convolution of the feed-forward layers: depthwise, or dense (one group); dual only.
        coarsest: Hybrid only: blocks at the coarsest level, attention or convolutions.
        stem_stride: Hybrid only: 1, 2 or 4, by how much the first convolution reduces the image.
        convolution_widths: Channels of the convolutions around the transformer, at full and at half resolution, for
            example 12 24; by default the named network's own; dual only.
    """

    network: str | None = None
    image_size: int | None = None
    family: Literal["dual", "hybrid", "unet"] | None = None
    widths: Integers | None = None
    depth: int | None = None
    hidden_ratio: int | None = None
    mixing: Literal["depthwise", "dense"] | None = None
    coarsest: Literal["attention", "convolutions"] | None = None
    stem_stride: Literal[1, 2, 4] | None = None
    convolution_widths: Integers | None = None

    def architecture(self) -> dict[str, Any]:
        """Return all but the name, as `models.registry.network_config` takes them; None where not given."""
        return {name: value for name, value in asdict(self).items() if name != "network"}
