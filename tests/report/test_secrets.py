"""Secrets in commands."""

from __future__ import annotations

import pytest

from hotlap.report.secrets import mask


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
