"""Rate: how fast a count grows, over the last minute or so.

DIAGNOSTICS
    None: numbers in, numbers out. Time is an argument.
"""

from collections import deque


class Rate:
    """How fast a count grows, over the last `window_s` seconds. Time comes as an argument and never jumps."""

    #: Points kept of a window: the rate is at most one part in this many behind.
    _STEPS = 60

    def __init__(self, window_s: float = 60.0) -> None:
        self._window_s = window_s
        self._points: deque[tuple[float, float]] = deque()

    def __repr__(self) -> str:
        rate = self.per_s()
        return f"<Rate {'unknown' if rate is None else f'{rate:.2f}'}/s over {len(self._points)} points>"

    def add(self, now: float, count: float) -> None:
        """The count at this moment. One that shrank begins anew: it is another batch's."""
        points = self._points
        if points and count < points[-1][1]:
            points.clear()
        if len(points) > 1 and now - points[-2][0] < self._window_s / self._STEPS:
            points.pop()
        points.append((now, count))
        while len(points) > 2 and now - points[1][0] >= self._window_s:
            points.popleft()

    def per_s(self) -> float | None:
        """None until two moments are known."""
        if len(self._points) < 2:
            return None
        (then, before), (now, count) = self._points[0], self._points[-1]
        return (count - before) / (now - then) if now > then else None

    def eta_s(self, remaining: float) -> float | None:
        """Seconds until so many more are done; None while nothing moves."""
        rate = self.per_s()
        return remaining / rate if rate else None
