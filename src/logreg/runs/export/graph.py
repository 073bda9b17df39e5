"""A small builder of ONNX graphs: values that can be calculated with.

An operand is a value of the graph, or becomes a constant: numbers and lists of float64, arrays of their own type.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partialmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import NodeProto, TensorProto, helper, numpy_helper

PREFIX = "logreg/"  # of the names inside the graph, which no column may begin with


class Graph:
    """Nodes and constants, in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, *operands: Operand, output: str = "", domain: str = "", **options: Any) -> GraphValue:
        """Append a node with the attributes ``options``; returns its output."""
        names = [(each if isinstance(each, GraphValue) else self.constant(each)).name for each in operands]
        number = len(self.nodes)
        output = output or f"{PREFIX}{operator}_{number}"
        node = helper.make_node(operator, names, [output], name=f"{PREFIX}{number}", domain=domain, **options)
        self.nodes.append(node)
        return GraphValue(self, output)

    def constant(self, value: ArrayLike) -> GraphValue:
        name = f"{PREFIX}constant_{len(self.constants)}"
        array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype=np.float64)
        self.constants.append(numpy_helper.from_array(array, name))
        return GraphValue(self, name)

    def beside(self, columns: list[GraphValue]) -> GraphValue:
        """Columns (rows, 1) as one matrix."""
        return columns[0] if len(columns) == 1 else self.add("Concat", *columns, axis=1)


@dataclass(frozen=True)
class GraphValue:
    """An input of a graph, or what one of its nodes computes."""

    graph: Graph
    name: str

    def _binary(self, other: Operand, operator: str) -> GraphValue:
        return self.graph.add(operator, self, other)

    __add__ = partialmethod(_binary, operator="Add")
    __sub__ = partialmethod(_binary, operator="Sub")
    __mul__ = partialmethod(_binary, operator="Mul")
    __truediv__ = partialmethod(_binary, operator="Div")
    __matmul__ = partialmethod(_binary, operator="MatMul")

    def floor(self) -> GraphValue:
        return self.graph.add("Floor", self)

    def column(self) -> GraphValue:
        """(rows,) of (rows, 1)."""
        return self.graph.add("Squeeze", self, np.array([1]))

    def cast(self, kind: int, output: str = "") -> GraphValue:
        """As another type of `onnx.TensorProto`."""
        return self.graph.add("Cast", self, output=output, to=kind)


Operand = GraphValue | ArrayLike
