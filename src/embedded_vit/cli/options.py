"""Options that several verbs share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

__all__ = ["NetworkOptions"]


@Parameter(name="*")
@dataclass
class NetworkOptions:
    """A network by a published name, by its measures, or by both."""

    network: Annotated[
        str | None,
        Parameter(help="embedded-vit-{s,m,l}; published: embedded-vit-{224,128,64}[-dense], dae-former-224."),
    ] = None
    image_size: Annotated[int | None, Parameter(help="Side of the network's square input, pixels.")] = None
    widths: Annotated[
        list[int] | None,
        Parameter(consume_multiple=True, negative="", help="Channels of every stage, for example 32 80."),
    ] = None
    depth: Annotated[int | None, Parameter(help="Dual blocks in every encoder stage.")] = None
    hidden_ratio: Annotated[int | None, Parameter(help="Hidden width of the feed-forward layers, as a ratio.")] = None
    mixing: Annotated[Literal["depthwise", "dense"] | None, Parameter(help="The feed-forward convolutions.")] = None
    convolution_widths: Annotated[
        list[int] | None,
        Parameter(
            consume_multiple=True,
            negative="",
            help="Channels of convolutions around the transformer, at full and half resolution, for example 12 24.",
        ),
    ] = None

    def measures(self) -> dict[str, Any]:
        """All but the name, as `embedded_vit.models.registry.network_config` takes them; None where not given."""
        return {name: value for name, value in asdict(self).items() if name != "network"}
