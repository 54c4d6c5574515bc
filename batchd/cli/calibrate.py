"""`batchd calibrate`: measures what a model may be given on this machine, and writes a profile.

SUMMARY
    A bar while it works; then a table, and where profile and picture lie. The daemon uses the profile at its
    next load of that model.

DIAGNOSTICS
    Fatal: UnavailableError when a batchd is at work on the spool, or the server cannot be used.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from batchd.app.calibrated import calibrate_model
from batchd.cli.engine import EngineOption, GgufOption, check_engine, engine_flags, only_this_file
from batchd.cli.steps import step_display
from batchd.cli.terminal import ConfigOption, JsonOption, SpoolOption, put, put_json, put_table
from batchd.core.calibration import Profile
from batchd.core.json import loads
from batchd.core.space import in_units
from batchd.settings import load_settings


def calibrate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model, as batches name it.")],
    engine: EngineOption = None,
    gguf: GgufOption = None,
    minutes: Annotated[
        float,
        typer.Option(
            "--minutes", min=0.05, max=240.0, help="How long the choice is proven; 10 before a long run."
        ),
    ] = 1.0,
    spool: SpoolOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Measure windows, slots and rates of a model on this machine.

    The model is loaded many times, up to the limit of the memory: nothing else should need it meanwhile.

    \b
    Example:
      batchd calibrate smollm2:135m
      batchd calibrate smollm2:135m --gguf model.gguf --minutes 10
    """
    check_engine(engine, gguf)
    settings = only_this_file(load_settings({**engine_flags(engine, gguf), "spool": spool}, config), gguf)
    with step_display() as on_step:
        profile, path = asyncio.run(calibrate_model(settings, model, minutes, on_step))
    if as_json:
        put_json(
            {"profile": loads(profile.to_json()), "path": str(path), "picture": str(path.with_suffix(".svg"))}
        )
    else:
        _show(profile, path)
    return 0


def _show(profile: Profile, path: Path) -> None:
    heads = ("slots", "largest window", "safe window", "requests/s", "tokens/s", "")
    rows = (
        (
            f"{row.slots}",
            f"{row.window_tokens:,}",
            f"{row.safe_tokens:,}",
            f"{row.requests_per_s:.2f}" if row.requests_per_s else "-",
            f"{row.tokens_per_s:,.0f}" if row.tokens_per_s else "-",
            "chosen" if row.slots == profile.slots else "",
        )
        for row in profile.rows
    )
    put_table(heads, rows)
    if profile.line is not None:
        base, token, residual = profile.line.base_bytes, profile.line.token_bytes, profile.line.residual_bytes
        put(
            f"memory: {in_units(base)} + {in_units(token)} for each token of window, "
            f"residual at most {in_units(residual)}, told by the {profile.source}"
        )
    if profile.proof is not None:
        proof = profile.proof
        peak = "" if proof.peak_bytes is None else f", at most {in_units(proof.peak_bytes)}"
        put(f"proven: {proof.requests:,} requests in {proof.duration_s:.0f} s without a fault{peak}")
    for note in profile.notes:
        put(note, "yellow")
    put(f"{path}")
    put(f"{path.with_suffix('.svg')}")
