"""Convolutions, pooling and the enlarging of images, which LiteRT computes with the channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.artifact.onnx_graph import Node
from embedded_vit.engines.litert.builder import Operator, schema
from embedded_vit.engines.litert.translation import Held, Translation

__all__ = ["conv", "conv_transpose", "max_pool", "resize"]


def _kernel(translation: Translation, node: Node) -> NDArray[Any]:
    if node.inputs[1] not in translation.constants:
        raise ValueError(f"operator {node.operator} with a kernel that is computed")
    return translation.constants[node.inputs[1]]


def _bias(translation: Translation, node: Node, channels: int) -> NDArray[Any]:
    return translation.constants[node.inputs[2]] if len(node.inputs) == 3 else np.zeros(channels, np.float32)


def conv(translation: Translation, node: Node) -> Held:
    """Translate a convolution of equal strides; all channels in one group, or each in its own."""
    builder = translation.builder
    value, weights = translation.held[node.inputs[0]], _kernel(translation, node)
    out_channels, _, height, width = weights.shape
    bias = _bias(translation, node, out_channels)
    (top, left, bottom, right), (stride, across) = node.attributes["pads"], node.attributes["strides"]
    groups = node.attributes["group"]
    if stride != across or node.attributes["dilations"] != (1, 1) or groups not in (1, out_channels):
        raise ValueError("operator Conv with strides, dilations or groups of another kind")
    index = translation.channels_last(value)
    batch, rows, columns, channels = builder.shape(index)
    rows, columns = rows + top + bottom, columns + left + right
    same = stride == 1 and top == bottom == height // 2 and left == right == width // 2
    if any((top, left, bottom, right)) and not same:
        pads = np.array([(0, 0), (top, bottom), (left, right), (0, 0)])
        index = builder.emit(
            Operator.PAD, [index, builder.constant(pads)], (batch, rows, columns, channels), schema.PadOptionsT()
        )
    shape = (batch, (rows - height) // stride + 1, (columns - width) // stride + 1, out_channels)
    if groups == 1:
        operator, options, kernel = Operator.CONV_2D, schema.Conv2DOptionsT(), weights.transpose(0, 2, 3, 1)
    else:
        operator, options = Operator.DEPTHWISE_CONV_2D, schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier = 1
        kernel = weights.transpose(1, 2, 3, 0)
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    options.strideH = options.strideW = stride
    options.dilationHFactor = options.dilationWFactor = 1
    inputs = [index, builder.constant(kernel), builder.constant(bias)]
    index = builder.emit(operator, inputs, shape, options)
    return Held(index, (batch, out_channels, *shape[1:3]), channels_last=True)


def conv_transpose(translation: Translation, node: Node) -> Held:
    """Translate a transposed convolution whose kernels do not overlap."""
    builder = translation.builder
    value, weights = translation.held[node.inputs[0]], _kernel(translation, node)
    _, out_channels, height, width = weights.shape
    bias = _bias(translation, node, out_channels)
    strides, attributes = node.attributes["strides"], node.attributes
    others = [*attributes.get("pads", ()), *attributes.get("output_padding", ())]
    if strides != (height, width) or any(others) or attributes["dilations"] != (1, 1) or attributes["group"] != 1:
        raise ValueError("operator ConvTranspose whose kernels overlap, or of another kind")
    index = translation.channels_last(value)
    batch, rows, columns, _ = builder.shape(index)
    shape = (batch, height * rows, width * columns, out_channels)
    options = schema.TransposeConvOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, height, width
    kernel = builder.constant(weights.transpose(1, 2, 3, 0))
    inputs = [builder.constant(np.array(shape)), kernel, index, builder.constant(bias)]
    index = builder.emit(Operator.TRANSPOSE_CONV, inputs, shape, options)
    return Held(index, (batch, out_channels, *shape[1:3]), channels_last=True)


def max_pool(translation: Translation, node: Node) -> Held:
    """Translate a maximum over squares that do not overlap."""
    builder = translation.builder
    value, attributes = translation.held[node.inputs[0]], node.attributes
    kernel, strides = attributes["kernel_shape"], attributes.get("strides")
    if kernel != strides or any(attributes.get("pads", ())) or attributes.get("ceil_mode", 0):
        raise ValueError("operator MaxPool over squares that overlap, or of another kind")
    index = translation.channels_last(value)
    batch, rows, columns, channels = builder.shape(index)
    shape = (batch, rows // kernel[0], columns // kernel[1], channels)
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.VALID
    options.filterHeight, options.filterWidth = options.strideH, options.strideW = kernel
    index = builder.emit(Operator.MAX_POOL_2D, [index], shape, options)
    return Held(index, (batch, channels, *shape[1:3]), channels_last=True)


def resize(translation: Translation, node: Node) -> Held:
    """Translate a bilinear enlargement by a constant factor, pixel centres aligned."""
    builder = translation.builder
    value = translation.held[node.inputs[0]]
    scales = translation.constants.get(node.inputs[2]) if len(node.inputs) == 3 else None
    kind = (node.attributes.get("mode"), node.attributes.get("coordinate_transformation_mode", "half_pixel"))
    if scales is None or kind != ("linear", "half_pixel") or tuple(scales[:2]) != (1, 1) or min(scales) < 1:
        raise ValueError("operator Resize that is not a bilinear enlargement with aligned pixel centres")
    batch, channels, *size = (round(length * scale) for length, scale in zip(value.shape, scales.tolist(), strict=True))
    options = schema.ResizeBilinearOptionsT()
    options.halfPixelCenters = True
    inputs = [translation.channels_last(value), builder.constant(np.array(size))]
    index = builder.emit(Operator.RESIZE_BILINEAR, inputs, (batch, *size, channels), options)
    return Held(index, (batch, channels, *size), channels_last=True)
