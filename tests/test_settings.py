"""Settings: which layer wins, what is refused and how, what is shown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from batchd.core.proxy import Proxy
from batchd.errors import ConfigError
from batchd.settings import (
    Origin,
    Settings,
    config_path,
    default_spool,
    load_settings,
    sources,
    surroundings,
    without_settings,
)
from batchd.settings.proxy import proxy_to


def write(folder: Path, content: str) -> Path:
    path = folder / "batchd.toml"
    path.write_text(content)
    return path


def load(flags: Mapping[str, object] | None = None, file: Path | None = None, **environ: str) -> Settings:
    return load_settings(flags or {}, file, {"HOME": "/home/nobody", **environ})


def refusal(
    flags: Mapping[str, object] | None = None, file: Path | None = None, **environ: str
) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(flags, file, **environ)
    assert caught.value.exit_code == 78
    assert caught.value.next_step
    return caught.value


def origin(name: str, flags: dict[str, object], file: Path | None, **environ: str) -> Origin:
    (found,) = (item for item in sources(flags, file, environ) if item.name == name)
    return found


def test_the_defaults_are_the_promised_ones() -> None:
    settings = load()
    assert settings.engine == "ollama"
    assert settings.slots is None
    assert (settings.slots_for(is_attached=True), settings.slots_for(is_attached=False)) == (1, 4)
    assert settings.window_tokens_max == 32_768
    assert settings.strict is False
    assert settings.request_timeout_s == 300
    assert (settings.give_up_s, settings.idle_unload_s) == (None, 300)
    assert settings.completion_tokens_default == 1_024
    assert settings.enforce_window is False
    assert settings.settle_s is None
    assert (settings.drain_s, settings.archive_days, settings.failed_share_max) == (30, 30, 0)
    assert settings.line_bytes_max == 8 * 1024 * 1024
    assert (settings.ollama.host, settings.ollama.mode) == ("http://127.0.0.1:11434", "auto")


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    file = write(tmp_path, "slots = 2\n[ollama]\nmode = 'own'\n")
    assert load(file=file).slots == 2
    assert load(file=file, BATCHD_SLOTS="3").slots == 3
    assert load({"slots": 4}, file, BATCHD_SLOTS="3").slots == 4
    assert load({"slots": None}, file, BATCHD_SLOTS="3").slots == 3
    assert load(file=file).ollama.mode == "own"
    assert load(file=file, BATCHD_OLLAMA__MODE="attach").ollama.mode == "attach"


def test_each_value_says_where_it_came_from(tmp_path: Path) -> None:
    file = write(tmp_path, "drain_s = 5\nslots = 2\n")
    given: tuple[dict[str, object], Path] = ({"slots": 4}, file)
    assert origin("slots", *given) == Origin("slots", "4", "flag")
    assert origin("drain_s", *given) == Origin("drain_s", "5.0", f"file {file}")
    assert origin("strict", *given, BATCHD_STRICT="yes") == Origin("strict", "true", "environment")
    assert origin("engine", *given) == Origin("engine", "ollama", "default")
    assert origin("ollama.host", *given, OLLAMA_HOST="box") == Origin(
        "ollama.host", "http://box:11434", "environment OLLAMA_HOST"
    )


def test_every_setting_is_listed_once() -> None:
    names = [item.name for item in sources({}, None, {})]
    assert len(set(names)) == len(names)
    assert {"spool", "llamacpp.models", "ollama.host", "model_aliases"} <= set(names)


def test_ollama_host_is_below_our_own_settings(tmp_path: Path) -> None:
    file = write(tmp_path, "[ollama]\nhost = 'from-file:1'\n")
    assert load(OLLAMA_HOST="from-env:2").ollama.host == "http://from-env:2"
    assert load(file=file, OLLAMA_HOST="from-env:2").ollama.host == "http://from-file:1"


@pytest.mark.parametrize(
    ("written", "called"),
    [
        ("box", "http://box:11434"),
        ("box:99", "http://box:99"),
        (":99", "http://127.0.0.1:99"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("[::]:11434", "http://127.0.0.1:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:99", "http://[::1]:99"),
        ("http://box", "http://box:80"),
        ("https://box/", "https://box:443"),
        ("http://box:99/below/", "http://box:99/below"),
        ("'box'", "http://box:11434"),
    ],
)
def test_an_ollama_address_is_read_as_ollama_reads_it(written: str, called: str) -> None:
    assert load(OLLAMA_HOST=written).ollama.host == called


#: What a client would refuse, or could never reach.
NO_ADDRESSES = (
    *("box:port", "box:99999", "box:0", "box:１２", "-é", "bücher.example", "a b", "a..b", "xn--a"),
    *("a" * 64, f"{'a.' * 127}a", "1.2.3.400", "1.2.3", "[::1", "::1::", "box/\x01", "box/ä", "box?x=1"),
    *("box#x", "a\\b", "box\n:1", ".", "a\udcff"),
)


@pytest.mark.parametrize("written", ["ftp://box", *NO_ADDRESSES])
def test_what_is_no_address_is_refused(written: str) -> None:
    assert "not an address" in refusal(BATCHD_OLLAMA__HOST=written).message


@pytest.mark.parametrize("place", NO_ADDRESSES)
def test_nor_is_it_one_of_a_llama_server(place: str) -> None:
    assert "not an address" in refusal(BATCHD_LLAMACPP__URL=f"http://{place}").message


@pytest.mark.parametrize("written", ["http://", "https:///path", "http://:80", "localhost:8080", "http:box"])
def test_a_url_without_a_scheme_or_a_host_is_refused(written: str) -> None:
    message = refusal(BATCHD_LLAMACPP__URL=written).message
    assert "names no host" in message or "must begin with http" in message


@pytest.mark.parametrize(
    "written",
    ["http://box", "https://box:8443/llama/", "http://[::1]:80", "http://10.0.0.1", "http://a_b.c."],
)
def test_a_url_that_can_be_called_stays_as_it_was_written(written: str) -> None:
    assert load(BATCHD_LLAMACPP__URL=written).llamacpp.url == written.rstrip("/")


@pytest.mark.parametrize(
    ("written", "called"),
    [
        ("http://127.0.0.1:21435/", "http://127.0.0.1:21435"),
        ("http://127.0.0.1:21435/v1", "http://127.0.0.1:21435"),
        ("127.0.0.1:21435/v1/", "http://127.0.0.1:21435"),
        ("http://127.0.0.1:21435/api", "http://127.0.0.1:21435"),
        ("http://127.0.0.1:21435/api/chat", "http://127.0.0.1:21435"),
        ("http://127.0.0.1:21435/v1/chat/completions/", "http://127.0.0.1:21435"),
        ("https://box/ollama/v1", "https://box:443/ollama"),
        ("https://box/ollama/api/", "https://box:443/ollama"),
        ("https://box/ollama", "https://box:443/ollama"),
        ("https://box/api/ollama", "https://box:443/api/ollama"),
        ("https://box/v10", "https://box:443/v10"),
    ],
)
def test_the_name_of_an_api_at_the_end_of_ollamas_address_is_left_out(written: str, called: str) -> None:
    assert load(OLLAMA_HOST=written).ollama.host == called


@pytest.mark.parametrize(
    ("written", "called"),
    [
        ("http://box:8080/v1", "http://box:8080"),
        ("http://box:8080/v1/chat/completions", "http://box:8080"),
        ("http://box:8080/llama/v1/", "http://box:8080/llama"),
        ("http://box:8080/api", "http://box:8080/api"),  # somebody's llama-server may stand there
    ],
)
def test_nor_does_the_address_of_a_llama_server_have_it(written: str, called: str) -> None:
    assert load(BATCHD_LLAMACPP__URL=written).llamacpp.url == called


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:11434", "http://localhost:11434", "http://[::1]:11434"]
)
@pytest.mark.parametrize("value", ["socks5://127.0.0.1:9", "http://proxy:port", "garbage"])
def test_no_proxy_variable_matters_for_this_machine(address: str, value: str) -> None:
    names = ("http_proxy", "https_proxy", "all_proxy")
    assert proxy_to(address, {form(name): value for name in names for form in (str, str.upper)}) is None


def test_a_proxy_that_cannot_be_called_is_named_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="HTTP_PROXY is 'http://proxy:port'") as caught:
        proxy_to("http://box:11434", {"HTTP_PROXY": "http://proxy:port"})
    assert "NO_PROXY" in caught.value.next_step
    proxy = proxy_to("http://box:11434", {"HTTP_PROXY": "http://proxy:1", "NO_PROXY": "other"})
    assert proxy == Proxy("http://proxy:1", "HTTP_PROXY")


@given(st.text(st.sampled_from("aZ09.-_:[]/@?#%é \\\x01x") | st.characters(), min_size=1, max_size=20))
def test_every_address_that_is_accepted_can_be_called(place: str) -> None:
    for called in (_accepted("ollama.host", place), _accepted("llamacpp.url", f"http://{place}")):
        if called is not None:  # by the client that will call it
            url = httpx.Request("GET", f"{called}/api/version").url
            assert url.host
            assert url.raw_path.endswith(b"/api/version")


def _accepted(name: str, written: str) -> str | None:
    try:
        settings = load({name: written})
    except ConfigError:
        return None
    return settings.ollama.host if name == "ollama.host" else settings.llamacpp.url


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    for variable in ("BATCHD_OLLAMA__HOST", "BATCHD_LLAMACPP__URL"):
        message = refusal({}, None, **{variable: "http://me:hunter2@box:1"}).message
        assert "password" in message
        assert "hunter2" not in message


def test_an_unknown_name_is_refused_in_every_layer_with_the_nearest_known_one(tmp_path: Path) -> None:
    assert "'slots'" in refusal({"slot": 3}).next_step
    assert "'BATCHD_SLOTS'" in refusal(BATCHD_SLOT="3").next_step
    assert "'BATCHD_OLLAMA__MODE'" in refusal(BATCHD_OLLAMA_MODE="own").next_step
    assert "'slots'" in refusal(file=write(tmp_path, "slot = 3")).next_step
    assert "'ollama.mode'" in refusal(file=write(tmp_path, "[ollama]\nmod = 'own'")).next_step
    assert "'ollama'" in refusal(file=write(tmp_path, "[olama]\nmode = 'own'")).next_step
    assert "'ollama.mode'" in refusal(file=write(tmp_path, "mode = 'own'")).next_step
    assert "batchd config" in refusal(file=write(tmp_path, "[xyzzy]")).next_step


def test_the_names_of_others_are_left_alone() -> None:
    assert load(BATCH="1", OLLAMA_KEEP_ALIVE="1").slots is None


def test_an_empty_variable_is_not_set() -> None:
    assert load(BATCHD_SLOTS="").slots is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BATCHD_SLOTS", "0"),
        ("BATCHD_SLOTS", "many"),
        ("BATCHD_ENGINE", "vllm"),
        ("BATCHD_FAILED_SHARE_MAX", "1.5"),
        ("BATCHD_REQUEST_TIMEOUT_S", "nan"),
        ("BATCHD_REQUEST_TIMEOUT_S", "inf"),
        ("BATCHD_SETTLE_S", "-1"),
        ("BATCHD_LINE_BYTES_MAX", "1"),
        ("BATCHD_LOG_LEVEL", "LOUD"),
        ("BATCHD_LLAMACPP__URL", "localhost:8080"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_name_its_value_and_its_layer(
    variable: str, value: str
) -> None:
    message = refusal({}, None, **{variable: value}).message
    name = variable.removeprefix("BATCHD_").lower().replace("__", ".")
    assert message.startswith(f"Setting '{name}' ({value}, from environment): ")


def test_all_wrong_values_are_told_at_once() -> None:
    message = refusal(BATCHD_SLOTS="0", BATCHD_DRAIN_S="-1").message
    assert "'slots'" in message
    assert "'drain_s'" in message


def test_an_answer_bound_that_fills_the_window_is_refused() -> None:
    assert "leaves no room" in refusal(BATCHD_WINDOW_TOKENS_MAX="1024").message


def test_a_table_is_written_as_json_in_the_environment(tmp_path: Path) -> None:
    aliases = load(BATCHD_MODEL_ALIASES='{"gpt-4o": "smollm2:135m"}').model_aliases
    assert aliases == {"gpt-4o": "smollm2:135m"}
    assert "JSON" in refusal(BATCHD_MODEL_ALIASES="gpt-4o=smollm2").message
    assert "dictionary" in refusal(BATCHD_MODEL_ALIASES="[]").message
    file = write(
        tmp_path, "[model_aliases]\n'gpt-4o' = 'a.b/c'\n[llamacpp.models]\n'x.y' = '/models/x.gguf'\n"
    )
    assert load(file=file).model_aliases == {"gpt-4o": "a.b/c"}
    assert load(file=file).llamacpp.models == {"x.y": Path("/models/x.gguf")}


@pytest.mark.parametrize(
    ("content", "said"),
    [("slots = = 2", "not TOML"), ("ollama = 'own'", "section"), ("slots = {a = 1}", "slots")],
)
def test_a_file_that_is_not_a_configuration_is_refused(tmp_path: Path, content: str, said: str) -> None:
    assert said in refusal(file=write(tmp_path, content)).message


def test_a_file_that_is_not_there_is_refused_when_it_was_named(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(file=tmp_path / "absent.toml").message
    assert "cannot be read" in refusal(file=tmp_path).message


def test_the_systems_file_is_read_only_where_it_is(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    assert config_path(None, file) == file
    assert config_path(None, tmp_path / "absent.toml") is None
    assert config_path(Path("named"), file) == Path("named")


def test_the_spool_is_the_systems_where_systemd_made_one_else_the_users(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert default_spool({"HOME": "/h"}, tmp_path) == tmp_path
    assert default_spool({"HOME": "/h"}, absent) == Path("/h/.local/state/batchd/spool")
    assert default_spool({"HOME": "/h", "XDG_STATE_HOME": "/s"}, absent) == Path("/s/batchd/spool")
    assert default_spool({"HOME": "/h", "XDG_STATE_HOME": "s"}, absent) == Path(
        "/h/.local/state/batchd/spool"
    )


def test_a_relative_spool_is_made_absolute() -> None:
    assert load({"spool": "here"}).spool == Path.cwd() / "here"


def test_a_secret_is_masked_wherever_it_could_be_shown() -> None:
    environ = {"BATCHD_LLAMACPP__API_KEY": "hunter2", "HOME": "/h"}
    settings = load_settings({}, None, environ)
    assert settings.llamacpp.api_key is not None
    assert settings.llamacpp.api_key.get_secret_value() == "hunter2"
    shown = [repr(settings), json.dumps(settings.model_dump(mode="json")), str(sources({}, None, environ))]
    shown += [str(refusal({"llamacpp.api_key": 5, "slots": 0})), str(sources({"slots": 0}, None, environ))]
    assert not [text for text in shown if "hunter2" in text]
    assert origin("llamacpp.api_key", {"slots": 0}, None, **environ).value == "********"


def test_where_each_value_came_from_is_told_also_while_one_is_wrong() -> None:
    assert origin("slots", {}, None, BATCHD_SLOTS="0") == Origin("slots", "0", "environment")


def test_settings_are_frozen() -> None:
    settings: Any = load()
    with pytest.raises(ValidationError):
        settings.slots = 3
    with pytest.raises(ValidationError):
        settings.ollama.mode = "own"


def test_only_what_can_change_an_answer_is_part_of_the_same_batch() -> None:
    base = load().answer_settings()
    json.dumps(base)
    assert load({"request_timeout_s": 9, "slots": 9, "log_level": "debug"}).answer_settings() == base
    changes: tuple[dict[str, object], ...] = (
        {"model": "m"},
        {"strict": True},
        {"strategy": "naive"},
        {"conversation.margin": 0.5},
        {"engine": "llamacpp"},
        {"llamacpp.gguf": "/m.gguf"},
    )
    for change in changes:
        assert load(change).answer_settings() != base
    assert "api_key" not in json.dumps(load({"llamacpp.api_key": "k"}).answer_settings())


def test_a_settings_value_made_by_hand_reads_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_set: None
) -> None:
    monkeypatch.setenv("SLOTS", "7")
    monkeypatch.setenv("BATCHD_SLOTS", "7")
    assert Settings(spool=tmp_path).slots is None
    assert load_settings({}, None).slots == 7
    assert dict(load_settings({}, None))["slots"] == 7


def test_the_surroundings_are_read_as_they_are() -> None:
    around = surroundings({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "", "HOME": "/h"})
    assert (around.notify_socket, around.watchdog_usec, around.watchdog_pid) == ("@x", "5", None)
    assert around.journal_stream is None
    assert around.xdg_cache_home == Path("/h/.cache")
    assert surroundings({"XDG_CACHE_HOME": "/c"}).xdg_cache_home == Path("/c")


def test_a_batchd_of_our_own_does_not_inherit_what_the_user_has_set() -> None:
    assert without_settings({"BATCHD_ENGINE": "ollama", "HOME": "/home/nobody"}) == {"HOME": "/home/nobody"}


def test_the_page_of_settings_names_each_of_them_once() -> None:
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    named = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    flat = []
    for name, field in Settings.model_fields.items():
        is_section = isinstance(field.default, BaseModel)
        flat += [f"{name}.{inner}" for inner in type(field.default).model_fields] if is_section else [name]
    assert sorted(named) == sorted(flat)


def test_several_servers_are_named_in_a_list_or_with_commas_in_the_environment(tmp_path: Path) -> None:
    said = {"BATCHD_SPOOL": str(tmp_path), "BATCHD_OLLAMA__HOSTS": "a, http://b:80 ,", "OLLAMA_HOST": "c"}
    ollama = load_settings({}, None, said).ollama
    assert ollama.hosts == ("http://a:11434", "http://b:80")
    file = tmp_path / "batchd.toml"
    file.write_text('[ollama]\ngpus = ["0", "GPU-5fd1bf71-9b1e"]\n')
    ollama = load_settings({"spool": tmp_path}, file, {}).ollama
    assert (ollama.gpus, ollama.hosts) == (("0", "GPU-5fd1bf71-9b1e"), ())
    shown = {origin.name: origin.value for origin in sources({}, None, said)}
    assert shown["ollama.hosts"] == "http://a:11434, http://b:80"
    assert shown["ollama.gpus"] == "-"


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"hosts": ["a"], "host": "b"}, "host and hosts are both set"),
        ({"hosts": ["a"], "mode": "own"}, "mode own asks for servers of our own"),
        ({"hosts": ["a"], "gpus": ["0"]}, "gpus asks for servers of our own"),
        ({"gpus": ["0"], "mode": "attach"}, "mode attach for none"),
        ({"hosts": ["a", "http://a:11434"]}, "is named twice"),
        ({"gpus": ["first"]}, "is no card"),
    ],
)
def test_servers_that_contradict_each_other_are_refused(
    tmp_path: Path, chosen: dict[str, object], said: str
) -> None:
    flags = {"spool": tmp_path, **{f"ollama.{name}": value for name, value in chosen.items()}}
    with pytest.raises(ConfigError, match=said):
        load_settings(flags, None, {})


def test_the_servers_do_not_make_another_batch(tmp_path: Path) -> None:
    one = load_settings({"spool": tmp_path, "ollama.hosts": "a,b"}, None, {})
    other = load_settings({"spool": tmp_path, "ollama.hosts": "b,a"}, None, {})
    assert one.answer_settings() == other.answer_settings()
