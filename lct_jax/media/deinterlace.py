"""Makes interlaced frames progressive, because two fields of different moments are not one picture.

FFmpeg's bwdif [BBC R&D's Weston three-field filter with yadif's motion check] keeps one field of each frame that its
decoder marks as interlaced and fills in the lines of the other. Frames that are not marked pass unchanged, bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av
from av.filter import Graph

_FILTER = {"mode": "send_frame", "parity": "auto", "deint": "interlaced"}
Frame = tuple[av.VideoFrame, bool]


def deinterlace(frames: Iterable[Frame], stream: av.VideoStream) -> Iterator[Frame]:
    """Yields as many frames as are given, with the same timestamps.

    Args:
        frames: each with whether frames were lost before it: the filter does not combine frames across a loss.
        stream: the stream that they were decoded from, for its time base.
    """
    graph, kind, broken = None, None, False
    for frame, lost in frames:
        found = (frame.width, frame.height, frame.format.name)
        if graph is not None and (lost or found != kind):
            yield from _mark(_finish(graph), broken)
            graph, broken = None, False
        if graph is None and not frame.interlaced_frame:
            yield frame, lost
            continue
        if graph is None:
            graph, kind, broken = _make_graph(frame, stream), found, lost
        graph.vpush(frame)
        for made in _pull(graph):
            yield made, broken
            broken = False
    if graph is not None:
        yield from _mark(_finish(graph), broken)


def _make_graph(frame: av.VideoFrame, stream: av.VideoStream) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format.name,
        time_base=frame.time_base or stream.time_base,
    )  # fmt: skip
    options = ":".join(f"{name}={value}" for name, value in _FILTER.items())
    graph.link_nodes(source, graph.add("bwdif", options), graph.add("buffersink"))
    graph.configure()
    return graph


def _pull(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return


def _finish(graph: Graph) -> Iterator[av.VideoFrame]:
    """Yields the frame that the filter held back to wait for the next one."""
    graph.vpush(None)
    yield from _pull(graph)


def _mark(frames: Iterable[av.VideoFrame], broken: bool) -> Iterator[Frame]:
    for frame in frames:
        yield frame, broken
        broken = False
