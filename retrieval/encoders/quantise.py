"""Eight-bit towers whose answer for one row does not depend on the rows beside it, nor on the machine.

ONNX Runtime's own dynamic quantisation has one scale for a whole batch, so a text embeds differently alone and
among others, and its signed weights saturate on processors without VNNI. Here each token has its own scale, and
every sum of products is an exact integer everywhere: weights are unsigned, or signed and of seven bits, which
is quicker by a fifth and less exact.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ZERO = 128  # stands for 0 among the unsigned bytes
LARGEST = 127
LARGEST_OF_SEVEN_BITS = 63  # 2 * 255 * 63 fits into 16 bits: AVX2 adds two products there
CONTRIBUTED = "com.microsoft"  # the domain of ONNX Runtime's own operators
MIN_TABLE_ROWS = 1024  # smaller tables, such as positions, are not worth the loss

Array = NDArray[Any]


def quantised(model: onnx.ModelProto, weight_bits: Literal[7, 8] = 8) -> onnx.ModelProto:
    """The model with its weight matrices and large embedding tables in bytes, one scale a column or row.

    weight_bits: of the matrices; with 7 products are quicker.
    """
    graph = _EightBit(model.graph, weight_bits)
    for node in model.graph.node:
        graph.take(node)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    if all(each.domain != CONTRIBUTED for each in made.opset_import):
        made.opset_import.append(helper.make_opsetid(CONTRIBUTED, 1))
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(graph.nodes)
    used = {name for node in graph.nodes for name in node.input}
    made.graph.initializer.extend(weight for name, weight in graph.weights.items() if name in used)
    return made


class _EightBit:
    """A graph while its nodes are taken over one after another."""

    def __init__(self, graph: onnx.GraphProto, weight_bits: int) -> None:
        self.weights = {weight.name: weight for weight in graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self._bytes_of: dict[str, tuple[str, str]] = {}
        self._weight_bits = weight_bits
        self._one = self._weight("q.one", np.float32(1))
        self._zero = self._weight("q.zero", np.uint8(ZERO))
        self._zero_float = self._weight("q.zero_float", np.float32(ZERO))
        self._step = self._weight("q.step", np.float32(1 / LARGEST))
        self._least = self._weight("q.least", np.float32(1e-12))
        self._last = self._weight("q.last", np.array([-1], np.int64))

    def take(self, node: onnx.NodeProto) -> None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "MatMul" and self._is_matrix(node.input[1]):
            self._product(node, self._array(node.input[1]), node.output[0])
        elif node.op_type == "Gemm" and self._is_matrix(node.input[1]) and _is_plain(attributes):
            self._gemm(node, turned=bool(attributes.get("transB")))
        elif node.op_type == "Gather" and not attributes.get("axis") and self._is_table(node.input[0]):
            self._lookup(node)
        else:
            self.nodes.append(node)

    def _gemm(self, node: onnx.NodeProto, *, turned: bool) -> None:
        weight = self._array(node.input[1])
        output = node.output[0]
        has_bias = len(node.input) == 3
        self._product(node, weight.T if turned else weight, f"{output}.product" if has_bias else output)
        if has_bias:
            self._op("Add", [f"{output}.product", node.input[2]], output)

    def _product(self, node: onnx.NodeProto, weight: Array, output: str) -> None:
        """output = node's first input (..., K) @ weight (K, M), a scale a token and a scale a column."""
        left, left_scale = self._as_bytes(node.input[0])
        right, right_scale, zeros = self._columns(weight)
        factors = [left, self._weight(f"{output}.bytes", right)]
        scales = [self._one, self._weight(f"{output}.columns", right_scale[0])]
        inputs = [*factors, *scales, self._zero, *zeros]
        scaled = self._op("MatMulIntegerToFloat", inputs, f"{output}.scaled", domain=CONTRIBUTED)
        self._op("Mul", [scaled, left_scale], output)

    def _columns(self, weight: Array) -> tuple[Array, NDArray[np.float32], list[str]]:
        """The bytes of a matrix, the scale (1, M) of each column, and the name of their zero unless it is 0."""
        if self._weight_bits == 8:
            return *_bytes_and_scales(weight, axis=0), [self._zero]
        steps, scales = _steps_and_scales(weight, axis=0, largest=LARGEST_OF_SEVEN_BITS)
        return steps.astype(np.int8), scales, []

    def _as_bytes(self, name: str) -> tuple[str, str]:
        """The names of the bytes (..., K) of a tensor of activations and of its scales (..., 1)."""
        if name not in self._bytes_of:
            size = self._op("Abs", [name], f"{name}.abs")
            largest = self._op("ReduceMax", [size, self._last], f"{name}.largest", keepdims=1)
            safe = self._op("Max", [largest, self._least], f"{name}.safe")
            scale = self._op("Mul", [safe, self._step], f"{name}.scale")
            steps = self._op("Round", [self._op("Div", [name, scale], f"{name}.ratio")], f"{name}.steps")
            shifted = self._op("Add", [steps, self._zero_float], f"{name}.shifted")
            self._bytes_of[name] = self._op("Cast", [shifted], f"{name}.bytes", to=TensorProto.UINT8), scale
        return self._bytes_of[name]

    def _lookup(self, node: onnx.NodeProto) -> None:
        table, scales = _bytes_and_scales(self._array(node.input[0]), axis=1)
        output, ids = node.output[0], node.input[1]
        rows = self._op("Gather", [self._weight(f"{output}.table", table), ids], f"{output}.rows")
        floats = self._op("Cast", [rows], f"{output}.floats", to=TensorProto.FLOAT)
        steps = self._op("Sub", [floats, self._zero_float], f"{output}.steps")
        scale = self._op("Gather", [self._weight(f"{output}.scales", scales), ids], f"{output}.scale")
        self._op("Mul", [steps, scale], output)

    def _op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _weight(self, name: str, value: Any) -> str:
        self.weights[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _array(self, name: str) -> Array:
        return numpy_helper.to_array(self.weights[name])

    def _is_matrix(self, name: str) -> bool:
        weight = self.weights.get(name)
        return weight is not None and len(weight.dims) == 2 and weight.data_type == TensorProto.FLOAT

    def _is_table(self, name: str) -> bool:
        return self._is_matrix(name) and self.weights[name].dims[0] >= MIN_TABLE_ROWS


def _is_plain(attributes: dict[str, Any]) -> bool:
    return attributes.get("alpha", 1) == 1 and attributes.get("beta", 1) == 1 and not attributes.get("transA")


def _bytes_and_scales(weight: Array, axis: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """weight ≈ (bytes - ZERO) * scales; scales keep axis with length 1."""
    steps, scales = _steps_and_scales(weight, axis, LARGEST)
    return (steps + ZERO).astype(np.uint8), scales


def _steps_and_scales(weight: Array, axis: int, largest: int) -> tuple[Array, NDArray[np.float32]]:
    """weight ≈ steps * scales; steps are whole, at most largest, and scales keep axis with length 1."""
    scales = np.maximum(np.abs(weight).max(axis=axis, keepdims=True), 1e-12) / largest
    return np.rint(weight / scales), scales.astype(np.float32)
