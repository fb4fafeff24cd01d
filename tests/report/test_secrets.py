"""Secrets in commands."""

from __future__ import annotations

import pytest

from hotlap.report.secrets import mask, mask_prose


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--api-key=abc"], ["--api-key=***"]),
        (["--api_key", "abc"], ["--api_key", "***"]),
        (["--wandbApiKey", "abc"], ["--wandbApiKey", "***"]),
        (["--token", "-abc"], ["--token", "***"]),
        (["--password", "--debug"], ["--password", "--debug"]),
        (["wandb.api_key=abc"], ["wandb.api_key=***"]),
        (["+logger.password=abc"], ["+logger.password=***"]),
        (["HF_TOKEN=abc"], ["HF_TOKEN=***"]),
        (["--url", "https://me:abc@host/x"], ["--url", "https://me:***@host/x"]),
        (["--x", "hf_abcdefghijklmnopqrstuvwx"], ["--x", "***"]),
        (
            ["bash", "-c", "train --password 'abc' --lr 1 K_TOKEN=abc"],
            ["bash", "-c", "train --password '***' --lr 1 K_TOKEN=***"],
        ),
        (['{"api_key": "abc", "lr": 1}'], ['{"api_key": "***", "lr": 1}']),
    ],
)
def test_secrets_are_masked(words: list[str], shown: list[str]) -> None:
    """The value of whatever is called a key, token or password is replaced, however it is written."""
    assert mask(words) == shown


@pytest.mark.parametrize(
    "words",
    [
        ["--tokenizer", "gpt2"],
        ["--max-tokens", "512"],
        ["--tokens-per-batch=4096"],
        ["--pad_token=<pad>"],
        ["--num-tokens", "7"],
        ["--keyframes", "8"],
        ["--author=me"],
        ["the token embedding"],
        ["data.key_column=image"],
        [],
    ],
)
def test_ordinary_words_stay(words: list[str]) -> None:
    """Words that only look related keep their values, because a command should be reproducible."""
    assert mask(words) == words


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("it sets HF_TOKEN=abc, and goes on", "it sets HF_TOKEN=*** and goes on"),
        ("cannot reach https://me:abc@host/x", "cannot reach https://me:***@host/x"),
        ("key hf_abcdefghijklmnopqrstuvwx was refused", "key *** was refused"),
        ("the token: 5 of 7", "the token: 5 of 7"),
        ("num_workers=2, tokens_per_batch=4096", "num_workers=2, tokens_per_batch=4096"),
        ("3 auth tokens; password is wrong", "3 auth tokens; password is wrong"),
    ],
)
def test_sentences_lose_what_can_only_be_a_secret(words: str, shown: str) -> None:
    """In a sentence a word is no name of an option, so only what is written as a value is hidden."""
    assert mask_prose(words) == shown
