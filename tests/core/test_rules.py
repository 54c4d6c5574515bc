from batchd.core.rules import Rules


def test_each_line_is_answered_by_the_model_it_names() -> None:
    assert Rules(slots=1).served_model("llama3") == "llama3"


def test_an_alias_stands_for_a_model_here() -> None:
    rules = Rules(slots=1, model_aliases={"gpt-4o-mini": "smollm2:135m"})
    assert rules.served_model("gpt-4o-mini") == "smollm2:135m"
    assert rules.served_model("llama3") == "llama3"


def test_one_model_for_all_lines_wins_over_aliases() -> None:
    rules = Rules(slots=1, model="qwen3", model_aliases={"gpt-4o-mini": "smollm2:135m"})
    assert rules.served_model("gpt-4o-mini") == "qwen3"
