"""What the wait for a batch is made of, by the means of its parts.

    in a worker     samples ── collate ── send ──┐      so many of them side by side
    in a step       wait ────────────── receive ─┴─ the rest of the step: the workers' next batches are made meanwhile

The workers keep up where making a batch, shared by all of them, takes no longer than the rest of a step.
"""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.fetching import most_workers
from hotlap.diagnose.thresholds import (
    FETCH_TINY,
    HEAD_OF_LINE,
    LARGE_BATCH,
    SLOWEST_WAY,
    WAY_SHARE,
    WORKER_HANDOVER,
    WORKERS_COUNTED,
)
from hotlap.workers import to_keep_up


def wait(context: Context) -> float:
    """Mean wait for a batch without what the starts of the loader took, which LOOP05 is about."""
    return max(0.0, context.exposed("data_wait") - context.start_wait)


def workers_cost_more(context: Context) -> bool:
    if fetch_is_tiny(context):
        return True
    wanted = workers_to_keep_up(context)
    workers = context.facts.workers or 0
    return workers > most_workers(context.facts, context.cores) and (wanted is None or wanted <= workers)


def fetch_is_tiny(context: Context) -> bool:
    fetch = context.facts.fetch_seconds
    return fetch is not None and fetch * context.micro_batches < FETCH_TINY * wait(context)


def workers_to_keep_up(context: Context) -> int | None:
    """Workers that make as many batches as the training takes when it never waits; None where unknown."""
    fetch, busy = context.facts.fetch_seconds, _busy(context)
    if fetch is None or busy * WORKERS_COUNTED <= fetch * context.micro_batches:
        return None
    return to_keep_up(fetch * context.micro_batches, busy) if busy > 0 else None


def way(context: Context) -> float | None:
    """Seconds from the samples in a worker to the batch in the training; None where not all of it is known.

    Torch's own collate writes into new shared memory. What a script's own one does is making the batch.
    """
    facts = context.facts
    collate, send = facts.fetch_collate_seconds, facts.send_seconds
    if collate is None or send is None:
        return None
    return (collate if facts.dataset.stacked else 0.0) + send + (facts.receive_seconds or 0.0)


def saved_on_the_way(context: Context) -> float | None:
    """Seconds of the wait that are there because of the bytes of a batch; None where they are not most of it."""
    facts, waited, moved = context.facts, wait(context), way(context)
    fetch, size, send = facts.fetch_seconds, facts.sent_bytes, facts.send_seconds
    if not facts.workers or moved is None or fetch is None or size is None or send is None:
        return None
    made = max(0.0, fetch + send + (facts.receive_seconds or 0.0) - moved)
    # What takes longer for its bytes than any memory, and not for want of a core, is something that is computed.
    without_core = min(facts.fetch_queue_seconds or 0.0, moved)
    if size < LARGE_BATCH or moved <= made or size < SLOWEST_WAY * (moved - without_core):
        return None
    received = (facts.receive_seconds or 0.0) * context.micro_batches
    if facts.pin_memory:  # in a thread of its own
        received = max(0.0, received - _busy(context))
    if _behind(context, fetch + send) + received < WAY_SHARE * waited:
        return None
    return max(0.0, waited - _behind(context, made) - WORKER_HANDOVER * context.micro_batches)


def saved_by_any_order(context: Context) -> float | None:
    """Seconds of the wait for one batch while later ones are ready; None where they are not most of it."""
    facts, waited = context.facts, wait(context)
    if facts.head_of_line_share is None or facts.fetch_seconds is None or workers_cost_more(context):
        return None
    # Workers that are too slow together are waited for in any order.
    # What a batch needs from its worker to the training, it needs in any order.
    handed = (0.0 if facts.pin_memory else facts.receive_seconds or 0.0) + WORKER_HANDOVER
    idle = max(0.0, waited - handed * context.micro_batches)
    saved = min(facts.head_of_line_share * idle, idle - _behind(context, facts.fetch_seconds))
    return saved if saved > 0 and saved >= HEAD_OF_LINE * waited else None


def _busy(context: Context) -> float:
    return context.mean - context.seconds("data_wait")


def _behind(context: Context, seconds: float) -> float:
    """By how much the workers fall behind in each step, if making a batch takes one of them so long."""
    return max(0.0, seconds * context.micro_batches / max(1, context.facts.workers or 0) - _busy(context))
