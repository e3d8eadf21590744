"""Enlargement and its gradient against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from embedded_vit.layers.enlarging import enlarged


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_enlargement_and_its_gradient_are_those_of_interpolation(factor: int, dtype: torch.dtype) -> None:
    image = torch.randn(2, 5, 6, 4, requires_grad=True)
    change = torch.randn(2, 5, 6 * factor, 4 * factor)
    expected = functional.interpolate(image, scale_factor=factor, mode="bilinear", align_corners=False)
    found = enlarged(image.to(dtype), factor)
    rtol, atol = (1e-5, 1e-5) if dtype == torch.float32 else (0.02, 0.05)
    torch.testing.assert_close(found.float(), expected, rtol=rtol, atol=atol)
    ours = torch.autograd.grad(found, image, change.to(dtype))[0]
    theirs = torch.autograd.grad(expected, image, change)[0]
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)
