"""The servers that the tests start answer, fail and recover as asked, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asynccache.testing import RedisServer, _redis_process, redis_cluster, redis_sentinel
from asynccache.testing._redis_ports import free_port
from asynccache.testing.redis_servers import RedisCluster, RedisSentinel, ReplyError, key_slot


def until(check: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def exists(pid: int) -> bool:
    """Whether there is such a process that still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def holds(server: RedisServer, key: str) -> None:
    assert server.command("SET", key, b"\r\n\x00value") == "OK"
    assert server.command("GET", key) == b"\r\n\x00value"


def test_server_answers(redis_server: RedisServer, own_prefix: str) -> None:
    assert redis_server.url == f"redis://127.0.0.1:{redis_server.port}"
    assert redis_server.port <= 22_000
    holds(redis_server, f"{own_prefix}a")
    assert redis_server.command("GET", f"{own_prefix}b") is None
    assert redis_server.command("MGET", f"{own_prefix}a", f"{own_prefix}b") == [b"\r\n\x00value", None]
    assert redis_server.command("DEL", f"{own_prefix}a") == 1
    with pytest.raises(ReplyError, match="unknown command"):
        redis_server.command("NONSENSE")


def test_every_test_has_a_prefix_of_its_own(own_prefix: str, request: pytest.FixtureRequest) -> None:
    assert own_prefix.startswith("test_every_test_has_a_prefix_of_its_own-")
    assert own_prefix.endswith(":")


def test_cluster_answers_on_the_master_of_each_key(redis_cluster: RedisCluster, own_prefix: str) -> None:
    ports = [str(node.port) for node in redis_cluster.nodes]
    assert redis_cluster.url == "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
    assert [redis_cluster.master_of(slot) for slot in (0, 8000, 16383)] == list(redis_cluster.nodes)
    for number in range(20):
        key = f"{own_prefix}{number}"
        master = redis_cluster.master_of(key)
        assert master.command("CLUSTER", "KEYSLOT", key) == key_slot(key)
        holds(master, key)


@pytest.mark.parametrize("key", ["123456789", "a{tag}b", "{}a", "a{b", "{{x}}", b"\xff{\x00}"])
def test_slot_of_a_key_is_the_servers_own(redis_cluster: RedisCluster, key: str | bytes) -> None:
    assert key_slot(key) == redis_cluster.nodes[0].command("CLUSTER", "KEYSLOT", key)


def test_master_under_sentinels_answers_and_its_replica_follows(
    redis_sentinel: RedisSentinel, own_prefix: str
) -> None:
    assert redis_sentinel.url.startswith("redis+sentinel://127.0.0.1:")
    assert redis_sentinel.url.endswith("/mymaster")
    master = redis_sentinel.master()
    holds(master, f"{own_prefix}a")
    assert master is redis_sentinel.servers[0]
    until(lambda: redis_sentinel.servers[1].command("GET", f"{own_prefix}a") is not None)


def test_killed_server_refuses_and_is_empty_on_the_same_port_later(killable_server: RedisServer) -> None:
    port, pid = killable_server.port, killable_server.pid
    holds(killable_server, "a")
    killable_server.kill()
    killable_server.kill()
    assert not killable_server.running
    assert not exists(pid)
    with pytest.raises(ConnectionRefusedError):
        killable_server.command("PING")
    with pytest.raises(RuntimeError, match="does not run"):
        killable_server.pause()
    killable_server.restart()
    assert killable_server.port == port
    assert killable_server.command("GET", "a") is None
    killable_server.restart()  # of one that runs
    assert killable_server.command("PING") == "PONG"


def test_paused_server_is_silent_until_it_is_resumed(killable_server: RedisServer) -> None:
    holds(killable_server, "a")
    killable_server.pause()
    assert killable_server.running
    with pytest.raises(TimeoutError):
        killable_server.command("GET", "a", seconds=0.1)
    killable_server.resume()
    assert killable_server.command("GET", "a") == b"\r\n\x00value"


def test_paused_server_can_be_stopped(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        pid = server.pid
        server.pause()
    assert not exists(pid)


def test_sentinels_put_the_replica_in_the_killed_masters_place(fresh_sentinel: RedisSentinel) -> None:
    first, second = fresh_sentinel.servers
    first.kill()
    until(lambda: fresh_sentinel.master() is second)
    until(lambda: b"role:master" in bytes(second.command("INFO", "replication")))  # type: ignore[arg-type]  # a bulk reply
    holds(second, "a")


def test_cluster_puts_a_replica_in_the_killed_masters_place(fresh_cluster: RedisCluster) -> None:
    assert len(fresh_cluster.nodes) == 6
    key = "a"
    master = fresh_cluster.master_of(key)
    master.kill()
    until(lambda: fresh_cluster.master_of(key) is not master)
    fresh_cluster.wait_ok(10)
    holds(fresh_cluster.master_of(key), key)
    master.restart()
    until(lambda: master.command("ROLE")[0] == b"slave")  # type: ignore[index]  # ROLE answers a list
    assert fresh_cluster.master_of(key) is not master


def test_nothing_runs_after_the_context_is_left(tmp_path: Path) -> None:
    with redis_cluster(tmp_path) as cluster, redis_sentinel(tmp_path) as sentinel:
        servers = [*cluster.nodes, *sentinel.servers, *sentinel.sentinels]
        pids = [server.pid for server in servers]
        assert all(exists(pid) for pid in pids)
        servers[0].pause()
        servers[1].kill()
    assert not any(exists(pid) for pid in pids)
    assert not any(server.running for server in servers)


def test_server_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from asynccache.testing import RedisServer\n"
        "server = RedisServer(sys.argv[1])\n"
        "server.start()\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent is gone")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert exists(pid)
        parent.send_signal(signal.SIGKILL)
    until(lambda: not exists(pid))


def test_server_that_nobody_stops_ends_with_the_interpreter() -> None:
    script = (
        "import threading\n"
        "from asynccache.testing import RedisServer\n"
        "server = RedisServer()\n"
        "thread = threading.Thread(target=server.start)\n"
        "thread.start(); thread.join()\n"
        "assert server.command('PING') == 'PONG'\n"
        "print(server.pid)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    until(lambda: not exists(int(done.stdout)))


def test_temporary_folder_is_removed() -> None:
    with RedisServer() as server:
        home = server._home
        assert home is not None
        assert (home / "redis.log").exists()
        assert "Ready to accept connections" in server.log
    assert not home.exists()


def test_taken_port_is_refused_although_a_server_answers_there(redis_server: RedisServer) -> None:
    taken = RedisServer(port=redis_server.port)
    with pytest.raises(RuntimeError, match=r"ended at once[\s\S]*Address already in use"):
        taken.start()
    assert not taken.running
    assert redis_server.command("PING") == "PONG"


def test_another_port_is_tried_when_the_chosen_one_was_taken_meanwhile(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = iter([redis_server.port, redis_server.port, free_port()])
    monkeypatch.setattr(_redis_process, "free_port", lambda: next(chosen))
    with RedisServer(tmp_path) as server:
        assert server.port != redis_server.port
        assert server.command("PING") == "PONG"


def test_configuration_lines_and_password_are_heeded(tmp_path: Path) -> None:
    with RedisServer(tmp_path, config=("maxmemory 10mb",), password='se"cret/') as server:
        assert server.command("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"10485760"]
        assert server.url == f"redis://:se%22cret%2F@127.0.0.1:{server.port}"
        with pytest.raises(ReplyError, match="NOAUTH"):
            RedisServer(port=server.port).command("PING")


def test_bad_configuration_is_told_with_the_servers_own_words(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        RedisServer(tmp_path, config=("nonsense yes",)).start()


def test_missing_redis_is_told_with_what_to_install() -> None:
    with pytest.raises(FileNotFoundError, match="'redis-of-nowhere' was not found; install Redis"):
        RedisServer(executable="redis-of-nowhere").start()
