from batchd.core.fault import TOLD_CHARS_MAX, Category, ModelFault


def test_what_is_told_of_a_fault_is_its_beginning_and_masked_where_a_prompt_was_sent() -> None:
    fault = ModelFault(Category.SERVER, "y" * 1_000, is_temporary=True)
    assert fault.told == "y" * TOLD_CHARS_MAX
    sent = ModelFault(Category.SERVER, "cannot parse Zebulon", is_temporary=True, masked="cannot parse ***")
    assert sent.told == "cannot parse ***"
