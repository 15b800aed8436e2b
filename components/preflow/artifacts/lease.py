"""A lease in an object store: of processes that want to write below the same name, one at a time does.

It needs no conditional writes (not every store has them), only that what is written is seen at once, in lists too, as every
S3 store grants. A claim is an object of its own, `<name>/<owner>.<random>.since`, written once: the time the store gives it is
the claim's place in the queue. Whoever finds no living claim before its own holds the lease, and says so with a second object,
`.beat`, written again and again. Only the store's clock is ever compared with itself. To take a claim over is to delete it: its
process, if there is one, finds it gone at the next beat.

Numbers: a beat every 10 s costs two small requests. A claim without a beat for 45 s is dead: three beats may be lost to a slow
store, and who waits for a lost node does so for less than a minute. A holder stops to count itself one after 35 s without a
beat, so that it has stopped before anybody else begins. A claim waits 3 s before it looks around, twice what its writing may
take: then no claim with an earlier time can still be on its way, and clocks of a store's nodes may differ by a second.
"""

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from preflow.artifacts.bucket import Bucket
from preflow.errors import BucketError

BEAT_SECONDS, DEAD_SECONDS, SURE_SECONDS = 10.0, 45.0, 35.0
SETTLE_SECONDS, WRITE_SECONDS = 3.0, 1.5
LEAVE_SECONDS = 5.0


@dataclass(frozen=True)
class Claim:
    """A claim as the store shows it: when it was made, when it was last heard of, whether it says that it holds."""

    owner: str
    random: str
    since: float
    heard: float
    holds: bool

    @property
    def name(self) -> str:
        return f"{self.owner}.{self.random}"

    @property
    def place(self) -> tuple[float, str]:
        return self.since, self.random


class Lease:
    """The lease on `name`, for `owner`, which never works twice at once: what an earlier process of it claimed is taken over.

    `keep` tries to take it, and goes on trying, or beating, beside the work; `tell` is told what changes.
    """

    def __init__(self, bucket: Bucket, name: str, owner: str, tell: Callable[[str], None] = lambda text: None):
        assert "/" not in owner, owner
        self.bucket, self.name, self.owner, self.tell = bucket, name, owner, tell
        self.claim: str | None = None
        self._heard = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="lease")

    @property
    def held(self) -> bool:
        """Whether this process holds the lease, for all that anybody else can know."""
        return self.claim is not None and time.monotonic() - self._heard < SURE_SECONDS

    def keep(self) -> bool:
        """Try to take the lease now, and keep at it until `release`; whether it is held. Raises BucketError."""
        self._take(first=True)
        self._thread.start()
        return self.held

    def release(self) -> None:
        """Let others have it, at once if the store answers."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(LEAVE_SECONDS)
        claim, self.claim = self.claim, None
        if claim:
            with suppress(BucketError):
                self._delete(claim)

    def _work(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            held = self.claim is not None
            try:
                self._beat() if held else self._take()
            except BucketError as error:
                if held and not self.held:
                    self.claim = None
                    self.tell(f"the lease is lost: {error}")
                continue
            if held and self.claim is None:
                self.tell("the lease is lost: another run took it")
            elif not held and self.claim is not None:
                self.tell("the lease is taken")

    def _take(self, first: bool = False) -> None:
        """Stand in the queue, look around, and stay if nobody is before. At `first`, the owner's own are former ones; later
        they are of a process that took over."""
        claim = f"{self.owner}.{secrets.token_hex(8)}"
        begun = time.monotonic()
        self.bucket.write(f"{self.name}/{claim}.since", b"")
        try:
            if time.monotonic() - begun < WRITE_SECONDS and not self._over.wait(SETTLE_SECONDS):
                dead = self._behind(claim, first)
                if dead is not None:
                    self._write_beat(claim)
                    self.claim = claim
                    for each in dead:
                        self._delete(each)
        finally:
            if self.claim is None:
                self._delete(claim)

    def _behind(self, claim: str, first: bool) -> list[str] | None:
        """The claims that may be deleted, if this one is the first of the living; else None."""
        claims, rest = self._claims()
        mine = next((each for each in claims if each.name == claim), None)
        if mine is None:  # somebody tidied up
            return None
        dead = list(rest)
        for each in claims:
            earlier = each.place < mine.place
            own = each.owner == self.owner
            if each.heard < mine.since - DEAD_SECONDS or (first and own and earlier):
                dead.append(each.name)
            elif each is not mine and (each.holds or earlier or own):
                return None
        return dead

    def _claims(self) -> tuple[list[Claim], list[str]]:
        """The claims, and the names of those of which only a beat is left."""
        times: dict[str, dict[str, float]] = {}
        for entry in self.bucket.entries(self.name):
            claim, _, kind = entry.name.removeprefix(f"{self.name}/").rpartition(".")
            times.setdefault(claim, {})[kind] = entry.modified
        claims, whole = [], set()
        for name, found in times.items():
            owner, _, random = name.rpartition(".")
            if owner and "since" in found:
                whole.add(name)
                claims.append(Claim(owner, random, found["since"], max(found.values()), "beat" in found))
        return claims, [name for name in times if name not in whole]

    def _beat(self) -> None:
        assert self.claim is not None
        if self.bucket.exists(f"{self.name}/{self.claim}.since"):
            self._write_beat(self.claim)
        else:
            self.claim = None

    def _write_beat(self, claim: str) -> None:
        begun = time.monotonic()
        self.bucket.write(f"{self.name}/{claim}.beat", b"")
        self._heard = begun

    def _delete(self, claim: str) -> None:
        for kind in ("since", "beat"):
            self.bucket.delete(f"{self.name}/{claim}.{kind}")
