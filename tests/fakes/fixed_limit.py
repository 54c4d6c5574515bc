"""The best fixed limit of a machine: what somebody would reach who knew it, and set it by hand.

SUMMARY
    best_per_s    requests per second, over all fixed numbers of slots; a death costs a restart and a load

DIAGNOSTICS
    None.
"""

import heapq
from random import Random

from tests.fakes.machine_server import RESTART_S, Rig
from tests.simulator.machine import Held


def best_per_s(rig: Rig, window_tokens: int, slots_max: int, count: int, seed: int) -> float:
    """0.0 where not even one slot fits."""
    fitting = [slots for slots in range(1, slots_max + 1) if rig.fits(window_tokens, slots)]
    return max(
        (count / _duration_s(rig, window_tokens, slots, count, seed) for slots in fitting), default=0.0
    )


def _duration_s(rig: Rig, window_tokens: int, slots: int, count: int, seed: int) -> float:
    """How long so many answers take, with the first load."""
    random, now, answered = Random(seed), rig.load_s, 0
    per_answer_s = rig.request_s(slots)
    size = rig.size_bytes(window_tokens, slots)
    held, ends = Held(rig.machine, size), list[tuple[float, int]]()
    while answered < count:
        while len(ends) < slots and len(ends) < count - answered:
            spike = held.begin(random.random())
            heapq.heappush(ends, (now + per_answer_s * (0.7 + 0.6 * random.random()), spike))
            if not held.fits:
                now += RESTART_S + rig.load_s
                held, ends = Held(rig.machine, size), []
                if now > count * rig.answer_s * 20:
                    return now * 10  # it dies more than it works
        now, spike = heapq.heappop(ends)
        held.end(spike, is_answered=True)
        answered += 1
    return now
