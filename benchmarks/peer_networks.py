"""Networks of others for `embedded-vit train --model benchmarks.peer_networks:UNet`; they need the extra `peers`.

The networks and their initial values come from the libraries. Nothing is downloaded.
"""

from __future__ import annotations

from torch import Tensor, nn

from embedded_vit.errors import NetworkError, missing_extra

try:
    from monai.networks.nets import UNETR, BasicUNet
    from transformers import SegformerConfig, SegformerForSemanticSegmentation
except ModuleNotFoundError as error:
    raise ImportError(missing_extra(str(error.name), "peers")) from error

__all__ = ["UNETR2D", "SegFormerB0", "UNet"]


class UNet(BasicUNet):
    """MONAI's BasicUNet in two dimensions: 32 to 256 channels on five levels, instance norms, LeakyReLU.

    Source: Falk et al., "U-Net: deep learning for cell counting, detection, and morphometry", 2019.
    """

    def __init__(self, *, in_channels: int, classes: int, image_size: int) -> None:
        _check_image_size("unet", image_size, multiple=16, least=32)
        super().__init__(spatial_dims=2, in_channels=in_channels, out_channels=classes)


class SegFormerB0(nn.Module):
    """SegFormer-B0 of the transformers library; its logits, at a quarter of the size, are enlarged to the image's.

    Dropout (0.1 before the classifier) and stochastic depth (up to 0.1) are the library's, and the paper's.

    Source: Xie et al., "SegFormer", 2105.15203.
    """

    def __init__(self, *, in_channels: int, classes: int, image_size: int) -> None:
        _check_image_size("segformer-b0", image_size, multiple=32, least=32)
        super().__init__()
        self.network = SegformerForSemanticSegmentation(SegformerConfig(num_channels=in_channels, num_labels=classes))

    def forward(self, image: Tensor) -> Tensor:
        """Segment images: (B, C, S, S) -> logits (B, K, S, S)."""
        logits = self.network(image).logits  # (B, K, S / 4, S / 4)
        return nn.functional.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


class UNETR2D(UNETR):
    """MONAI's UNETR in two dimensions, small: twelve blocks of a plain transformer, a decoder of convolutions.

    Source: Hatamizadeh et al., "UNETR: transformers for 3D medical image segmentation", 2103.10504.
    """

    def __init__(self, *, in_channels: int, classes: int, image_size: int, width: int = 96) -> None:
        _check_image_size("unetr", image_size, multiple=16, least=32)
        super().__init__(
            in_channels=in_channels,
            out_channels=classes,
            img_size=image_size,
            feature_size=width // 12,
            hidden_size=width,
            mlp_dim=4 * width,
            num_heads=width // 24,
            spatial_dims=2,
        )


def _check_image_size(name: str, image_size: int, *, multiple: int, least: int) -> None:
    if image_size % multiple or image_size < least:
        raise NetworkError(f"{name}: image size {image_size}: expected a multiple of {multiple}, at least {least}")
