"""A small builder of ONNX graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

PREFIX = "logreg/"  # of the names inside the graph, which no column may begin with


class Graph:
    """Nodes and constants, in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(
        self, operator: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: object
    ) -> str:
        """Append a node; returns the name of its output."""
        name = output or f"{PREFIX}{operator}_{len(self.nodes)}"
        node = helper.make_node(operator, list(inputs), [name], name=f"{PREFIX}{len(self.nodes)}", domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        return name

    def constant(self, value: npt.ArrayLike) -> str:
        """A constant; floats are float64."""
        name = f"{PREFIX}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def concatenated(self, columns: list[str]) -> str:
        """Columns (rows, 1) beside each other."""
        return columns[0] if len(columns) == 1 else self.add("Concat", *columns, axis=1)

    def value(self, name: str) -> GraphValue:
        return GraphValue(self, name)


class GraphValue:
    """A float64 value of the graph that can be calculated with; see `logreg.runs.export.dates`."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def _with(self, operator: str, other: GraphValue | float) -> GraphValue:
        right = other.name if isinstance(other, GraphValue) else self.graph.constant(float(other))
        return GraphValue(self.graph, self.graph.add(operator, self.name, right))

    def __add__(self, other: GraphValue | float) -> GraphValue:
        return self._with("Add", other)

    def __sub__(self, other: GraphValue | float) -> GraphValue:
        return self._with("Sub", other)

    def __mul__(self, other: GraphValue | float) -> GraphValue:
        return self._with("Mul", other)

    def __truediv__(self, other: GraphValue | float) -> GraphValue:
        return self._with("Div", other)

    def floor(self) -> GraphValue:
        return GraphValue(self.graph, self.graph.add("Floor", self.name))
