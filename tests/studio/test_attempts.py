"""How often one may try to sign in, on a clock of the test's own."""

from __future__ import annotations

from studio.attempts import Attempts, Limit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(clock: Clock) -> Attempts:
    return Attempts(clock=clock, per_name=Limit(3, 60), per_address=Limit(5, 60))


def test_a_name_has_so_many_attempts_and_the_wait_is_told() -> None:
    clock = Clock()
    attempts = make(clock)
    for address in ("1.1.1.1", "2.2.2.2", "3.3.3.3"):
        assert attempts.begin("mara", address) == 0
        clock.now += 10
    assert attempts.begin("mara", "4.4.4.4") == 30
    assert attempts.begin("bo", "4.4.4.4") == 0
    clock.now += 29
    assert attempts.begin("mara", "4.4.4.4") == 1
    # Asking while one waits has not made it longer.
    clock.now += 1
    assert attempts.begin("mara", "4.4.4.4") == 0
    assert attempts.begin("mara", "4.4.4.4") == 10


def test_an_address_has_so_many_attempts_whatever_the_name() -> None:
    clock = Clock()
    attempts = make(clock)
    for number in range(5):
        assert attempts.begin(f"name {number}", "1.1.1.1") == 0
    assert attempts.begin("another", "1.1.1.1") == 60
    assert attempts.begin("another", "1.1.1.2") == 0


def test_the_addresses_of_one_ipv6_network_count_as_one() -> None:
    attempts = make(Clock())
    for number in range(5):
        assert attempts.begin(None, f"2001:db8:1:2::{number}") == 0
    assert attempts.begin(None, "2001:db8:1:2:ffff::9") > 0
    assert attempts.begin(None, "2001:db8:1:3::1") == 0


def test_success_forgives_the_name_and_does_not_use_up_an_offices_address() -> None:
    attempts = make(Clock())
    for number in range(50):
        assert attempts.begin(f"person {number}", "1.1.1.1") == 0
        attempts.succeeded(f"person {number}", "1.1.1.1")
    for _ in range(2):
        attempts.begin("mara", "2.2.2.2")
    attempts.succeeded("mara", "2.2.2.2")
    for _ in range(3):
        assert attempts.begin("mara", "3.3.3.3") == 0


def test_attempts_count_when_they_begin_so_that_a_thousand_at_once_are_not_let_in() -> None:
    attempts = make(Clock())
    let_in = sum(attempts.begin("mara", f"9.9.{n // 250}.{n % 250}") == 0 for n in range(1000))
    assert let_in == 3


def test_old_attempts_are_forgotten_and_memory_with_them() -> None:
    clock = Clock()
    attempts = Attempts(clock=clock, per_name=Limit(3, 60), per_address=Limit(10**6, 60))
    for number in range(20_001):
        attempts.begin(f"name {number}", "1.1.1.1")
    clock.now += 61
    attempts.begin("one more", "1.1.1.1")
    assert len(attempts._times) == 2
