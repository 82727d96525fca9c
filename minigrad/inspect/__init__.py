"""What is in a model, what flows through it, and what the tape recorded."""

from minigrad.inspect.drawing import Graph, GraphNode, draw_graph
from minigrad.inspect.statistics import Moments, Response, statistics
from minigrad.inspect.summary import Row, Summary, summary

__all__ = ["Graph", "GraphNode", "Moments", "Response", "Row", "Summary", "draw_graph", "statistics", "summary"]
