"""The log of one server of several names it."""

from loguru import logger

from batchd.daemon.voice import voice


def test_a_server_with_a_name_says_it_first_and_one_without_says_nothing_of_it() -> None:
    said: list[str] = []
    sink = logger.add(lambda message: said.append(message.record["message"]), format="{message}")
    try:
        voice("http://a:1").bind(event="x").info("model {} ready", "m")
        voice("").bind(event="x").info("model {} ready", "{m}")
        voice("gpu:0").info("{}", "{user} text")
    finally:
        logger.remove(sink)
    assert said == ["http://a:1: model m ready", "model {m} ready", "gpu:0: {user} text"]
