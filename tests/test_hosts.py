"""Places by flags and environment, the roll call, values passed round, losses: in threads, without JAX."""

from __future__ import annotations

import dataclasses
import queue
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from absl import flags
from process_pair import find_port

from lct_jax.errors import InputError
from lct_jax.hosts.facts import find_differences, hash_code, read_flags
from lct_jax.hosts.place import Place, define_place, read_place
from lct_jax.hosts.team import Alone, Team, join, start_coordinator

SPLIT = 30.0  # seconds to wait for what comes at once


# ---- places --------------------------------------------------------------------------------------


@pytest.fixture
def parse() -> Iterator[object]:
    """Parses a command line and reads the place of it in an environment."""
    if "coordinator" not in flags.FLAGS:
        define_place()

    def parse(line: str, environment: dict[str, str] | None = None) -> Place | None:
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["program", *line.split()])
        return read_place(environment or {})

    yield parse
    for name in ("coordinator", "processes", "process_id", "join_timeout", "lost_timeout"):
        flags.FLAGS[name].unparse()
    flags.FLAGS(sys.argv[:1])


def test_a_run_of_one_process_needs_nothing(parse):
    assert parse("") is None
    assert parse("", {"SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "7"}) is None


def test_flags_come_before_the_environment(parse):
    environment = {
        "JAX_COORDINATOR_ADDRESS": "node7:1234",
        "JAX_NUM_PROCESSES": "4",
        "JAX_PROCESS_ID": "3",
    }
    place = Place(3, 4, "node7", 1234, None, join_timeout=300.0, lost_timeout=60.0)
    assert parse("", environment) == place
    found = parse("--coordinator=[::1]:99 --process_id=0 --join_timeout=5", environment)
    assert found == dataclasses.replace(place, process=0, host="::1", port=99, join_timeout=5.0)
    assert found.name == "process 0/4"


def test_a_slurm_step_of_several_tasks_is_found_and_each_takes_one_device(parse):
    step = {
        "SLURM_JOB_ID": "4097",
        "SLURM_STEP_NODELIST": "gpu[03-05],gpu9",
        "SLURM_NTASKS": "8",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_NUM_TASKS": "8",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in step.items():
            patch.setenv(name, value)
        found = parse("", step)
    assert found == Place(5, 8, "gpu03", 61441, (1,), join_timeout=300.0, lost_timeout=60.0)


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
        (
            "--coordinator=auto",
            "--coordinator=auto: found no TPU pod, Slurm step, Open MPI job or Kubernetes job, expected one, or "
            "--coordinator=HOST:PORT --processes=N --process_id=I",
        ),
    ],
)
def test_a_place_that_is_not_whole_is_refused(parse, line, message):
    with pytest.raises(InputError) as caught:
        parse(line)
    assert str(caught.value) == message


def test_a_number_in_the_environment_that_is_none_is_refused(parse):
    with pytest.raises(InputError, match="JAX_PROCESS_ID: found 'x', expected a whole number"):
        parse("--coordinator=a:1 --processes=2", {"JAX_PROCESS_ID": "x"})


# ---- the roll call -------------------------------------------------------------------------------


def make_place(process: int, port: int, *, processes: int = 2, **timeouts: float) -> Place:
    timeouts = {"join_timeout": SPLIT, "lost_timeout": SPLIT, **timeouts}
    return Place(process, processes, "127.0.0.1", port, None, **timeouts)


def join_all(*places: Place) -> list[Team | str]:
    """Joins from a thread each; a refusal is what was said."""

    def attempt(place: Place) -> Team | str:
        lost: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            team = join(place, on_loss=lambda loss: lost.put(f"{loss} (exit code {loss.code})"))
        except InputError as error:
            return str(error)
        team.said = lost
        return team

    with ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(attempt, places))


@pytest.fixture
def pair() -> Iterator[list[Team]]:
    """Two that have joined."""
    port = find_port()
    teams = join_all(*(make_place(process, port) for process in (0, 1)))
    yield teams
    for team in teams:
        team.leave()


def gather_all(teams: list[Team], topic: str, values: list[object]) -> list[list[object]]:
    with ThreadPoolExecutor(len(teams)) as pool:
        ask = lambda team, value: team.gather(topic, value, timeout=SPLIT)
        return list(pool.map(ask, teams, values))


def test_all_hear_what_each_says(pair):
    assert gather_all(pair, "first", [{"a": 1}, "b"]) == [[{"a": 1}, "b"]] * 2
    assert gather_all(pair, "second", [None, 2.5]) == [[None, 2.5]] * 2
    assert Alone().gather("first", 3, timeout=SPLIT) == [3]


def test_who_says_nothing_is_named_and_the_next_topic_is_heard(pair):
    with pytest.raises(InputError) as caught:
        pair[0].gather("late", 1, timeout=0.2)
    assert str(caught.value) == "late: no answer from process 1 within 0 s"
    assert gather_all(pair, "next", [1, 2]) == [[1, 2]] * 2  # process 1 has heard of "late" too


def test_one_that_ends_without_a_word_is_named_to_the_others_at_once(pair):
    began = time.monotonic()
    pair[1]._connection.shutdown(socket.SHUT_RDWR)
    host = socket.gethostname()
    expected = f"process 1 on {host} is gone: it ended without a word (exit code 3)"
    assert pair[0].said.get(timeout=SPLIT) == expected
    assert time.monotonic() - began < SPLIT / 2
    with pytest.raises(InputError, match="is gone"):
        pair[0].gather("more", 1, timeout=SPLIT)


def test_one_that_leaves_is_no_loss(pair):
    pair[1].leave()
    time.sleep(0.2)
    assert pair[0].lost is None


def test_one_without_a_sign_of_life_is_lost_in_the_stated_time():
    port = find_port()
    quiet = threading.Thread(target=_be_quiet, args=(port,), daemon=True)
    quiet.start()
    [team] = join_all(make_place(0, port, lost_timeout=1.0))
    host = socket.gethostname()
    said = team.said.get(timeout=SPLIT)
    assert said == f"process 1 on {host} is gone: no sign of it for 1 s (exit code 3)"
    team.leave()
    quiet.join(SPLIT)


def _be_quiet(port: int) -> None:
    """A process that joins as number 1 and then hangs until the coordinator has gone."""
    deadline = time.monotonic() + SPLIT
    while time.monotonic() < deadline:
        try:
            connection = socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(0.05)
            continue
        hello = f'{{"process": 1, "of": 2, "host": "{socket.gethostname()}"}}\n'
        with connection:
            connection.sendall(hello.encode())
            while connection.recv(1000):
                pass
        return


def test_who_does_not_come_is_named_to_those_who_do():
    port = find_port()
    places = [make_place(p, port, processes=4, join_timeout=1.0) for p in (0, 2)]
    said = "processes 1, 3 of 4 did not come within 1 s"
    assert join_all(*places) == [said, said]


def test_who_is_early_may_wait_longer_than_a_silence():
    port = find_port()
    with ThreadPoolExecutor(1) as early:
        first = early.submit(join_all, make_place(0, port, lost_timeout=1.0))
        time.sleep(2.5)
        assert not first.done()
        [second] = join_all(make_place(1, port, lost_timeout=1.0))
        [first] = first.result()
    assert gather_all([first, second], "here", [0, 1]) == [[0, 1]] * 2
    first.leave()
    second.leave()


def test_where_process_0_ends_before_all_have_come_the_others_are_told():
    port = find_port()
    start_coordinator(make_place(0, port, processes=3))
    with ThreadPoolExecutor(1) as early:
        other = early.submit(join_all, make_place(1, port, processes=3))
        time.sleep(0.3)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b'{"process": 0, "of": 3, "host": "x"}\n')
        assert other.result() == ["process 0 ended before all had come"]


def test_another_number_of_processes_or_a_number_taken_twice_is_refused_on_all():
    port, host = find_port(), socket.gethostname()
    said = f"process 1 on {host} was started as one of 3, process 0 as one of 2"
    assert join_all(make_place(0, port), make_place(1, port, processes=3)) == [said] * 2
    port = find_port()
    with ThreadPoolExecutor(1) as early:  # comes before process 0, and waits for it
        stray = early.submit(join_all, make_place(1, port, processes=3))
        time.sleep(0.3)
        assert join_all(make_place(0, port)) == stray.result() == [said]
    port = find_port()
    places = [make_place(0, port, processes=3), *2 * [make_place(1, port, processes=3)]]
    said = f"two processes were started as process 1, on {host} and on {host}"
    assert join_all(*places) == [said] * 3


def test_a_coordinator_that_is_not_there_or_has_no_port_is_one_line():
    port = find_port()
    [said] = join_all(make_place(1, port, join_timeout=1.0))
    assert said == (
        f"127.0.0.1:{port}: no coordinator reached within 1 s (Connection refused), expected process 0 to run there "
        "and the port to be open"
    )
    with socket.create_server(("", port)):
        [said] = join_all(make_place(0, port))
    assert said == f"127.0.0.1:{port}: the coordinator cannot listen there (Address already in use)"


# ---- facts ---------------------------------------------------------------------------------------


def test_a_fact_that_differs_is_named_with_where():
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


def test_the_hash_of_the_code_sees_every_source(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    before = hash_code(package)
    (tmp_path / "train.py").write_text("y = 1\n")
    assert (with_script := hash_code(package)) != before
    (package / "a.py").write_text("x = 2\n")
    assert hash_code(package) not in (before, with_script)


def test_flags_are_read_by_name(parse):
    parse("--coordinator=a:1 --processes=2 --process_id=1")
    found = read_flags()
    assert found["--coordinator"] == "'a:1'" and found["--processes"] == "2"
    assert "--process_id" not in found
