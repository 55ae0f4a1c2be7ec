"""Passwords: hashes with their parameters, and what a password must be."""

from __future__ import annotations

import base64
import hashlib

import pytest

from studio.services import passwords
from studio.services.errors import UsageError
from studio.services.passwords import Cost

CHEAP = Cost(n=16, r=1, p=1)


def test_a_hash_carries_its_parameters_and_a_salt_of_its_own() -> None:
    stored = passwords.hash_password("correct horse", CHEAP)
    scheme, parameters, salt, key = stored.split("$")
    assert (scheme, parameters) == ("scrypt", "n=16,r=1,p=1")
    expected = hashlib.scrypt(
        b"correct horse", salt=base64.b64decode(salt), n=16, r=1, p=1, dklen=32
    )
    assert base64.b64decode(key) == expected
    assert passwords.hash_password("correct horse", CHEAP) != stored


def test_the_right_password_matches_whatever_its_parameters_and_no_other_does() -> None:
    for cost in (CHEAP, Cost(n=32, r=2, p=1)):
        stored = passwords.hash_password("correct horse", cost)
        assert passwords.matches("correct horse", stored)
        assert not passwords.matches("Correct horse", stored)
        assert not passwords.matches("", stored)


def test_todays_parameters_are_not_outdated_and_yesterdays_are() -> None:
    assert passwords.is_outdated(passwords.hash_password("correct horse", CHEAP))
    assert not passwords.is_outdated(passwords.hash_password("correct horse", CHEAP), CHEAP)
    assert Cost() == Cost(n=2**15, r=8, p=3)


def test_an_accent_is_the_same_however_it_was_typed() -> None:
    stored = passwords.hash_password("caf\u00e9 au lait", CHEAP)
    assert passwords.matches("cafe\u0301 au lait", stored)


def test_a_password_beyond_all_bounds_costs_no_more_than_others() -> None:
    assert not passwords.matches("x" * 10_000_000, passwords.hash_password("correct horse", CHEAP))


@pytest.mark.parametrize(
    ("password", "part"),
    [
        ("short", "5 characters"),
        ("", "0 characters"),
        ("x" * 1001, "1001 characters"),
        ("ababababab", "over and over"),
        ("Mara Muster", "user name"),
        ("mara muster123", "user name"),
        ("ＭＡＲＡ muster", "user name"),
    ],
)
def test_what_a_password_must_not_be(password: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        passwords.check_rules(password, "Mara Muster")


def test_generated_passwords_keep_the_rules_and_differ() -> None:
    made = {passwords.generate() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        passwords.check_rules(password, "mara")
