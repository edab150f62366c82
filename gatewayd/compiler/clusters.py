"""The clusters that routes ask for, kept from one compilation to the next.

A cluster exists because a route names it. Two routes that mean the same service, port and subset share
one, under Istio's name ``outbound|<port>|<subset>|<host>`` (semantics 17.3).

Whoever asks is noted with what was asked. So when services or DestinationRules change, only the questions about their
hosts are asked again, and only whoever got another answer has to know; a cluster that nobody asks for any more goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from gatewayd.compiler.complaints import Complaints, Place
from gatewayd.compiler.destinations import Answer, DestinationCompiler, Question
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.names import covers
from gatewayd.compiler.problems import Problem
from gatewayd.compiler.upstream_tls import BYTES, REQUESTS, UpstreamTlsCompiler
from gatewayd.policies.hash_policy import HashPolicy
from gatewayd.upstream.spec import ClusterSpec

#: A route, or whatever else asks for clusters.
Asker = Hashable
Adopt = Callable[[ClusterSpec], Any]


@dataclass(frozen=True, slots=True)
class Target:
    """What a destination came to. ``cluster`` None: 503 NC (6.1.2)."""

    cluster: Any
    name: str
    host: str
    port: int
    problem: Problem | None = None
    #: what of a request the route hashes for it (9.6)
    hashing: HashPolicy | None = None


@dataclass(slots=True, eq=False)
class _Known:
    """A question that was asked."""

    answer: Answer
    #: REQUESTS or BYTES, as the answer takes it
    carries: str
    target: Target
    #: who asks; true: for requests
    askers: dict[Asker, bool] = field(default_factory=dict)
    #: what routes have in common that go there
    shared: Any = None


class Clusters:
    """What is asked for, and what it comes to. ``adopting`` makes the objects that routes hold."""

    def __init__(self, compiler: DestinationCompiler, tls: UpstreamTlsCompiler, report: Reporter) -> None:
        self._compiler = compiler
        self._tls = tls
        self._report = report
        self._adopt: Adopt = lambda spec: spec
        self._known: dict[Question, _Known] = {}
        self._by_host: dict[str, set[Question]] = {}
        self._unknown: set[Question] = set()
        #: clusters by name: the questions they answer, of which the least makes the cluster where they differ
        self._clusters: dict[str, set[Question]] = {}
        self._specs: dict[str, ClusterSpec] = {}
        self._adopted: dict[str, Any] = {}
        #: those whose object is not good any more
        self._void: set[str] = set()
        self._asked: dict[Asker, set[Question]] = {}
        self._asker: Asker = None
        self._asked_now: set[Question] = set()
        #: whose askers or answer changed, so that they have to be looked at before all is settled
        self._loose: set[Question] = set()
        self._unsettled: set[str] = set()
        self._complaints = Complaints(report)
        #: those that TLS leads to, by name
        self._with_tls: dict[str, Answer] = {}
        #: questions that were answered by compiling, in all
        self.answered = 0

    # Asking

    @contextmanager
    def asking(self, asker: Asker) -> Iterator[None]:
        """What is asked for inside is asked by ``asker``, for all that it asked before."""
        self.forget(asker)
        before = self._asker, self._asked_now
        self._asker, self._asked_now = asker, set()
        try:
            yield
        finally:
            if self._asked_now:
                self._asked[asker] = self._asked_now
            self._asker, self._asked_now = before

    def forget(self, asker: Asker) -> None:
        """``asker`` is gone."""
        for asked in self._asked.pop(asker, ()):
            known = self._known[asked]
            del known.askers[asker]
            if known.target.problem is not None:
                self._complaints.withdraw(asked, asker)
            self._loose.add(asked)

    def target(self, asked: Question, place: Place) -> Target:
        """The cluster of a destination (6.1.1); ``place`` is the field that names it."""
        known = self._known.get(asked)
        if known is None:
            known = self._learn(asked, BYTES if place.raw else REQUESTS)
        self._note(asked, known, requests=not place.raw)
        problem = known.target.problem
        if problem is not None:
            self._complaints.file(asked, problem, self._asker, place)
        return known.target

    def shared(self, asked: Question) -> Any:
        """What was made of the target for requests that need nothing of their own (:meth:`share`); it counts as asked.

        None: nothing yet, or there is a problem of which whoever asks is to be told.
        """
        known = self._known.get(asked)
        if known is None or known.shared is None:
            return None
        self._note(asked, known, requests=True)
        return known.shared

    def share(self, asked: Question, made: Any) -> None:
        """Keep ``made`` as long as the target is the same."""
        known = self._known[asked]
        if known.target.problem is None:
            known.shared = made

    def _note(self, asked: Question, known: _Known, *, requests: bool) -> None:
        if asked not in self._asked_now:
            self._asked_now.add(asked)
            if requests and not any(known.askers.values()):
                self._loose.add(asked)
            known.askers[self._asker] = requests

    def hashing(self, asked: Question) -> HashPolicy | None:
        """What is hashed for a destination whose target was asked for before (9.6)."""
        return self._known[asked].target.hashing

    # Answering

    def _learn(self, asked: Question, carries: str) -> _Known:
        answer = self._compile(asked, carries)
        known = self._known[asked] = _Known(answer, carries, Target(None, "", "", 0))
        self._file(asked, answer)
        known.target = self._target(answer)
        self._loose.add(asked)
        return known

    def _compile(self, asked: Question, carries: str) -> Answer:
        self.answered += 1
        with self._report.by(("destination", asked)):  # about its endpoints, tunnel, ...
            return self._compiler.answer(asked, carries)

    def _file(self, asked: Question, answer: Answer) -> None:
        for host in answer.hosts:
            self._by_host.setdefault(host, set()).add(asked)
        if answer.spec is None and answer.service is None:
            self._unknown.add(asked)
        if answer.spec is None:
            return
        if answer.name not in self._clusters:
            self._clusters[answer.name] = set()
            self._specs[answer.name] = answer.spec
            self._adopted[answer.name] = self._adopt(answer.spec)
        self._clusters[answer.name].add(asked)
        self._unsettled.add(answer.name)

    def _unfile(self, asked: Question, answer: Answer) -> None:
        for host in answer.hosts:
            questions = self._by_host[host]
            questions.discard(asked)
            if not questions:
                del self._by_host[host]
        self._unknown.discard(asked)
        if answer.spec is not None:
            self._clusters[answer.name].discard(asked)
            self._unsettled.add(answer.name)

    def _target(self, answer: Answer) -> Target:
        adopted = self._adopted[answer.name] if answer.spec is not None else None
        return Target(adopted, answer.name, answer.host, answer.port, answer.problem, answer.hashing)

    # Between compilations

    def refresh(self, hosts: set[str], patterns: set[str], *, known_hosts_changed: bool) -> None:
        """Ask again about ``hosts``, whose services have changed, and about those that ``patterns`` cover."""
        dirty: set[Question] = set(self._unknown) if known_hosts_changed else set()
        for host in hosts | patterns:
            dirty |= self._by_host.get(host, _NONE)
        wildcards = [pattern for pattern in patterns if pattern.startswith("*")]
        if wildcards:
            for host, questions in self._by_host.items():
                if any(covers(wildcard, host) for wildcard in wildcards):
                    dirty |= questions
        for asked in dirty:
            self._ask_again(asked, self._known[asked].carries)

    def void(self, names: Iterable[str]) -> None:
        """The objects of these clusters are not good any more: whoever adopted them has let them go."""
        for name in names:
            if name in self._clusters:
                self._void.add(name)
                self._unsettled.add(name)

    def _ask_again(self, asked: Question, carries: str) -> None:
        known = self._known[asked]
        self._unfile(asked, known.answer)
        known.answer, known.carries = self._compile(asked, carries), carries
        self._file(asked, known.answer)
        self._loose.add(asked)

    def settle(self) -> set[Question]:
        """Put every cluster in order; the questions that have another answer than when they were asked.

        Whoever asked them (:meth:`askers`) has to ask again, and this be called again, until there are none.
        """
        for asked in [each for each in self._loose if not self._known[each].askers]:
            self._drop(asked)
        for asked in self._loose:
            known = self._known[asked]
            if known.answer.spec is not None:
                self._unsettled.add(known.answer.name)
        touched: set[Question] = set()
        while self._unsettled:
            touched |= self._settle_one(self._unsettled.pop())
        touched |= self._loose
        self._loose.clear()
        changed: set[Question] = set()
        for asked in touched:
            known = self._known[asked]
            target = self._target(known.answer)
            if target != known.target:
                known.target = target
                known.shared = None
                self._complaints.void(asked)
                changed.add(asked)
        return changed

    def _drop(self, asked: Question) -> None:
        known = self._known.pop(asked)
        self._loose.discard(asked)
        self._unfile(asked, known.answer)
        self._complaints.void(asked)
        self._report.forget(("destination", asked))

    def _settle_one(self, name: str) -> set[Question]:
        """The questions whose target may be another now."""
        questions = self._clusters.get(name)
        if questions is None:
            return set()
        if not questions:
            for known in (self._clusters, self._specs, self._adopted):
                del known[name]
            self._with_tls.pop(name, None)
            self._void.discard(name)
            self._report.forget(("tls towards", name))
            return set()
        requests = [each for each in questions if any(self._known[each].askers.values())]
        maker = min(requests or questions)
        carries = REQUESTS if requests else BYTES
        if self._known[maker].carries != carries and not maker.by_sni:
            self._ask_again(maker, carries)
        answer = self._known[maker].answer
        assert answer.spec is not None
        self._note_tls(name, answer)
        before, self._specs[name] = self._specs[name], answer.spec
        adopted = self._adopted[name]
        if answer.spec != before or name in self._void:
            self._void.discard(name)
            self._adopted[name] = self._adopt(answer.spec)
        return set(questions) if self._adopted[name] is not adopted else set()

    def askers(self, questions: Iterable[Question]) -> list[Asker]:
        """Who asked, each once."""
        return list(dict.fromkeys(asker for asked in questions for asker in self._known[asked].askers))

    def adopting(self, adopt: Adopt) -> None:
        """``adopt`` makes the objects of clusters from now on."""
        self._adopt = adopt

    # The result

    @property
    def specs(self) -> dict[str, ClusterSpec]:
        """By name."""
        return self._specs.copy()

    @property
    def adopted(self) -> dict[str, Any]:
        """The objects routes hold, by name."""
        return self._adopted.copy()

    def review(self) -> None:
        """Say what is wrong with destinations, and with the credentials that lead there."""
        self._complaints.review()
        now_s = time.time()
        for name, answer in self._with_tls.items():
            assert answer.spec is not None
            with self._report.by(("tls towards", name)):
                self._tls.review(answer.spec, answer.tls, now_s)

    def _note_tls(self, name: str, answer: Answer) -> None:
        if answer.tls.resource is not None:
            self._with_tls[name] = answer
        elif self._with_tls.pop(name, None) is not None:
            self._report.forget(("tls towards", name))


_NONE: Final[set[Question]] = set()
