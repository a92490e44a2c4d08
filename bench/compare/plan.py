"""What is run in which order, and how long that takes: rounds, open loop, idle connections."""

import dataclasses

from measure import warmup_seconds
from scenario import Case
from subject import Subject

OPEN_LOOP_CASE = "plaintext@64"
OPEN_LOOP_SHARES = (0.3, 0.6, 0.8)
SWEEP_SHARES = (0.2, 0.5, 0.8, 0.95, 1.1)
# Where a server stops keeping up is a picture, not a claim: its spread is worth no hour.
SWEEP_ROUNDS_MAX = 2
# Beside the load itself: the warm-up of the open loop's tool, the end of a server, 10,000
# connections one after the other.
OPEN_LOOP_SECONDS = 0.7
STOP_SECONDS = 0.2
IDLE_SECONDS = 3.0


@dataclasses.dataclass
class Step:
    """One start of one server, and what is measured of it.

    `kind` is "closed", "shared" (open loop, all at the same rate), "own" (open loop, at a share of
    the subject's own capacity) or "idle".
    """

    kind: str
    subject: Subject
    case: Case | None = None
    round: int = 1
    share: float = 0

    @property
    def key(self) -> tuple:
        """What names this step in the results."""
        case = self.case.name if self.case else ""
        return (self.kind, self.subject.name, case, self.round, self.share)

    @property
    def group(self) -> str:
        """What a reader of the progress calls this step and its neighbours."""
        if self.kind == "idle":
            return "idle connections"
        words = f"round {self.round}, {self.case.label}"
        if self.kind == "closed":
            return words
        whose = "the slowest one's" if self.kind == "shared" else "each one's own"
        return f"{words}, open loop at {self.share:.0%} of {whose} capacity"

    def seconds(self, run_seconds: float) -> float:
        """About how long it takes."""
        base = self.subject.startup_seconds + STOP_SECONDS
        if self.kind == "idle":
            return base + IDLE_SECONDS
        run_seconds = self.case.seconds(run_seconds)
        extra = OPEN_LOOP_SECONDS if self.kind != "closed" else 0
        return base + warmup_seconds(run_seconds) + run_seconds + extra


def steps(subjects: list, cases: list, rounds: int, is_quick: bool, has_open_loop: bool) -> list:
    """All steps in their order.

    Interleaved: a disturbance of the machine meets all subjects alike, not one of them.
    """
    planned = [
        Step("closed", subject, case, number)
        for number in range(1, rounds + 1)
        for case in cases
        for subject in subjects
        if can(subject, case)
    ]
    opened = [case for case in cases if has_open_loop and case.name == OPEN_LOOP_CASE]
    shares = [("shared", share) for share in OPEN_LOOP_SHARES]
    shares += [("own", share) for share in SWEEP_SHARES]
    if is_quick:
        shares, rounds = shares[1:2], 1
    planned += [
        Step(kind, subject, case, number, share)
        for case in opened
        for number in range(1, rounds + 1)
        for kind, share in shares
        if kind == "shared" or number <= SWEEP_ROUNDS_MAX
        for subject in subjects
        if can(subject, case)
    ]
    return planned + [Step("idle", subject) for subject in subjects]


def can(subject: Subject, case: Case) -> bool:
    return all(need in subject.answers for need in case.needs)


def duration(seconds: float) -> str:
    """As a person waits for it."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
