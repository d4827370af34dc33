from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mmsearch.retrieval.encoders.quantise import quantised

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(64, 16)).astype(np.float32)
BIAS = RNG.normal(size=16).astype(np.float32)
TABLE = RNG.normal(size=(2000, 16)).astype(np.float32)


def model(node: onnx.NodeProto, shape: list[str | int], dtype: int, **weights: NDArray[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "tower",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(made: onnx.ModelProto, x: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0])


def matmul(weight: NDArray[np.float32]) -> onnx.ModelProto:
    return model(helper.make_node("MatMul", ["x", "w"], ["y"]), ["N", "L", len(weight)], TensorProto.FLOAT, w=weight)


def kinds(made: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in made.graph.node}


@pytest.mark.parametrize(("bits", "off"), [(8, 0.009), (7, 0.014)])  # weights cut off instead of rounded: 0.011, 0.02
def test_a_product_is_close_to_the_exact_one(bits: Literal[7, 8], off: float) -> None:
    x = RNG.normal(size=(3, 5, 64)).astype(np.float32)
    got, exact = run(quantised(matmul(WEIGHT), bits), x), x @ WEIGHT
    assert np.abs(got - exact).mean() < off * exact.std()


def test_two_products_of_one_input_share_its_bytes() -> None:
    made = matmul(WEIGHT)
    made.graph.node[0].output[0] = "left"
    made.graph.node.append(helper.make_node("MatMul", ["x", "w"], ["right"]))
    made.graph.node.append(helper.make_node("Sub", ["left", "right"], ["y"]))
    small = quantised(made)
    assert [node.op_type for node in small.graph.node].count("Round") == 1
    assert not run(small, RNG.normal(size=(1, 2, 64)).astype(np.float32)).any()


def test_the_weights_are_a_quarter_as_large() -> None:
    large = matmul(RNG.normal(size=(512, 512)).astype(np.float32))
    assert quantised(large).ByteSize() < 0.27 * large.ByteSize()


@pytest.mark.parametrize("bits", [7, 8])
def test_a_row_does_not_depend_on_the_rows_beside_it(bits: Literal[7, 8]) -> None:
    x = RNG.normal(size=(4, 5, 64)).astype(np.float32) * np.array([1, 10, 100, 0.01], np.float32)[:, None, None]
    small = quantised(matmul(WEIGHT), bits)
    np.testing.assert_array_equal(run(small, x), np.concatenate([run(small, x[i : i + 1]) for i in range(4)]))


@pytest.mark.parametrize("bits", [7, 8])
def test_the_largest_values_do_not_saturate(bits: Literal[7, 8]) -> None:
    """Pairs of products would overflow 16 bits on processors without VNNI if one factor had eight bits and a sign."""
    small = quantised(matmul(np.ones((64, 4), np.float32)), bits)
    np.testing.assert_allclose(run(small, np.ones((1, 1, 64), np.float32)), 64, rtol=1e-5)
    np.testing.assert_allclose(run(small, -np.ones((1, 1, 64), np.float32)), -64, rtol=1e-5)


def test_zeros_stay_zeros() -> None:
    assert not run(quantised(matmul(WEIGHT)), np.zeros((1, 2, 64), np.float32)).any()
    assert not run(quantised(matmul(0 * WEIGHT)), np.ones((1, 2, 64), np.float32)).any()


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("bias", [{}, {"b": BIAS}])
def test_a_gemm_is_a_product_and_a_bias(turned: int, bias: dict[str, NDArray[Any]]) -> None:
    weight = np.ascontiguousarray(WEIGHT.T) if turned else WEIGHT
    node = helper.make_node("Gemm", ["x", "w", *bias], ["y"], transB=turned)
    small = quantised(model(node, ["N", 64], TensorProto.FLOAT, w=weight, **bias))
    x = RNG.normal(size=(7, 64)).astype(np.float32)
    exact = x @ WEIGHT + bias.get("b", np.float32(0))
    assert "MatMulIntegerToFloat" in kinds(small)
    assert np.abs(run(small, x) - exact).max() < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize("attributes", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}])
def test_an_unusual_gemm_is_left_alone(attributes: dict[str, Any]) -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], **attributes)
    assert kinds(quantised(model(node, ["N", 64], TensorProto.FLOAT, w=WEIGHT))) == {"Gemm"}


def test_a_large_table_is_looked_up_in_bytes() -> None:
    small = quantised(model(helper.make_node("Gather", ["t", "x"], ["y"]), ["N"], TensorProto.INT64, t=TABLE))
    ids = np.array([0, 1999, 7])
    assert small.ByteSize() < 0.35 * TABLE.nbytes
    np.testing.assert_allclose(run(small, ids), TABLE[ids], atol=np.abs(TABLE).max() / 127)


def test_a_small_table_and_a_product_of_activations_are_left_alone() -> None:
    table = model(helper.make_node("Gather", ["t", "x"], ["y"]), ["N"], TensorProto.INT64, t=TABLE[:77])
    square = model(helper.make_node("MatMul", ["x", "x"], ["y"]), [4, 4], TensorProto.FLOAT)
    assert kinds(quantised(table)) == {"Gather"}
    assert kinds(quantised(square)) == {"MatMul"}
