"""What an operator can set of the data plane."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """What requests may be, how refusals look, and how long things may take.

    Refusals: `refusal_status` (400 to 499) answers an exhausted budget; 400 suits Codex.
    Sizes: `body_bytes_max` of a request, `answer_bytes_max` of an answer that is not streamed.
    Output: `output_tokens_default` stands for a cap that nobody sent, `output_tokens_least` is the
    least that a clamped grant may have.
    Routes: with `learn_bounds` a route that bills more than its bound is reserved for at more, and
    `probation_concurrency` requests at once of one that is new may run (0: any number).
    Failures: `retry_unknown` tries again what may have worked at the provider, which is paid twice.
    Waiting: `wait_ms` bounds how long a request waits for others to end that hold its budget.
    Answers: `usage_cost` writes `usage.cost` into them.
    Replays: of the answers to requests with an Idempotency-Key a worker keeps `replay_answers_max`
    at most, of `replay_bytes_max` together and `replay_answer_bytes_max` each.
    Keys: `minted_keys_max` bounds how many a key that delegates may have below it at once.
    Times: `drain_ms` bounds how long a worker waits for requests in flight when it stops;
    `connect_timeout_ms`, `first_byte_timeout_ms` and `idle_timeout_ms` bound one upstream request
    (see `gateway.upstream.Timeouts`), unless its model says otherwise."""

    refusal_status: int = 402
    body_bytes_max: int = 8 * 1024 * 1024
    answer_bytes_max: int = 64 * 1024 * 1024
    output_tokens_default: int = 8_192
    output_tokens_least: int = 1_024
    learn_bounds: bool = True
    probation_concurrency: int = 4
    usage_cost: bool = True
    retry_unknown: bool = False
    wait_ms: int = 2_000
    replay_answers_max: int = 1_000
    replay_bytes_max: int = 16 * 1024 * 1024
    replay_answer_bytes_max: int = 1024 * 1024
    minted_keys_max: int = 1_000
    drain_ms: int = 30_000
    connect_timeout_ms: int = 10_000
    first_byte_timeout_ms: int = 600_000
    idle_timeout_ms: int = 120_000
