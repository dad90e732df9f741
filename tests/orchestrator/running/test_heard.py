"""What a step is told is read once, however often its row is seen."""

from orchestrator.kinds.contract import Signal
from orchestrator.places import TaskId
from orchestrator.running.heard import Heard

A, B = TaskId("a"), TaskId("b")
YES, NO = Signal("ann", 1, True), Signal("ann", 2, False)


def test_a_row_that_is_being_read_is_not_heard_again() -> None:
    """Else the next round of the step would take an old answer for its own."""
    heard = Heard({})
    assert heard.hear({A: YES})
    assert heard.take(A) == YES
    assert not heard.hear({A: YES})
    assert A not in heard
    assert not heard.hear({})
    assert heard.hear({A: NO})
    assert heard.take(A) == NO


def test_the_next_row_of_a_step_is_heard_once_the_one_before_was_read() -> None:
    """Also where nobody has looked between the two."""
    heard = Heard({A: NO})
    assert heard.take(A) == NO
    heard.forget(A)
    assert heard.hear({A: YES})
    assert heard.take(A) == YES


def test_what_was_told_before_is_taken_once() -> None:
    heard = Heard({A: YES})
    assert not heard.hear({A: YES})
    assert heard.take(A) == YES
    assert heard.take(A) is None


def test_one_step_s_answer_is_not_another_s() -> None:
    heard = Heard({})
    heard.hear({A: YES})
    assert heard.take(B) is None
    assert heard.hear({A: YES, B: NO})
    assert (heard.take(A), heard.take(B)) == (YES, NO)


def test_what_came_too_late_is_forgotten_with_its_row() -> None:
    """It is no answer to what its step asks next."""
    heard = Heard({})
    heard.hear({A: YES})
    heard.forget(A)
    assert heard.take(A) is None
