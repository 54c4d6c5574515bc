"""Server: the engine, its mode, its models, its slots, and where the model runs.

SUMMARY
    judge_engine    is there anybody who could answer
    judge_places    can an own Ollama read the models that are on this machine
    judge_models    families that batches should know of
    judge_share     does the model lie on the card, or partly beside it
    judge_slots     how many requests really ran at one time
    judge_build     is the embedded engine built for the card that is there

    `slots_seen` is the measurement behind the slots: when each of several simultaneous requests ran.

DIAGNOSTICS
    None: values in, values out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batchd.core.doctor.finding import Finding, Verdict
from batchd.core.space import in_units

#: A request's time in its slot is measured from two sides; so much of it, at each end, is not believed.
_BLUR_SHARE = 0.15

_OLLAMA_MISSING = (
    "Install Ollama, or take the embedded engine: pip install 'batchd[embedded]', then "
    "`batchd run FILE --gguf MODEL.gguf` (`batchd demo` fetches a small model and tries it)"
)


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """`version` is empty for a server that does not answer; then `trouble` says why.

    `embedded` is the version of the embedded engine, empty where it is not installed. `users`: as whom the
    server runs, where that can be seen; `trusted`: as whom nobody would wonder. `is_refused`: it runs as
    another user than `ollama.user` names.
    """

    engine: str
    mode: str
    address: str
    version: str = ""
    trouble: str = ""
    has_unit: bool = False
    has_program: bool = False
    embedded: str = ""
    has_model_file: bool = False
    users: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    is_refused: bool = False


def judge_engine(facts: EngineFacts) -> Finding:
    """Whether requests could be answered at all."""
    if facts.engine == "llamacpp" and facts.mode == "child":
        return _judge_embedded(facts)
    name = "Ollama" if facts.engine == "ollama" else "llama-server"
    if facts.mode == "own":
        which = facts.address.removeprefix("a private server")  # " on GPU 1", of several
        saw = (
            f"batchd starts an Ollama of its own{which}: it is set so, or none answers and none is a service."
        )
        return Finding("engine", Verdict.OK, saw, "Slots, restarts and memory are then batchd's to decide.")
    if facts.version:
        return _judge_listener(facts, name)
    saw = f"{name} does not answer at {facts.address}: {facts.trouble.rstrip('.')}."
    means = "The daemon waits for it for as long as it takes; `batchd run` gives up after 30 s."
    return Finding("engine", Verdict.PROBLEM, saw, means, _to_start(facts))


def _judge_listener(facts: EngineFacts, name: str) -> Finding:
    run_by = f", run by {' and '.join(facts.users)}" if facts.users else ""
    saw = f"{name} {facts.version} answers at {facts.address} ({facts.mode}{run_by})."
    strangers = sorted(set(facts.users) - set(facts.trusted))
    if not strangers:
        return Finding("engine", Verdict.OK, saw)
    means = "Any user of this machine can take that port while Ollama does not run, and give the answers."
    step = f"If that is right: BATCHD_OLLAMA__USER={strangers[0]}; only that user is then believed"
    return Finding("engine", Verdict.NOTE, saw, means, step)


def _to_start(facts: EngineFacts) -> str:
    if facts.is_refused:
        return "Find out who started that server and end it, or mend ollama.user"
    if facts.engine != "ollama":
        return (
            "Start that llama-server, or mend llamacpp.url and llamacpp.api_key (`batchd config` shows them)"
        )
    if facts.has_unit:
        return "systemctl start ollama"
    if facts.has_program:
        return "ollama serve, or have batchd start one of its own: BATCHD_OLLAMA__MODE=own"
    return _OLLAMA_MISSING


def _judge_embedded(facts: EngineFacts) -> Finding:
    if not facts.embedded:
        saw, step = "The embedded engine is chosen and not installed.", "pip install 'batchd[embedded]'"
        return Finding("engine", Verdict.PROBLEM, saw, "No request can be answered.", step)
    if not facts.has_model_file:
        saw = f"The embedded engine ({facts.embedded}) is installed, and no model file is named that exists."
        step = "Set llamacpp.models or llamacpp.gguf, or give --gguf FILE; `batchd config --check` says which"
        return Finding("engine", Verdict.PROBLEM, saw, "No request can be answered.", step)
    return Finding(
        "engine", Verdict.OK, f"The embedded engine ({facts.embedded}) is installed and has a model."
    )


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """A directory of Ollama's models. `blocked_at`: the directory that this user may not enter."""

    path: str
    exists: bool
    has_models: bool
    owner: str = ""
    blocked_at: str = ""


def judge_places(mode: str, own: ModelPlace, others: Sequence[ModelPlace], user: str) -> Finding | None:
    """Whether an Ollama of ours would find models. `own` is where it looks; `others` exist besides.

    None where there are no models anywhere, which is for the engine to say.
    """
    verdict = Verdict.PROBLEM if mode == "own" else Verdict.NOTE
    would = "An Ollama of batchd's own (ollama.mode = own)"
    if own.has_models:
        return Finding("own models", Verdict.OK, f"{would} would read the models of {own.path}.")
    if own.blocked_at:
        return _blocked(own, verdict, would, user)
    for place in others:
        if place.has_models:
            step = f"BATCHD_OLLAMA__MODELS_DIR={place.path}"
            saw = f"{would} would look into {own.path}, where there are none; {place.path} has models."
            return Finding("own models", verdict, saw, "It would know no model at all.", step)
        if place.blocked_at:
            return _blocked(place, verdict, would, user)
    return None


def _blocked(place: ModelPlace, verdict: Verdict, would: str, user: str) -> Finding:
    owner = place.owner or "another user"
    saw = f"The models in {place.path} belong to {owner}, and {user} may not read them ({place.blocked_at})."
    means = f"{would} would know no model. Attached to {owner}'s running one, batchd needs no such right."
    group = place.owner or "OWNER"
    step = (
        f"sudo usermod -aG {group} {user} && sudo chmod g+rx {place.blocked_at}, log in again (or restart "
        f"the service), and set ollama.models_dir = {place.path}"
    )
    return Finding("own models", verdict, saw, means, step)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model that the server has. `gpu_bytes` and `size_bytes` are of its memory while it is resident."""

    name: str
    family: str
    is_serial: bool = False
    is_sliding: bool = False
    is_resident: bool = False
    answers_chat: bool = True
    size_bytes: int | None = None
    gpu_bytes: int | None = None


def judge_models(models: Sequence[ModelFacts], wanted: str | None) -> Iterator[Finding]:
    """`wanted`: the model that the settings name for all requests; None: any."""
    if not models:
        step = f"ollama pull {wanted or 'MODEL'}"
        yield Finding(
            "models", Verdict.PROBLEM, "The server has no model.", "Every request would fail.", step
        )
        return
    names = [model.name for model in models]
    if wanted is not None and wanted not in names and f"{wanted}:latest" not in names:
        means = "Every request would fail: the settings send all of them to this model."
        yield Finding(
            "models", Verdict.PROBLEM, f"The server does not have {wanted}.", means, f"ollama pull {wanted}"
        )
        return
    yield Finding("models", Verdict.OK, f"The server has {len(models)}: {', '.join(names[:10])}.")
    serial = [model.name for model in models if model.is_serial]
    if serial:
        means = (
            "Ollama gives models of this kind one slot, whatever is set: requests run one after the other."
        )
        yield Finding("models", Verdict.NOTE, f"One slot only: {', '.join(serial[:10])}.", means)
    sliding = [model.name for model in models if model.is_sliding]
    if sliding:
        means = (
            "A shared beginning is reused only up to a checkpoint near its end: keep what varies shorter "
            "than it, and look at `cached` in metrics.json."
        )
        yield Finding("models", Verdict.NOTE, f"Sliding window: {', '.join(sliding[:10])}.", means)


def judge_share(model: ModelFacts, card_count: int) -> Finding | None:
    """Where a resident model lies; None where the server does not tell its sizes."""
    if not model.size_bytes or model.gpu_bytes is None:
        return None
    share = model.gpu_bytes / model.size_bytes
    size = in_units(model.size_bytes)
    if not card_count:
        where = "in the memory of the machine" if not model.gpu_bytes else f"{share:.0%} of it on a GPU"
        return Finding("gpu share", Verdict.OK, f"{model.name} ({size}) is loaded, {where}.")
    if share >= 1:
        return Finding("gpu share", Verdict.OK, f"{model.name} ({size}) lies on the GPU as a whole.")
    if model.gpu_bytes == 0:
        means = "The server does not use the card: it was lost, or the server is built without it."
        step = "nvidia-smi, then systemctl restart ollama"
        return Finding(
            "gpu share", Verdict.PROBLEM, f"{model.name} ({size}) runs on the CPU alone.", means, step
        )
    means = (
        "What lies beside the card is many times slower. It did not fit: window, slots, or the model itself."
    )
    step = (
        "Free the card (nvidia-smi shows who has it), or set fewer slots, a smaller window, a smaller model"
    )
    saw = f"Only {share:.0%} of {model.name} ({size}) lie on the GPU."
    return Finding("gpu share", Verdict.WARNING, saw, means, step)


def slots_seen(ran: Sequence[tuple[float, float]]) -> int:
    """How many of these (from, to) were true at the same time, at most."""
    edges: list[tuple[float, int]] = []
    for begin, end in ran:
        blur = (end - begin) * _BLUR_SHARE
        edges += [(begin + blur, 1), (end - blur, -1)]
    # An end counts before a beginning at the same moment: one after the other is not at one time.
    seen = most = 0
    for _, step in sorted(edges):
        seen += step
        most = max(most, seen)
    return most


def judge_slots(asked: int, measured: int, probes: int, model: str, owns_slots: bool) -> Finding:
    """`asked`: what batchd would use; `measured` of `probes` ran at one time."""
    at_least = "at least " if measured >= probes else ""
    ran = f"{at_least}{measured} ran at one time; slots = {asked}"
    saw = f"Of {probes} simultaneous requests to {model}, {ran}."
    if measured == asked or (measured > asked and owns_slots) or (at_least and measured <= asked):
        return Finding("slots", Verdict.OK, saw)
    if measured > asked:
        means = f"batchd would use {asked} of {measured} slots of this server."
        return Finding("slots", Verdict.WARNING, saw, means, f"BATCHD_SLOTS={measured}")
    means = "Requests beyond that wait in the server's own queue, and may find a slot with another beginning."
    step = f"BATCHD_SLOTS={measured}, or give the server more: OLLAMA_NUM_PARALLEL={asked} in its environment"
    return Finding("slots", Verdict.WARNING, saw, means, f"BATCHD_SLOTS={measured}" if owns_slots else step)


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """The embedded engine: its version (empty: not installed), and the kinds of its devices."""

    version: str
    devices: tuple[str, ...] = ()
    trouble: str = ""
    is_chosen: bool = False


def judge_build(facts: BuildFacts, cards: Sequence[str]) -> Finding:
    """`cards`: the names of the cards that this machine has."""
    if not facts.version:
        saw = "The embedded engine is not installed; it is optional."
        return Finding(
            "embedded", Verdict.OK, saw, "", "" if not facts.is_chosen else "pip install 'batchd[embedded]'"
        )
    if facts.trouble:
        return Finding("embedded", Verdict.WARNING, f"The embedded engine does not run: {facts.trouble}.")
    has_gpu = any(kind in ("gpu", "igpu") for kind in facts.devices)
    if not cards or has_gpu:
        on = "a GPU" if has_gpu else "the CPU"
        return Finding("embedded", Verdict.OK, f"The embedded engine ({facts.version}) calculates on {on}.")
    saw = f"This machine has {cards[0]}, and the installed engine ({facts.version}) is built for the CPU."
    means = "It would answer many times slower than it could."
    step = "pip install --force-reinstall xllamacpp with the index of its CUDA wheels (its page names it)"
    return Finding("embedded", Verdict.WARNING if facts.is_chosen else Verdict.NOTE, saw, means, step)
