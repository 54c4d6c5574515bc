"""A machine's memory, as a model server meets it: a pure value, for the HTTP simulator and for virtual time.

SUMMARY
    Machine    what there is: memory, a card, and its vices: spikes, leaks, loads that die
    Held       what one load holds on it: the load, what its answers leaked, what its requests need just now

    What the card does not hold lies in host memory, without an error: llama-server puts layers there, and
    only `size_vram` and the speed tell. Nothing here waits and nothing is random: chance is an argument.

DIAGNOSTICS
    None: numbers in, numbers out.
"""

from dataclasses import dataclass, field

#: How many times slower a model runs that lies wholly in host memory, on a machine with a card.
HOST_SLOWDOWN = 8.0


@dataclass(frozen=True, slots=True)
class Machine:
    """`memory_bytes` is card and host together (None: no limit), `gpu_bytes` the card (0: none).

    One request in `1 / spike_share` needs up to `spike_bytes` while it runs; each answer leaves `leak_bytes`
    behind until the next load. The first `dying_loads` loads die, whatever they are.
    """

    memory_bytes: int | None = None
    gpu_bytes: int = 0
    spike_bytes: int = 0
    spike_share: float = 0.0
    leak_bytes: int = 0
    dying_loads: int = 0

    def holds(self, size_bytes: int) -> bool:
        return self.memory_bytes is None or size_bytes <= self.memory_bytes

    def on_gpu(self, size_bytes: int) -> int:
        return min(size_bytes, self.gpu_bytes)

    def slowdown(self, size_bytes: int) -> float:
        """1 on the card (or where there is none), up to `HOST_SLOWDOWN` beside it."""
        if not self.gpu_bytes or not size_bytes:
            return 1.0
        return 1.0 + (HOST_SLOWDOWN - 1.0) * (1.0 - self.on_gpu(size_bytes) / size_bytes)

    def spike(self, chance: float) -> int:
        """What one request needs. `chance` in [0, 1): the lowest share of it are the greedy ones."""
        if not self.spike_share or chance >= self.spike_share:
            return 0
        return int(self.spike_bytes * (1.0 - chance / self.spike_share))


@dataclass(slots=True)
class Held:
    """One load on a machine."""

    machine: Machine
    size_bytes: int
    leaked_bytes: int = 0
    spikes: list[int] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return self.size_bytes + self.leaked_bytes + sum(self.spikes)

    def begin(self, chance: float) -> int:
        """A request starts; its spike, to be handed to `end`. Whether it still fits is `fits`."""
        spike = self.machine.spike(chance)
        self.spikes.append(spike)
        return spike

    def end(self, spike: int, is_answered: bool) -> None:
        self.spikes.remove(spike)
        self.leaked_bytes += self.machine.leak_bytes * is_answered

    @property
    def fits(self) -> bool:
        return self.machine.holds(self.bytes)
