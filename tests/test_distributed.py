"""Processes of a run: their specs by flags and environment, the values that they exchange, and the line of each end."""

from __future__ import annotations

import dataclasses
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import pytest
from absl import flags
from jax.errors import JaxRuntimeError

from lct_jax.distributed.facts import find_differences, hash_code, read_flags, read_versions
from lct_jax.distributed.parent import SERVICE_LINE, _pass_on, explain
from lct_jax.distributed.peers import AGAIN, Alone, Peers
from lct_jax.distributed.process_spec import ProcessSpec, define_process_flags, read_spec
from lct_jax.errors import InputError

# Seconds to wait for values that come without delay.
SPLIT = 30.0


# ---- specs ---------------------------------------------------------------------------------------


@pytest.fixture
def parse() -> Iterator[object]:
    """Parses a command line and reads the spec that it gives in an environment."""
    if "coordinator" not in flags.FLAGS:
        define_process_flags()

    def parse(line: str, environment: dict[str, str] | None = None) -> ProcessSpec | None:
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["program", *line.split()])
        return read_spec(environment or {})

    yield parse
    for name in ("coordinator", "processes", "process_id", "join_timeout", "lost_timeout"):
        flags.FLAGS[name].unparse()
    flags.FLAGS(sys.argv[:1])


def test_a_run_of_one_process_has_no_spec(parse):
    assert parse("") is None
    assert parse("", {"SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "7"}) is None


def test_flags_come_before_the_environment(parse):
    environment = {
        "JAX_COORDINATOR_ADDRESS": "node7:1234",
        "JAX_NUM_PROCESSES": "4",
        "JAX_PROCESS_ID": "3",
    }
    spec = ProcessSpec(3, 4, "node7", 1234, join_timeout=300.0, lost_timeout=60.0)
    assert parse("", environment) == spec
    found = parse("--coordinator=[::1]:99 --process_id=0 --join_timeout=5", environment)
    assert found == dataclasses.replace(spec, process=0, host="::1", port=99, join_timeout=5.0)
    assert found.name == "process 0/4"


@pytest.mark.parametrize(
    "environment", [{"SLURM_STEP_NUM_TASKS": "8"}, {"OMPI_COMM_WORLD_SIZE": "2"}]
)
def test_cluster_steps_of_several_tasks_are_detected_by_jax(parse, environment):
    expected = ProcessSpec(None, None, None, None, join_timeout=300.0, lost_timeout=60.0)
    assert parse("", environment) == parse("--coordinator=auto") == expected
    assert (expected.name, expected.address) == ("process", None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--processes=2 --process_id=1",
            "--coordinator (or JAX_COORDINATOR_ADDRESS): missing beside --processes",
        ),
        (
            "--coordinator=a:1",
            "--processes (or JAX_NUM_PROCESSES), --process_id (or JAX_PROCESS_ID): missing beside --coordinator",
        ),
        (
            "--coordinator=a --processes=2 --process_id=0",
            "--coordinator: found 'a', expected HOST:PORT",
        ),
        (
            "--coordinator=a:70000 --processes=2 --process_id=0",
            "--coordinator: found 'a:70000', expected HOST:PORT",
        ),
        (
            "--coordinator=a:1 --processes=2 --process_id=2",
            "--process_id: found 2, expected 0 to 1, of 2 processes",
        ),
        (
            "--coordinator=a:1 --processes=0 --process_id=0",
            "--processes: found 0, expected at least 1",
        ),
        ("--lost_timeout=0.5", "--lost_timeout: found 0.5, expected at least 1 second"),
    ],
)
def test_an_incomplete_process_spec_is_refused(parse, line, message):
    with pytest.raises(InputError) as caught:
        parse(line)
    assert str(caught.value) == message


def test_an_invalid_number_in_the_environment_is_refused(parse):
    with pytest.raises(InputError, match="JAX_PROCESS_ID: found 'x', expected a whole number"):
        parse("--coordinator=a:1 --processes=2", {"JAX_PROCESS_ID": "x"})


# ---- peers ---------------------------------------------------------------------------------------


class Service:
    """A coordination service within one process."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._changed = threading.Condition()

    def key_value_set(self, key: str, value: str) -> None:
        with self._changed:
            assert key not in self._values, key
            self._values[key] = value
            self._changed.notify_all()

    def blocking_key_value_get(self, key: str, timeout_in_ms: int) -> str:
        with self._changed:
            if not self._changed.wait_for(lambda: key in self._values, timeout_in_ms / 1000):
                raise JaxRuntimeError("DEADLINE_EXCEEDED: GetKeyValue() timed out")
            return self._values[key]


def make_spec(process: int, processes: int) -> ProcessSpec:
    return ProcessSpec(process, processes, "a", 1, join_timeout=SPLIT, lost_timeout=20.0)


def ask_all(counts: list[int], ask) -> list[object]:
    """Calls the peers of processes with these process counts, each in a thread; an error is returned as its text."""
    service = Service()

    def attempt(process: int) -> object:
        peers = Peers(make_spec(process, counts[process]), service, lambda text, code: None)
        try:
            return ask(peers)
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(len(counts)) as pool:
        return list(pool.map(attempt, range(len(counts))))


def test_gather_returns_the_values_of_all_processes():
    give = lambda peers: peers.gather("a", {"b": [peers.process, None]}, timeout=SPLIT)
    assert ask_all([3, 3, 3], give) == [[{"b": [0, None]}, {"b": [1, None]}, {"b": [2, None]}]] * 3
    assert Alone().gather("a", 3, timeout=SPLIT) == [3]


def test_gather_names_a_process_that_does_not_answer():
    give = lambda peers: peers.gather("late", 1, timeout=0.2)
    assert ask_all([4, 4], give) == ["late: no answer from process 2, 3 within 0 s"] * 2


def test_different_process_counts_are_refused_on_all_processes(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "node-b")
    meet = lambda peers: peers.meet(timeout=SPLIT)
    said = "process 1 on node-b was started as one of 3, process 0 as one of 2"
    assert ask_all([2, 3], meet) == [said] * 2
    assert ask_all([2, 2], meet) == [["node-b"] * 2] * 2


# ---- what JAX says when it ends a process ----------------------------------------------------------

FATAL = (
    "F1128 19:51:10.443857    3155 client.h:80] Terminating process because the JAX distributed service detected fatal "
    "errors. Disable Python buffering, i.e. `python -u`, to be sure to see all the previous output. absl::Status: "
)
JOINING = "\n\nRPC: /xla.coordination.CoordinationService/RegisterTask"
SILENT = "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats):\n1\nThe tasks have crashed."
NO_LEADER = (
    "UNAVAILABLE: Failed to send RPC to coordination service. Either the leader task was preempted\n"
    "Additional GRPC error information from remote target coordination_service:\n:UNKNOWN:Error received from peer "
)


@pytest.mark.parametrize(
    ("said", "spec", "line", "code"),
    [
        (f"DEADLINE_EXCEEDED: Deadline Exceeded{JOINING}", (0, 2), "process 1 of 2 did not come within 30 s", 2),
        (f"DEADLINE_EXCEEDED: x{JOINING}", (1, 3), "one process or more of 3 did not come within 30 s", 2),
        (f"DEADLINE_EXCEEDED: x{JOINING}", (None, None), "one process or more of the run did not come within 30 s", 2),
        (f"ALREADY_EXISTS: Aborted connect attempt{JOINING}", (1, 2), "two processes were started as process 1", 2),
        (f"INVALID_ARGUMENT: Unexpected task{JOINING}", (3, 4), "process 0 expects fewer processes than 4", 2),
        (SILENT, (0, 2), f"process 1 on node-b is gone: no sign of it for 20 s{AGAIN}", 3),
        (SILENT, (1, 2), f"the others go without this process: no sign of it for 20 s{AGAIN}", 3),
        (f"{NO_LEADER}Socket closed", (1, 2), f"process 0 on node-a is gone: it ended without a word{AGAIN}", 3),
        (f"{NO_LEADER}Deadline Exceeded", (1, 2), f"process 0 on node-a is gone: no sign of it for 20 s{AGAIN}", 3),
        ("INTERNAL: Barrier has failed.\nx", (0, 2), f"JAX ended it (INTERNAL: Barrier has failed.){AGAIN}", 3),
    ],
)  # fmt: skip
def test_an_abort_of_jax_is_one_line(said, spec, line, code):
    found = explain(FATAL + said, signal.SIGABRT, make_spec(*spec), ["node-a", "node-b"])
    assert found == (line, code)


def test_a_process_that_a_signal_ends_is_one_line():
    assert explain("", signal.SIGKILL, make_spec(1, 2), None) == (f"ended by SIGKILL{AGAIN}", 3)


def test_lines_of_the_coordination_service_are_held_back(capfd):
    other = "W1128 19:51:10.4 31 pjrt_client.cc:80] slow\n"
    held = b""
    for part in (
        "step 1\r",
        other,
        "step 2\rW",
        f"arning\n{FATAL[:30]}",
        f"{FATAL[30:]}x\nstack\n",
    ):
        held = _pass_on(held + part.encode())
    assert capfd.readouterr().err == f"step 1\r{other}step 2\rWarning\n"
    assert held.decode() == f"{FATAL}x\nstack\n"
    assert SERVICE_LINE.match(
        b"E1128 19:48:55.9 3270 coordination_service.cc:1549] [12] Use error polling"
    )


# ---- facts ---------------------------------------------------------------------------------------


def test_a_differing_fact_is_named_with_its_processes():
    facts = [
        {"code": "a", "x": "1"},
        {"code": "a", "x": "1"},
        {"code": "b", "x": "1"},
        {"code": "a"},
    ]
    assert find_differences(facts) == [
        "code: found b on process 2, expected a as on process 0",
        "x: found nothing on process 3, expected 1 as on process 0",
    ]


def test_code_hash_covers_every_source_file(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    before = hash_code(package)
    (tmp_path / "train.py").write_text("y = 1\n")
    assert (with_script := hash_code(package)) != before
    (package / "a.py").write_text("x = 2\n")
    assert hash_code(package) not in (before, with_script)


def test_versions_and_flags_are_read_by_name(parse):
    parse("--coordinator=a:1 --processes=2 --process_id=1")
    found = read_flags()
    assert found["--coordinator"] == "'a:1'" and found["--processes"] == "2"
    assert "--process_id" not in found
    assert read_versions()["jax"] == jax.__version__
